"""The scroll bar below a part of a message that is wider than the column: a code block or a table."""

from __future__ import annotations

import math

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QScrollBar, QWidget

_INSET, _HEIGHT = 6, 12


class Sideways:
    """Makes its bar, a child of `owner`, when it is first needed."""

    def __init__(self, owner: QWidget, name: str) -> None:
        """`name` is for screen readers."""
        self._owner, self._name = owner, name
        self._bar: QScrollBar | None = None

    @property
    def value(self) -> int:
        """Pixels that the content is moved to the left."""
        return self._bar.value() if self._bar is not None else 0

    def fit(self, overflow: float, page: float, step: float) -> int:
        """For content `overflow` pixels wider than its place of width `page`; the height that the bar takes."""
        needed = overflow > 1
        if needed and self._bar is None:
            self._bar = QScrollBar(Qt.Orientation.Horizontal, self._owner)
            self._bar.setAccessibleName(self._name)
            self._bar.valueChanged.connect(lambda: self._owner.update())
        if self._bar is not None:
            self._bar.setVisible(needed)
            self._bar.setRange(0, max(0, math.ceil(overflow)))
            self._bar.setPageStep(max(1, int(page)))
            self._bar.setSingleStep(int(step))
        return _HEIGHT if needed else 0

    def place(self, x: float, bottom: float, width: float) -> None:
        """Moves the bar to the lower edge of its content."""
        if self._bar is not None:
            self._bar.setGeometry(int(x) + _INSET, int(bottom) - _HEIGHT, int(width) - 2 * _INSET, _HEIGHT - 2)

    def scroll(self, pixels: int) -> bool:
        """Moves the content by `pixels`; False if all of it is in sight."""
        if self._bar is None or not self._bar.maximum():
            return False
        self._bar.setValue(self._bar.value() - pixels)
        return True

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.hide()
            self._bar.deleteLater()
            self._bar = None
