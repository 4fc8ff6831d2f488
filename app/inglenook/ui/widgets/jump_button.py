"""The round button to the latest message."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QToolButton, QWidget

from inglenook.core.i18n import tr
from inglenook.ui.theme import Theme


class JumpButton(QToolButton):
    """Over the conversation, while its end is out of sight."""

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self.setFixedSize(36, 36)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip(tr("Jump to latest"))
        self.setAccessibleName(tr("Jump to latest"))
        self.hide()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draws a disc with an arrow."""
        palette = self._theme.palette
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(palette.focus if self.hasFocus() else palette.border, 1.5 if self.hasFocus() else 1))
        painter.setBrush(palette.hover if self.underMouse() else palette.surface_raised)
        painter.drawEllipse(QRectF(self.rect()).adjusted(1, 1, -1, -1))
        self._theme.icon("chevron-down", palette.text).paint(painter, 9, 9, 18, 18)
        painter.end()
