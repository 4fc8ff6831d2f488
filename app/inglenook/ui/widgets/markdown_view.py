"""One Markdown text as a widget: leaves below each other, one selection through all of them, links, keys, streaming.

It paints itself: a text of five hundred blocks is one widget with five hundred small layouts, of which only those in
sight are drawn and, while it streams, only the last is made anew.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import (
    QContextMenuEvent,
    QFocusEvent,
    QFontMetricsF,
    QGuiApplication,
    QHelpEvent,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QWheelEvent,
)
from PySide6.QtWidgets import QLabel, QMenu, QToolTip, QWidget

from inglenook.core.i18n import tr
from inglenook.ui.theme import Theme
from inglenook.ui.widgets.code_block import CodeVisual
from inglenook.ui.widgets.markdown_source import DONE, ITEM, QUOTE, TODO, Kind, Leaf, MarkdownSource
from inglenook.ui.widgets.markdown_style import Style
from inglenook.ui.widgets.markdown_table import TableVisual
from inglenook.ui.widgets.markdown_text import RuleVisual, Selection, TextVisual, Visual, slice16

EDGE = 4  # pixels left and right of the text, so that a background of inline code has room
Place = tuple[int, int]  # row, position in its text


@dataclass(slots=True)
class _Row:
    visual: Visual
    gutters: tuple[float, ...] = ()  # width of each container's indent
    joined: bool = False  # the quote bar goes on from the row above

    @property
    def bottom(self) -> float:
        return self.visual.y + self.visual.height


class MarkdownView(QLabel):
    """A text, Markdown or `plain`, in the width that `relayout` is given. A QLabel, so that screen readers see text."""

    link_activated = Signal(str)
    dragged_to = Signal(QPoint)  # while selecting: where the pointer is, in global coordinates

    def __init__(self, theme: Theme, style: Style, parent: QWidget | None = None, *, plain: bool = False) -> None:
        super().__init__(parent)
        self._theme, self._style, self._plain = theme, style, plain
        self._source = MarkdownSource()
        self._rows: list[_Row] = []
        self._stable = 0  # rows that no later text changes
        self._laid_out = 0  # rows before this one have their place
        self._anchor: Place | None = None
        self._cursor: Place | None = None
        self._pressed_link = ""
        self._link = -1  # the one that the keyboard is on
        self._muted = False
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setCursor(Qt.CursorShape.IBeamCursor)

    # --- content

    @property
    def source(self) -> str:
        """The text as given."""
        return self._source.text

    def set_muted(self, muted: bool) -> None:
        """Paints text in the muted colour (reasoning). Before any text is set."""
        self._muted = muted

    def set_text(self, text: str) -> None:
        """Shows a complete text. What of it is shown already stays as it is."""
        if not text.startswith(self._source.text) or self._source.text == text:
            if self._source.text == text:
                self.finish()
                return
            self._clear()
        self.append(text[len(self._source.text) :])
        self.finish()

    def append(self, text: str) -> None:
        """Adds to the end; `relayout` is due."""
        if self._plain:
            self._source.text += text
        else:
            self._source.append(text)
        self._sync()

    def finish(self) -> None:
        """No more text comes; `relayout` is due."""
        if not self._plain:
            self._source.finish()
        self._sync()
        for row in self._rows:
            if isinstance(row.visual, CodeVisual):
                row.visual.complete()
        self.setAccessibleName(self.plain_text())

    def _clear(self) -> None:
        for row in self._rows:
            row.visual.dispose()
        self._rows, self._stable, self._laid_out = [], 0, 0
        self._anchor = self._cursor = None
        self._link = -1
        self._source = MarkdownSource()

    def _sync(self) -> None:
        """Makes the rows those of the source, touching only what is not stable."""
        if self._plain:
            leaves = [Leaf(Kind.PLAIN, line) for line in self._source.text.replace("\r\n", "\n").split("\n")]
            self._stable = 0
        else:
            leaves = self._source.stable[self._stable :] + self._source.tail()
        at = self._stable
        for i, leaf in enumerate(leaves, at):
            if i < len(self._rows):
                visual = self._rows[i].visual
                if visual.leaf == leaf:
                    continue
                self._laid_out = min(self._laid_out, i)
                if visual.update(leaf):
                    continue
                visual.dispose()
                self._rows[i].visual = self._visual(leaf)
            else:
                self._rows.append(_Row(self._visual(leaf)))
        for row in self._rows[at + len(leaves) :]:
            row.visual.dispose()
        del self._rows[at + len(leaves) :]
        self._laid_out = min(self._laid_out, len(self._rows))
        stable = 0 if self._plain else len(self._source.stable)
        for row in self._rows[self._stable : stable]:
            if isinstance(row.visual, CodeVisual):
                row.visual.complete()
        self._stable = stable
        if self._cursor is not None and self._cursor[0] >= len(self._rows):
            self._anchor = self._cursor = None

    def _visual(self, leaf: Leaf) -> Visual:
        if leaf.kind is Kind.CODE:
            return CodeVisual(leaf, self._style, self, self._theme)
        if leaf.kind is Kind.TABLE:
            return TableVisual(leaf, self._style, self)
        if leaf.kind is Kind.RULE:
            return RuleVisual(leaf, self._style)
        muted = self._muted or QUOTE in leaf.containers
        return TextVisual(leaf, self._style, self._style.palette.text_muted if muted else None)

    # --- geometry

    def relayout(self, width: int) -> int:
        """Lays out what is new, or all if the width is another; resizes and returns the height.

        The text is `width` wide, the widget `EDGE` wider on both sides.
        """
        if width + 2 * EDGE != self.width():
            self._laid_out = 0
        first = self._laid_out
        for i in range(first, len(self._rows)):
            self._layout_row(i, width)
        self._laid_out = len(self._rows)
        height = int(self._rows[-1].bottom + 1) if self._rows else 0
        top = int(self._rows[first].visual.y) - 40 if first < len(self._rows) else 0
        self.resize(width + 2 * EDGE, height)
        self.update(0, max(top, 0), width + 2 * EDGE, height)
        return height

    def natural_width(self) -> float:
        """How wide it would be without wrapping; only for plain text."""
        self._laid_out = 0
        texts = [row.visual for row in self._rows if isinstance(row.visual, TextVisual)]
        return max((text.natural_width() for text in texts), default=0.0)

    def _layout_row(self, i: int, width: int) -> None:
        row, above = self._rows[i], self._rows[i - 1] if i else None
        leaf, visual = row.visual.leaf, row.visual
        em = self._style.em
        kept = above.gutters if above else ()
        gutters = []
        for depth, kind in enumerate(leaf.containers):
            same = depth < len(kept) and above is not None and above.visual.leaf.containers[depth] == kind
            gutters.append(kept[depth] if same else (em * 0.9 if kind == QUOTE else em * 1.35))
        if leaf.marker and gutters:
            wide = QFontMetricsF(self._style.body).horizontalAdvance(leaf.marker) + em * 0.5
            gutters[-1] = max(em * 1.35, wide if leaf.marker not in (TODO, DONE) else 0)
        row.gutters = tuple(gutters)
        indent = min(sum(gutters), width * 0.6)
        visual.x = EDGE if visual.right_to_left else EDGE + indent
        visual.y = above.bottom + _gap(above.visual.leaf, leaf, em) if above else 0.0
        row.joined = above is not None and not leaf.first and QUOTE in above.visual.leaf.containers
        visual.layout(width - indent)
        visual.place()

    # --- drawing

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draws the leaves in sight."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        exposed = QRectF(event.rect())
        first, last = self._ordered()
        for i in range(self._row_at(exposed.top()), len(self._rows)):
            row = self._rows[i]
            if row.visual.y - 60 > exposed.bottom():
                break
            self._paint_containers(painter, i)
            painter.translate(row.visual.x, row.visual.y)
            clip = exposed.translated(-row.visual.x, -row.visual.y)
            row.visual.paint(painter, clip, self._selected_in(i, first, last))
            painter.translate(-row.visual.x, -row.visual.y)
        if self.hasFocus():
            self._paint_focus(painter)
        painter.end()

    def _paint_containers(self, painter: QPainter, i: int) -> None:
        row, palette = self._rows[i], self._style.palette
        leaf, visual = row.visual.leaf, row.visual
        mirrored, x = visual.right_to_left, float(EDGE)
        for kind, gutter in zip(leaf.containers, row.gutters, strict=True):
            if kind == QUOTE:
                top = self._rows[i - 1].bottom if row.joined else visual.y
                left = self.width() - x - 3 if mirrored else x
                painter.fillRect(QRectF(left, top, 3, row.bottom - top), palette.border)
            x += gutter
        if leaf.marker and leaf.containers:
            left = x - row.gutters[-1]
            self._paint_marker(painter, visual, self.width() - x if mirrored else left, row.gutters[-1])

    def _paint_marker(self, painter: QPainter, visual: Visual, x: float, gutter: float) -> None:
        palette, marker = self._style.palette, visual.leaf.marker
        baseline = visual.y + visual.baseline
        if marker in (TODO, DONE):
            side = round(self._style.em * 0.62)
            box = QRectF(round(x + (gutter - side) / 2 - 2) + 0.5, round(baseline - side + 2) + 0.5, side, side)
            painter.setPen(QPen(palette.accent if marker == DONE else palette.text_muted, 1.4))
            painter.setBrush(palette.accent if marker == DONE else Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(box, 3, 3)
            if marker == DONE:
                points = ((0.22, 0.52), (0.43, 0.72), (0.78, 0.30))
                painter.setPen(QPen(palette.on_accent, 1.7))
                painter.setBrush(Qt.BrushStyle.NoBrush)
                tick = [QPointF(box.x() + a * side, box.y() + b * side) for a, b in points]
                painter.drawPolyline(QPolygonF(tick))
            return
        painter.setFont(self._style.body)
        painter.setPen(palette.text_muted)
        wide = QFontMetricsF(self._style.body).horizontalAdvance(marker)
        space = self._style.em * 0.38
        painter.drawText(QPointF(x + space if visual.right_to_left else x + gutter - wide - space, baseline), marker)

    def _paint_focus(self, painter: QPainter) -> None:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(self._style.palette.focus, 1.5))
        links = self._links()
        if 0 <= self._link < len(links):
            i, start, end, _href = links[self._link]
            visual = self._rows[i].visual
            if isinstance(visual, TextVisual):
                for rect in visual.spans(start, end):
                    painter.drawRoundedRect(rect.translated(visual.x, visual.y).adjusted(-2, 0, 2, 0), 3, 3)
                return
        if self.property("focus_shown"):
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(1, 1, -1, -1), 6, 6)

    # --- selection

    def _row_at(self, y: float) -> int:
        return max(0, bisect_right(self._rows, y, key=lambda row: row.visual.y) - 1)

    def _hit(self, point: QPointF) -> Place:
        i = self._row_at(point.y())
        visual = self._rows[i].visual
        return i, max(0, min(visual.hit(point - QPointF(visual.x, visual.y)), visual.length))

    def _ordered(self) -> tuple[Place | None, Place | None]:
        if self._anchor is None or self._cursor is None:
            return None, None
        first, last = sorted((self._anchor, self._cursor))
        return first, last

    def _selected_in(self, i: int, first: Place | None, last: Place | None) -> Selection:
        if first is None or last is None or not first[0] <= i <= last[0]:
            return None
        return (first[1] if i == first[0] else 0, last[1] if i == last[0] else self._rows[i].visual.length)

    def selected_text(self) -> str:
        """The selected words as they are seen, with the markers of list items."""
        first, last = self._ordered()
        if first is None or last is None or first == last:
            return ""
        return self._text_between(first, last)

    def plain_text(self) -> str:
        """All words as they are seen."""
        if not self._rows:
            return ""
        return self._text_between((0, 0), (len(self._rows) - 1, self._rows[-1].visual.length))

    def _text_between(self, first: Place, last: Place) -> str:
        text = ""
        for i in range(first[0], last[0] + 1):
            visual, leaf = self._rows[i].visual, self._rows[i].visual.leaf
            start, end = self._selected_in(i, first, last) or (0, 0)
            if i > first[0]:
                close = leaf.kind is Kind.PLAIN or leaf.tight
                text += "\n" if close else "\n\n"
            if leaf.marker and start == 0:
                text += "  " * (leaf.containers.count(ITEM) - 1) + leaf.marker + " "
            text += slice16(visual.text, start, end).replace("\u2028", "\n")
        return text

    def select_all(self) -> None:
        """Selects the whole text."""
        if self._rows:
            self._anchor, self._cursor = (0, 0), (len(self._rows) - 1, self._rows[-1].visual.length)
            self.update()

    def clear_selection(self) -> None:
        """Selects nothing."""
        if self._anchor is not None:
            self._anchor = self._cursor = None
            self.update()

    def copy(self) -> None:
        """The selected text, or all of it, to the clipboard."""
        QGuiApplication.clipboard().setText(self.selected_text() or self.plain_text())

    # --- mouse

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begins a selection, or extends it with Shift."""
        if event.button() is not Qt.MouseButton.LeftButton or not self._rows:
            super().mousePressEvent(event)
            return
        self._link = -1
        self._pressed_link = self._link_under(event.position())
        place = self._hit(event.position())
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier and self._anchor is not None:
            self._cursor = place
        else:
            self._anchor = self._cursor = place
        self.update()
        event.accept()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Extends the selection, or shows what is a link."""
        if event.buttons() & Qt.MouseButton.LeftButton and self._anchor is not None:
            self._cursor = self._hit(event.position())
            self.dragged_to.emit(event.globalPosition().toPoint())
            self.update()
        else:
            over = bool(self._link_under(event.position()))
            self.setCursor(Qt.CursorShape.PointingHandCursor if over else Qt.CursorShape.IBeamCursor)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """A click on a link, not a drag, activates it."""
        link = self._pressed_link
        self._pressed_link = ""
        if link and self._anchor == self._cursor and self._link_under(event.position()) == link:
            self.link_activated.emit(link)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Selects a word."""
        if self._rows:
            i, position = self._hit(event.position())
            start, end = self._rows[i].visual.word_at(position)
            self._anchor, self._cursor = (i, start), (i, end)
            self._pressed_link = ""
            self.update()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Sideways scrolls a wide block; the rest is the panel's."""
        delta = event.pixelDelta() if not event.pixelDelta().isNull() else event.angleDelta() / 2
        sideways = delta.x()
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier and not sideways:
            sideways = delta.y()
        if abs(sideways) > abs(delta.y()) or (sideways and event.modifiers() & Qt.KeyboardModifier.ShiftModifier):
            visual = self._rows[self._row_at(event.position().y())].visual if self._rows else None
            if visual is not None and visual.scroll_sideways(sideways):
                event.accept()
                return
        event.ignore()

    def _link_under(self, point: QPointF) -> str:
        if not self._rows:
            return ""
        visual = self._rows[self._row_at(point.y())].visual
        return visual.link_at(point - QPointF(visual.x, visual.y))

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Copy, copy link address, select all."""
        menu = QMenu(self)
        copy = menu.addAction(tr("Copy"), self.copy)
        copy.setEnabled(bool(self.selected_text()))
        if link := self._link_under(QPointF(event.pos())):
            menu.addAction(tr("Copy link address"), lambda: QGuiApplication.clipboard().setText(link))
        menu.addAction(tr("Select all"), self.select_all)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(event.globalPos())

    # --- keys, focus, tooltips

    def _links(self) -> list[tuple[int, int, int, str]]:
        return [(i, *link) for i, row in enumerate(self._rows) for link in row.visual.links()]

    def focusNextPrevChild(self, following: bool) -> bool:
        """Tab goes through the links of the text before it leaves it."""
        step = self._link + (1 if following else -1)
        if -1 <= step < len(self._links()) and (following or self._link >= 0):
            self._link = step
            self.update()
            return True
        self._link = -1
        return super().focusNextPrevChild(following)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Copy, select all, open the link that Tab is on, Esc; other keys are the panel's."""
        links = self._links() if self._link >= 0 else []
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy()
        elif event.matches(QKeySequence.StandardKey.SelectAll):
            self.select_all()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and 0 <= self._link < len(links):
            self.link_activated.emit(links[self._link][3])
        elif event.key() == Qt.Key.Key_Escape and self._anchor is not None:
            self.clear_selection()
        else:
            event.ignore()

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Shows the focus if it came by key, and tells screen readers the text as it is now."""
        by_key = event.reason() in (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason)
        self.setProperty("focus_shown", by_key)
        self.setAccessibleName(self.plain_text())
        if event.reason() is Qt.FocusReason.BacktabFocusReason:
            self._link = len(self._links()) - 1
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Forgets the selection, unless only a menu or another window came."""
        self._link = -1
        if event.reason() not in (Qt.FocusReason.PopupFocusReason, Qt.FocusReason.ActiveWindowFocusReason):
            self.clear_selection()
        self.update()

    def event(self, event: QEvent) -> bool:
        """A link's target as a tooltip."""
        if isinstance(event, QHelpEvent) and event.type() is QEvent.Type.ToolTip:
            link = self._link_under(QPointF(event.pos()))
            QToolTip.showText(event.globalPos(), link.replace("<", "%3C"), self)  # a tooltip would take it for HTML
            return True
        return super().event(event)


def _gap(above: Leaf, leaf: Leaf, em: float) -> float:
    """The distance between two leaves, in pixels."""
    if leaf.kind is Kind.PLAIN:
        return 0.0
    if leaf.kind is Kind.HEADING:
        return round(em * (1.15 if above.kind is not Kind.HEADING else 0.6))
    if above.kind is Kind.HEADING:
        return round(em * 0.35)
    if Kind.RULE in (leaf.kind, above.kind):
        return round(em * 0.95)
    if leaf.containers.count(QUOTE) < above.containers.count(QUOTE):
        return round(em * 0.6)
    if leaf.marker and ITEM in above.containers:
        other = above.marker and leaf.containers == above.containers and leaf.marker[-1] != above.marker[-1]
        return round(em * (0.6 if other else 0.18))
    if leaf.containers and leaf.tight:
        return round(em * 0.22)
    return round(em * 0.6)
