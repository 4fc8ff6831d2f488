"""A row of choices of which exactly one is taken, all of them visible: for two to four short labels."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QFont, QFontMetrics
from PySide6.QtWidgets import QButtonGroup, QFrame, QHBoxLayout, QPushButton, QWidget


class Segments(QFrame):
    """Emits `chosen` when the user takes another one; Tab enters the row, arrow keys move in it."""

    chosen = Signal(object)  # the value

    def __init__(self, name: str, choices: Sequence[tuple[object, str]], parent: QWidget | None = None) -> None:
        """`choices` pairs a value with its label; `name` is what a screen reader calls the row."""
        super().__init__(parent)
        self.setProperty("role", "segments")
        self.setAccessibleName(name)
        self._values = [value for value, _ in choices]
        self._group = QButtonGroup(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(2, 2, 2, 2)
        row.setSpacing(2)
        for number, (_, label) in enumerate(choices):
            button = _Segment(label)
            button.setCheckable(True)
            button.setAutoDefault(False)
            button.setProperty("role", "segment")
            button.setAccessibleName(f"{name}: {label}")
            button.setCursor(Qt.CursorShape.PointingHandCursor)
            self._group.addButton(button, number)
            row.addWidget(button)
        self._group.idClicked.connect(self._on_click)
        self.set_value(self._values[0])

    def value(self) -> object:
        """The one that is taken."""
        return self._values[self._group.checkedId()]

    def set_value(self, value: object) -> None:
        """Takes `value` without saying so; ValueError if it is none of the choices."""
        button = self._group.button(self._values.index(value))
        button.setChecked(True)
        self.setFocusProxy(button)

    def _on_click(self, number: int) -> None:
        self.setFocusProxy(self._group.button(number))
        self.chosen.emit(self._values[number])


class _Segment(QPushButton):
    """As wide as its label is when it is taken, which is bold then: Qt asks for the plain one's width only."""

    def sizeHint(self) -> QSize:
        return self._widened(super().sizeHint())

    def minimumSizeHint(self) -> QSize:
        return self._widened(super().minimumSizeHint())

    def _widened(self, size: QSize) -> QSize:
        bold = QFont(self.font())
        bold.setWeight(QFont.Weight.DemiBold)
        more = QFontMetrics(bold).horizontalAdvance(self.text()) - self.fontMetrics().horizontalAdvance(self.text())
        return size + QSize(max(0, more), 0)
