"""Drawn leaves: the base of all, text (paragraphs, headings, math), rules.

A visual lays out and paints one leaf in its own coordinates; `markdown_view` puts them below each other. Text is laid
out by QTextLayout, one paragraph each: it has no documents, no HTML and no resources, so nothing in a model's words
can make it load or run anything.
"""

from __future__ import annotations

import re
from typing import Any

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPen, QTextCharFormat, QTextLayout, QTextLine

from inglenook.ui.widgets.markdown_inline import LINE, Run, inline_runs, math_runs, plain, visible_controls
from inglenook.ui.widgets.markdown_source import Kind, Leaf
from inglenook.ui.widgets.markdown_style import LEADING, Style, wrapping

Selection = tuple[int, int] | None
_ROOM = 4.0  # pixels beside inline code
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")


class Visual:
    """A leaf as drawn. `x`, `y`, `width`, `height` are its place in the view; positions are UTF-16 units of `text`."""

    def __init__(self, leaf: Leaf, style: Style, text: str = "") -> None:
        self.leaf = leaf
        self.style = style
        self.text = text
        self.x = self.y = self.width = self.height = 0.0
        self.baseline = 0.0  # of the first line: where the marker of a list item stands
        self.right_to_left = False

    @property
    def length(self) -> int:
        """How many positions `text` has."""
        return len(self.text.encode("utf-16-le")) // 2

    def layout(self, width: float) -> None:
        """Sets `width` and `height`."""
        self.width, self.height = width, 0.0

    def place(self) -> None:
        """Moves child widgets, if it has any, to where the visual now is."""

    def paint(self, painter: QPainter, clip: QRectF, selection: Selection) -> None:
        """Draws what lies in `clip`, both in own coordinates."""

    def hit(self, point: QPointF) -> int:
        """The position nearest to `point`."""
        return 0 if point.y() < self.height / 2 else self.length

    def word_at(self, position: int) -> tuple[int, int]:
        """Start and end of the word around `position`."""
        return position, position

    def link_at(self, point: QPointF) -> str:
        """The address under `point`, or ''."""
        return ""

    def links(self) -> list[tuple[int, int, str]]:
        """Start, end and address of each link."""
        return []

    def update(self, leaf: Leaf) -> bool:
        """Takes a later version of the leaf if that is cheaper than a new visual; says whether it did."""
        return False

    def scroll_sideways(self, pixels: int) -> bool:
        """Scrolls a wide block; False if it has nothing to scroll."""
        return False

    def dispose(self) -> None:
        """Removes child widgets."""


def utf16(text: str) -> int:
    """Length of `text` as Qt counts it."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def slice16(text: str, start: int, end: int) -> str:
    """`text[start:end]` with positions as Qt counts them."""
    if text.isascii():
        return text[start:end]
    return text.encode("utf-16-le", "surrogatepass")[2 * start : 2 * end].decode("utf-16-le", "replace")


def cursor_x(line: QTextLine, position: int) -> float:
    """Where `position` is on `line`."""
    x: Any = line.cursorToX(position)  # a pair in PySide, a number in its stubs
    return float(x[0] if isinstance(x, tuple) else x)


def _pieces(line: QTextLine, first: int, last: int) -> list[tuple[float, float]]:
    """Left and right of what positions `first` to `last` cover, by their glyphs.

    Not by the places of cursors: where the direction changes, one position has two.
    """
    pieces: list[tuple[float, float]] = []
    for run in line.glyphRuns(first, last - first):
        left, right = run.boundingRect().left(), run.boundingRect().right()
        for other in [one for one in pieces if left - 1 <= one[1] and right + 1 >= one[0]]:
            left, right = min(left, other[0]), max(right, other[1])
            pieces.remove(other)
        pieces.append((left, right))
    return pieces


def selection_range(style: Style, start: int, end: int) -> QTextLayout.FormatRange:
    """The format that marks a selection."""
    marked = QTextLayout.FormatRange()
    marked.start, marked.length = start, end - start
    shape = QTextCharFormat()
    shape.setBackground(style.palette.selection)
    marked.format = shape
    return marked


class TextBox:
    """Runs of text, wrapped: what paragraphs, headings and table cells have in common."""

    def __init__(self, runs: tuple[Run, ...], style: Style, font: QFont, colour: QColor, align: str = "left") -> None:
        self.runs, self.style, self.colour = runs, style, colour
        self.text = plain(runs)
        self.height = self.width = 0.0
        self._layout = QTextLayout(self.text, font)
        option = wrapping(self.text, align)
        self.right_to_left = option.textDirection() is Qt.LayoutDirection.RightToLeft
        self._is_mixed = self.right_to_left or _RIGHT_TO_LEFT.search(self.text) is not None
        self._layout.setTextOption(option)
        self._pills: list[tuple[int, int]] = []
        self.link_spans: list[tuple[int, int, str]] = []
        self._ascent = QFontMetricsF(font).ascent()
        self._line_height = QFontMetricsF(font).height()
        self._formats: list[QTextLayout.FormatRange] = []
        at = 0
        for i, run in enumerate(runs):
            end = at + utf16(run.text)
            shape = style.format(run, font, colour)
            self._add_format(at, end, shape)
            if run.code:
                previous = runs[i - 1].text[-1] if i else ""
                self._make_room(at, end, shape, before=previous in " (,;:[" and bool(previous))
                self._pills.append((at, end))
            if run.href:
                self.link_spans.append((at, end, run.href))
            at = end
        self.length = at
        self._layout.setFormats(self._formats)

    def _add_format(self, start: int, end: int, shape: QTextCharFormat) -> None:
        part = QTextLayout.FormatRange()
        part.start, part.length, part.format = start, end - start, shape
        self._formats.append(part)

    def _make_room(self, start: int, end: int, shape: QTextCharFormat, *, before: bool) -> None:
        """A little space before and after inline code, so that its background touches no neighbour."""
        if before:
            neighbour = self._formats[-2]
            wider = QTextCharFormat(neighbour.format)
            wider.setFontLetterSpacingType(QFont.SpacingType.AbsoluteSpacing)
            wider.setFontLetterSpacing(_ROOM)
            neighbour.length -= 1
            code = self._formats.pop()
            self._add_format(start - 1, start, wider)
            self._formats.append(code)
        wider = QTextCharFormat(shape)
        wider.setFontLetterSpacingType(QFont.SpacingType.AbsoluteSpacing)
        wider.setFontLetterSpacing(_ROOM)
        self._formats[-1].length -= 1
        self._add_format(end - 1, end, wider)

    def layout(self, width: float) -> None:
        """Breaks lines at `width`."""
        self.width = width
        self._layout.beginLayout()
        y = 0.0
        while (line := self._layout.createLine()).isValid():
            line.setLineWidth(width)
            extra = self._line_height * LEADING
            drop = max(self._ascent - line.ascent(), 0.0)  # lines of a smaller or fallback font keep the rhythm
            line.setPosition(QPointF(0, y + extra / 2 + drop))
            y += max(line.height() + drop, self._line_height) + extra
        self._layout.endLayout()
        self.height = y

    @property
    def baseline(self) -> float:
        """Of the first line."""
        line = self._layout.lineAt(0)
        return float(line.y() + line.ascent()) if line.isValid() else self._ascent

    def natural_width(self) -> float:
        """How wide it is without wrapping. Loses the layout."""
        self.layout(1e6)
        lines = (self._layout.lineAt(i) for i in range(self._layout.lineCount()))
        return max((line.naturalTextWidth() for line in lines), default=0.0)

    def word_width(self) -> float:
        """How wide its longest word is, roughly."""
        metrics = QFontMetricsF(self._layout.font())
        return max((metrics.horizontalAdvance(word) for word in self.text.split()), default=0.0)

    def paint(self, painter: QPainter, selection: Selection) -> None:
        """Draws at the painter's origin."""
        for start, end in self._pills:
            self._paint_pill(painter, start, end)
        marked = [selection_range(self.style, *selection)] if selection and selection[0] < selection[1] else []
        painter.setPen(self.colour)
        self._layout.draw(painter, QPointF(0, 0), marked)

    def spans(self, start: int, end: int) -> list[QRectF]:
        """The rectangles that positions `start` to `end` cover: one a line, or more where directions change."""
        found = []
        for i in range(self._layout.lineCount()):
            line = self._layout.lineAt(i)
            first, last = max(start, line.textStart()), min(end, line.textStart() + line.textLength())
            if first < last:
                sides = (
                    _pieces(line, first, last) if self._is_mixed else [(cursor_x(line, first), cursor_x(line, last))]
                )
                for a, b in map(sorted, sides):
                    found.append(QRectF(a, line.y(), b - a, line.height()))
        return found

    def _paint_pill(self, painter: QPainter, start: int, end: int) -> None:
        painter.setPen(QPen(self.style.palette.border, 1))
        painter.setBrush(self.style.palette.code_background)
        for rect in self.spans(start, end):
            painter.drawRoundedRect(rect.adjusted(-3, 0.5, -0.5, -0.5), 4, 4)

    def hit(self, point: QPointF) -> int:
        """The position nearest to `point`."""
        count = self._layout.lineCount()
        for i in range(count):
            line = self._layout.lineAt(i)
            following = self._layout.lineAt(i + 1).y() if i + 1 < count else self.height
            if point.y() < following or i + 1 == count:
                return int(line.xToCursor(point.x()))
        return 0

    def word_at(self, position: int) -> tuple[int, int]:
        """Start and end of the word around `position`."""
        start = self._layout.previousCursorPosition(position + 1, QTextLayout.CursorMode.SkipWords)
        end = self._layout.nextCursorPosition(position, QTextLayout.CursorMode.SkipWords)
        word = slice16(self.text, start, end)
        return start, end - (utf16(word) - utf16(word.rstrip()))

    def link_at(self, point: QPointF) -> str:
        """The address under `point`, or ''."""
        for start, end, href in self.link_spans:
            if any(rect.contains(point) for rect in self.spans(start, end)):
                return href
        return ""


class TextVisual(Visual):
    """A paragraph, a heading, a line of the user's, or math."""

    def __init__(self, leaf: Leaf, style: Style, colour: QColor | None = None) -> None:
        font = style.headings[leaf.level - 1] if leaf.kind is Kind.HEADING else style.body
        runs: tuple[Run, ...]
        if leaf.kind is Kind.PLAIN:
            runs = (Run(leaf.text),) if leaf.text else ()
        elif leaf.kind is Kind.MATH:
            runs = _display(leaf.text)
        else:
            runs = inline_runs(leaf.text)
        align = "center" if leaf.kind is Kind.MATH else "left"
        self._box = TextBox(runs, style, font, colour or style.palette.text, align)
        super().__init__(leaf, style, self._box.text)
        self.right_to_left = self._box.right_to_left

    @property
    def length(self) -> int:
        """How many positions the text has."""
        return self._box.length

    def layout(self, width: float) -> None:
        """Sets width and height."""
        self._box.layout(width)
        self.width, self.height, self.baseline = width, self._box.height, self._box.baseline

    def paint(self, painter: QPainter, clip: QRectF, selection: Selection) -> None:
        """Draws what lies in `clip`."""
        self._box.paint(painter, selection)

    def hit(self, point: QPointF) -> int:
        """The position nearest to `point`."""
        return self._box.hit(point)

    def word_at(self, position: int) -> tuple[int, int]:
        """Start and end of the word around `position`."""
        return self._box.word_at(position)

    def link_at(self, point: QPointF) -> str:
        """The address under `point`, or ''."""
        return self._box.link_at(point)

    def links(self) -> list[tuple[int, int, str]]:
        """Start, end and address of each link."""
        return self._box.link_spans

    def natural_width(self) -> float:
        """How wide it is without wrapping. Loses the layout."""
        return self._box.natural_width()

    def spans(self, start: int, end: int) -> list[QRectF]:
        """The rectangles of positions `start` to `end`."""
        return self._box.spans(start, end)


def _display(source: str) -> tuple[Run, ...]:
    """A formula that stands alone: read if it is simple, else its lines as they were written."""
    runs = tuple(math_runs(source))
    if runs and runs[0].math:
        return (Run(visible_controls(source).replace("\n", LINE), math=True),)
    return runs


class RuleVisual(Visual):
    """A line across."""

    def layout(self, width: float) -> None:
        """Sets width and height."""
        self.width, self.height = width, 1.0

    def paint(self, painter: QPainter, clip: QRectF, selection: Selection) -> None:
        """Draws what lies in `clip`."""
        painter.fillRect(QRectF(0, 0, self.width, 1), self.style.palette.border)
