"""The small, calm buttons in the conversation: an icon, perhaps a word, a background only under the pointer.

They paint themselves, so that they can be there for keyboard and screen reader while the eye sees them only when its
message is pointed at, and so that showing them moves nothing.
"""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QEnterEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QToolButton, QWidget

from inglenook.ui.theme import SPACE, FontRole, Theme

_ICON = 16


class QuietButton(QToolButton):
    """A button with an icon of the theme and, if `text` is given, a word. `name` is its tooltip and accessible name."""

    def __init__(self, theme: Theme, icon: str, name: str, parent: QWidget | None = None, *, text: str = "") -> None:
        super().__init__(parent)
        self._theme, self._icon_name, self._shown = theme, icon, True
        self.setText(text)
        self.setToolTip(name)
        self.setAccessibleName(name)
        if text:
            self.setFont(theme.font(FontRole.SMALL))
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.resize(self.sizeHint())

    def set_look(self, icon: str, text: str = "") -> None:
        """Another icon and word."""
        self._icon_name = icon
        self.setText(text)
        self.updateGeometry()
        self.update()

    def set_revealed(self, revealed: bool) -> None:
        """Whether the eye sees it; with the focus it is always seen."""
        if self._shown != revealed:
            self._shown = revealed
            self.update()

    def sizeHint(self) -> QSize:
        """Of icon and word."""
        text = self.fontMetrics().horizontalAdvance(self.text()) + SPACE.xs + 2 if self.text() else 0
        side = max(self.fontMetrics().height() + SPACE.s, 28)
        icon = _ICON if self._icon_name else -SPACE.xs
        return QSize(icon + text + 2 * (6 if not self.text() else SPACE.s), side)

    def enterEvent(self, event: QEnterEvent) -> None:
        """The pointer came."""
        super().enterEvent(event)
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draws icon and word, and a background if it is pointed at."""
        if not (self._shown or self.hasFocus() or self.underMouse()):
            return
        palette = self._theme.palette
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        live = self.isEnabled() and (self.underMouse() or self.isDown() or self.isChecked())
        painter.setBrush(palette.hover if live else Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(palette.focus, 1.5) if self.hasFocus() else Qt.PenStyle.NoPen)
        painter.drawRoundedRect(box, 7, 7)
        colour = palette.text if live else palette.text_muted
        if not self.isEnabled():
            colour = QColor(colour)
            colour.setAlphaF(0.4)
            painter.setOpacity(0.4)
        left = 6.0 if not self.text() else float(SPACE.s)
        if self._icon_name:
            place = QRectF(left, (self.height() - _ICON) / 2, _ICON, _ICON).toRect()
            self._theme.icon(self._icon_name, colour).paint(painter, place)
            left += _ICON + SPACE.xs + 2
        if self.text():
            painter.setPen(colour)
            painter.drawText(QRectF(left, 0, self.width(), self.height()), Qt.AlignmentFlag.AlignVCenter, self.text())
        painter.end()
