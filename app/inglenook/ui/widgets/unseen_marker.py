"""The line in a conversation above which the model sees no more than what is pinned."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from inglenook.core.i18n import N_, tr
from inglenook.ui.theme import SPACE, FontRole, Theme

WORDS = N_(
    "The context window is full: the model no longer sees the messages above this line, except those that are pinned."
)


class UnseenMarker(QWidget):
    """Words between two lines. `relayout` gives it a width and tells the height that it takes."""

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self._words = tr(WORDS)
        self.setAccessibleName(self._words)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hide()

    def relayout(self, width: int) -> int:
        """Resizes to `width`, returns the height."""
        room = QRectF(0, 0, width, 10_000).toRect()
        words = QFontMetrics(self._theme.font(FontRole.SMALL)).boundingRect(room, self._flags(), self._words)
        self.resize(width, words.height() + 2 * SPACE.s)
        return self.height() + SPACE.m

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draws both lines and the words."""
        palette = self._theme.palette
        painter = QPainter(self)
        painter.setPen(palette.border)
        painter.drawLine(0, 0, self.width(), 0)
        painter.drawLine(0, self.height() - 1, self.width(), self.height() - 1)
        painter.setFont(self._theme.font(FontRole.SMALL))
        painter.setPen(palette.text_muted)
        painter.drawText(self.rect(), self._flags(), self._words)
        painter.end()

    def _flags(self) -> int:
        return int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap)
