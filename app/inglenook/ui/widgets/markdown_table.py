"""A table as drawn: columns as wide as their content where there is room, else wrapped, else scrolled."""

from __future__ import annotations

import math

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QFont, QPainter, QPainterPath, QPen
from PySide6.QtWidgets import QWidget

from inglenook.core.i18n import tr
from inglenook.ui.theme import SPACE
from inglenook.ui.widgets.markdown_inline import inline_runs
from inglenook.ui.widgets.markdown_source import Leaf
from inglenook.ui.widgets.markdown_style import Style
from inglenook.ui.widgets.markdown_text import Selection, TextBox, Visual
from inglenook.ui.widgets.sideways import Sideways

_PAD = SPACE.m  # beside the text of a cell
_WIDEST = 340.0  # a column that must wrap gets at least its longest word, at most this
_NARROWEST = 90.0


class TableVisual(Visual):
    """One table, a child of `owner` (its scroll bar is). In `text` a tab or line end is between cells."""

    def __init__(self, leaf: Leaf, style: Style, owner: QWidget) -> None:
        super().__init__(leaf, style)
        self._owner = owner
        self._cells: list[list[TextBox]] = []
        self._natural: dict[int, float] = {}
        self._bar = Sideways(owner, tr("Scroll table sideways"))
        self._columns: list[float] = []
        self._row_heights: list[float] = []
        self._take(leaf, 0)

    def _take(self, leaf: Leaf, keep: int) -> None:
        header = QFont(self.style.body)
        header.setWeight(QFont.Weight.DemiBold)
        del self._cells[keep:]
        for row in leaf.rows[keep:]:
            font = self.style.body if self._cells else header
            self._cells.append(
                [
                    TextBox(inline_runs(cell), self.style, font, self.style.palette.text, align)
                    for cell, align in zip(row, leaf.aligns, strict=False)
                ]
            )
        self.text = "\n".join("\t".join(cell.text for cell in row) for row in self._cells)
        self._natural = {key: w for key, w in self._natural.items() if key // 1000 < keep}

    def update(self, leaf: Leaf) -> bool:
        """Takes a later version of the leaf and lays out only what is new."""
        if (
            leaf.kind is not self.leaf.kind
            or leaf.aligns != self.leaf.aligns
            or leaf.containers != self.leaf.containers
        ):
            return False
        pairs = enumerate(zip(self.leaf.rows, leaf.rows, strict=False))
        same = next((i for i, (a, b) in pairs if a != b), min(len(leaf.rows), len(self.leaf.rows)))
        self.leaf = leaf
        self._take(leaf, same)
        return True

    def layout(self, width: float) -> None:
        """Sets width and height."""
        self.width = width
        count = len(self.leaf.aligns)
        natural = [0.0] * count
        for r, row in enumerate(self._cells):
            for c, cell in enumerate(row):
                key = r * 1000 + c
                if key not in self._natural:
                    self._natural[key] = math.ceil(cell.natural_width()) + 1
                natural[c] = max(natural[c], self._natural[key])
        self._columns = self._fit(natural, width - 2 * _PAD * count)
        self._row_heights = []
        for row in self._cells:
            for cell, column in zip(row, self._columns, strict=False):
                if cell.width != column:
                    cell.layout(column)
            self._row_heights.append(max((cell.height for cell in row), default=0.0) + SPACE.s)
        below = self._bar.fit(self._total() - width, width, 24)
        self.height = sum(self._row_heights) + below
        self.baseline = self._cells[0][0].baseline + SPACE.xs if self._cells and self._cells[0] else 0.0

    def _fit(self, natural: list[float], room: float) -> list[float]:
        """Column widths: the natural ones if they fit; else narrow columns keep theirs and the wide share the rest."""
        if sum(natural) <= room:
            return natural
        words = [
            max((row[c].word_width() for row in self._cells if c < len(row)), default=0.0) for c in range(len(natural))
        ]
        least = [min(n, max(min(w + 2, _WIDEST), _NARROWEST)) for n, w in zip(natural, words, strict=True)]
        if sum(least) >= room:
            return least
        spare, want = room - sum(least), sum(n - low for n, low in zip(natural, least, strict=True))
        return [math.floor(low + (n - low) * spare / want) for n, low in zip(natural, least, strict=True)]

    def _total(self) -> float:
        return sum(self._columns) + 2 * _PAD * len(self._columns)

    def place(self) -> None:
        """Moves button and scroll bar to where the block now is."""
        self._bar.place(self.x, self.y + self.height, self.width)

    def scroll_sideways(self, pixels: int) -> bool:
        """Moves the content by `pixels`; False if all of it is in sight."""
        return self._bar.scroll(pixels)

    def paint(self, painter: QPainter, clip: QRectF, selection: Selection) -> None:
        """Draws what lies in `clip`."""
        palette = self.style.palette
        wide = min(self._total(), self.width)
        tall = sum(self._row_heights)
        frame = QPainterPath()
        frame.addRoundedRect(QRectF(0.5, 0.5, wide - 1, tall - 1), 8, 8)
        painter.save()
        painter.setClipPath(frame, Qt.ClipOperation.IntersectClip)
        y, position = 0.0, 0
        for r, row in enumerate(self._cells):
            high = self._row_heights[r]
            if r == 0:
                painter.fillRect(QRectF(0, 0, wide, high), palette.code_background)
            else:
                painter.fillRect(QRectF(0, y, wide, 1), palette.border)
            x = -float(self._bar.value)
            for cell, column in zip(row, self._columns, strict=False):
                if y < clip.bottom() and y + high > clip.top():
                    painter.translate(x + _PAD, y + SPACE.xs)
                    cell.paint(painter, _within(selection, position, cell.length))
                    painter.translate(-x - _PAD, -y - SPACE.xs)
                x += column + 2 * _PAD
                position += cell.length + 1
            y += high
        painter.restore()
        painter.setPen(QPen(palette.border, 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPath(frame)

    def _cell_at(self, point: QPointF) -> tuple[TextBox, int, QPointF] | None:
        """The cell nearest to `point`, its first position, and the point in its coordinates."""
        y, position, found = 0.0, 0, None
        for r, row in enumerate(self._cells):
            x = -float(self._bar.value)
            for cell, column in zip(row, self._columns, strict=False):
                if (point.y() >= y or r == 0) and (point.x() >= x or cell is row[0]):
                    found = (cell, position, QPointF(point.x() - x - _PAD, point.y() - y - SPACE.xs))
                x += column + 2 * _PAD
                position += cell.length + 1
            y += self._row_heights[r]
        return found

    def hit(self, point: QPointF) -> int:
        """The position nearest to `point`."""
        found = self._cell_at(point)
        return found[1] + found[0].hit(found[2]) if found else 0

    def word_at(self, position: int) -> tuple[int, int]:
        """Start and end of the word around `position`."""
        at = 0
        for row in self._cells:
            for cell in row:
                if at <= position <= at + cell.length:
                    start, end = cell.word_at(position - at)
                    return at + start, at + end
                at += cell.length + 1
        return position, position

    def link_at(self, point: QPointF) -> str:
        """The address under `point`, or ''."""
        found = self._cell_at(point)
        return found[0].link_at(found[2]) if found else ""

    def links(self) -> list[tuple[int, int, str]]:
        """Start, end and address of each link."""
        links, at = [], 0
        for row in self._cells:
            for cell in row:
                links += [(at + start, at + end, href) for start, end, href in cell.link_spans]
                at += cell.length + 1
        return links

    def dispose(self) -> None:
        """Removes the child widgets."""
        self._bar.close()


def _within(selection: Selection, start: int, length: int) -> Selection:
    """The part of `selection` that lies in `length` positions from `start`, counted from there."""
    if selection is None:
        return None
    first, last = max(selection[0] - start, 0), min(selection[1] - start, length)
    return (first, last) if first < last else None
