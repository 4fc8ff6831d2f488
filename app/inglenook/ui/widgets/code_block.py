"""A code block as drawn: language, Copy button, lines that are laid out only when seen, sideways scrolling.

All lines have one height, so that a thousand lines cost what the visible ones cost, and a line that is appended moves
nothing. Code always runs from left to right, and characters that reorder text are shown by name.
"""

from __future__ import annotations

import math

from PySide6.QtCore import QPointF, QRectF, Qt, QTimer
from PySide6.QtGui import (
    QColor,
    QFontMetricsF,
    QGuiApplication,
    QPainter,
    QPen,
    QTextCharFormat,
    QTextLayout,
    QTextOption,
)
from PySide6.QtWidgets import QWidget

from inglenook.core.i18n import tr
from inglenook.ui.theme import SPACE, Theme
from inglenook.ui.widgets.code_highlight import Highlighter
from inglenook.ui.widgets.markdown_inline import visible_controls
from inglenook.ui.widgets.markdown_source import Leaf
from inglenook.ui.widgets.markdown_style import CODE_LEADING, Style
from inglenook.ui.widgets.markdown_text import Selection, Visual, cursor_x, selection_range, utf16
from inglenook.ui.widgets.message_button import QuietButton
from inglenook.ui.widgets.sideways import Sideways

_LONGEST = 1000  # characters in a drawn line: a longer line of the source is broken, since Qt would take seconds
_AT_ONCE = 120  # lines that are highlighted in one go
_SLICE_S = 0.004
_NAMES = {
    "py": "Python", "python": "Python", "js": "JavaScript", "javascript": "JavaScript", "ts": "TypeScript",
    "typescript": "TypeScript", "html": "HTML", "css": "CSS", "json": "JSON", "yaml": "YAML", "sql": "SQL",
    "cpp": "C++", "c++": "C++", "cs": "C#", "csharp": "C#", "php": "PHP", "xml": "XML", "toml": "TOML", "sh": "Shell",
}  # fmt: skip


class CodeVisual(Visual):
    """One code block, a child of `owner` (its button and scroll bar are)."""

    def __init__(self, leaf: Leaf, style: Style, owner: QWidget, theme: Theme) -> None:
        super().__init__(leaf, style)
        self._owner = owner
        self._metrics = QFontMetricsF(style.code)
        self._line_height = math.ceil(self._metrics.height() * (1 + CODE_LEADING))
        self._advance = self._metrics.horizontalAdvance("0")
        self._header = math.ceil(QFontMetricsF(style.small).height()) + 2 * SPACE.s
        self._lines: list[str] = []
        self._starts: list[int] = []  # position in `text` of each line
        self._layouts: dict[int, QTextLayout] = {}
        self._code_width = 0.0
        self._complete = False
        self._bar = Sideways(owner, tr("Scroll code sideways"))
        self._button = QuietButton(theme, "copy", tr("Copy code"), owner, text=tr("Copy"))
        self._button.clicked.connect(self._copy)
        self._highlighter = Highlighter(leaf.info, self._recoloured)
        self._timer = QTimer(owner)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._go_on)
        self._take(leaf.text)

    # --- text

    def _take(self, text: str) -> None:
        """Appends what `text` has beyond the present text, which it begins with."""
        old = self.text
        self.text = visible_controls(text) if not text.isascii() else text
        keep = max(len(self._lines) - 1, 0)  # the last line may have grown
        at = self._starts[keep] if self._lines else 0
        consumed = sum(len(line) + 1 for line in self._lines[:keep]) if not old.isascii() else at
        if any(len(line) == _LONGEST for line in self._lines[:keep]):
            keep = at = consumed = 0  # a broken line has no end of line of its own: begin anew
        del self._lines[keep:], self._starts[keep:]
        for line in self.text[consumed:].split("\n"):
            for i in range(0, max(len(line), 1), _LONGEST):
                piece = line[i : i + _LONGEST]
                self._lines.append(piece)
                self._starts.append(at)
                at += utf16(piece)
                self._code_width = max(self._code_width, self._width_of(piece))
            at += 1
        for i in [i for i in self._layouts if i >= keep]:
            del self._layouts[i]
        self._length = at - 1

    def _width_of(self, line: str) -> float:
        if line.isascii():
            return len(line.expandtabs(4)) * self._advance
        return self._metrics.horizontalAdvance(line.expandtabs(4))

    @property
    def length(self) -> int:
        """How many positions the text has."""
        return self._length

    def update(self, leaf: Leaf) -> bool:
        """Takes a later version of the leaf and lays out only what is new."""
        same = leaf.kind is self.leaf.kind and leaf.containers == self.leaf.containers and leaf.info == self.leaf.info
        if not same or not leaf.text.startswith(self.leaf.text):
            return False
        self.leaf = leaf
        self._take(leaf.text)
        self._highlighter.grown(self._lines)
        return True

    def complete(self) -> None:
        """No more text comes: highlights exactly, at once if it is short."""
        if self._complete:
            return
        self._complete = True
        self._highlighter.start_exact(self._lines)
        if len(self._lines) <= _AT_ONCE:
            self._highlighter.go_on(1.0)
        else:
            self._timer.start()

    def _go_on(self) -> None:
        if not self._highlighter.go_on(_SLICE_S):
            self._timer.stop()

    def _recoloured(self, first: int, last: int) -> None:
        for i in range(first, last):
            self._layouts.pop(i, None)
        top = self.y + self._top() + first * self._line_height
        rect = QRectF(self.x, top, self.width, (last - first) * self._line_height)
        self._owner.update(rect.toAlignedRect())

    # --- geometry

    def _top(self) -> float:
        return float(self._header + SPACE.s)

    def layout(self, width: float) -> None:
        """Sets width and height."""
        self.width = width
        overflow = self._code_width + 2 * SPACE.m - width
        below = self._bar.fit(overflow, width, self._advance * 4) or SPACE.s
        self.height = self._top() + len(self._lines) * self._line_height + below
        self.baseline = self._metrics.ascent() + SPACE.s

    def place(self) -> None:
        """Moves button and scroll bar to where the block now is."""
        size = self._button.sizeHint()
        x = int(self.x + self.width - size.width() - SPACE.xs)
        self._button.setGeometry(x, int(self.y + (self._header - size.height()) / 2), size.width(), size.height())
        self._button.show()
        self._bar.place(self.x, self.y + self.height, self.width)

    def scroll_sideways(self, pixels: int) -> bool:
        """Moves the content by `pixels`; False if all of it is in sight."""
        return self._bar.scroll(pixels)

    def _left(self) -> float:
        return float(SPACE.m - self._bar.value)

    # --- drawing

    def paint(self, painter: QPainter, clip: QRectF, selection: Selection) -> None:
        """Draws what lies in `clip`."""
        palette = self.style.palette
        painter.setPen(QPen(palette.border, 1))
        painter.setBrush(palette.code_background)
        painter.drawRoundedRect(QRectF(0.5, 0.5, self.width - 1, self.height - 1), 10, 10)
        painter.drawLine(QPointF(1, self._header), QPointF(self.width - 1, self._header))
        painter.setFont(self.style.small)
        painter.setPen(palette.text_muted)
        name = self.leaf.info.split()[0] if self.leaf.info else ""
        label = visible_controls(_NAMES.get(name.lower(), name[:1].upper() + name[1:])) or tr("Code")
        space = QRectF(SPACE.m, 0, self.width - self._button.width() - 2 * SPACE.l, self._header)
        painter.drawText(space, Qt.AlignmentFlag.AlignVCenter, painter.fontMetrics().elidedText(
            label, Qt.TextElideMode.ElideRight, int(space.width())))  # fmt: skip
        first = max(0, int((clip.top() - self._top()) // self._line_height))
        last = min(len(self._lines), int((clip.bottom() - self._top()) // self._line_height) + 1)
        painter.save()
        painter.setClipRect(QRectF(1, self._header, self.width - 2, self.height), Qt.ClipOperation.IntersectClip)
        for i in range(first, last):
            self._paint_line(painter, i, selection)
        painter.restore()

    def _paint_line(self, painter: QPainter, i: int, selection: Selection) -> None:
        layout = self._line(i)
        top = QPointF(self._left(), self._top() + i * self._line_height)
        marked = []
        if selection is not None:
            start, end = (max(0, at - self._starts[i]) for at in selection)
            end = min(end, utf16(self._lines[i]))
            if start < end:
                marked = [selection_range(self.style, start, end)]
        painter.setPen(self.style.palette.text)
        layout.draw(painter, top, marked)

    def _line(self, i: int) -> QTextLayout:
        layout = self._layouts.get(i)
        if layout is not None:
            return layout
        text = self._lines[i]
        layout = QTextLayout(text, self.style.code)
        option = QTextOption()
        option.setWrapMode(QTextOption.WrapMode.NoWrap)
        option.setTextDirection(Qt.LayoutDirection.LeftToRight)
        option.setTabStopDistance(4 * self._advance)
        layout.setTextOption(option)
        spans = self._highlighter.spans
        layout.setFormats([self._colour(text, *span) for span in spans[i]] if i < len(spans) else [])
        layout.beginLayout()
        line = layout.createLine()
        line.setLineWidth(1e6)
        drop = (self._line_height - self._metrics.height()) / 2 + self._metrics.ascent() - line.ascent()
        line.setPosition(QPointF(0, drop))
        layout.endLayout()
        self._layouts[i] = layout
        return layout

    def _colour(self, text: str, start: int, length: int, role: str) -> QTextLayout.FormatRange:
        part = QTextLayout.FormatRange()
        part.start = start if text.isascii() else utf16(text[:start])
        part.length = length if text.isascii() else utf16(text[start : start + length])
        shape = QTextCharFormat()
        shape.setForeground(QColor(self.style.palette.syntax[role]))
        if role == "comment":
            shape.setFontItalic(True)
        part.format = shape
        return part

    # --- mouse and clipboard

    def hit(self, point: QPointF) -> int:
        """The position nearest to `point`."""
        if point.y() < self._top():
            return 0
        i = min(int((point.y() - self._top()) // self._line_height), len(self._lines) - 1)
        return self._starts[i] + int(self._line(i).lineAt(0).xToCursor(point.x() - self._left()))

    def word_at(self, position: int) -> tuple[int, int]:
        """Start and end of the word around `position`."""
        i = max(n for n, start in enumerate(self._starts) if start <= position)
        text, at = self._lines[i], min(position - self._starts[i], len(self._lines[i]))
        start = end = at
        while start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_"):
            start -= 1
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
        return self._starts[i] + start, self._starts[i] + end

    def cursor_x(self, position: int) -> float:
        """Where a position of the first line is, for tests of direction."""
        return cursor_x(self._line(0).lineAt(0), position)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text)
        self._button.set_look("check", tr("Copied"))
        self.place()
        QTimer.singleShot(1500, self._button, self._copied_over)

    def _copied_over(self) -> None:
        self._button.set_look("copy", tr("Copy"))
        self.place()

    def dispose(self) -> None:
        """Removes the child widgets."""
        self._timer.stop()
        self._timer.deleteLater()
        self._button.hide()
        self._button.deleteLater()
        self._bar.close()
