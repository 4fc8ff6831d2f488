"""A short notice over the window, with at most one thing to do about it (Undo). It goes by itself."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget

SECONDS = 8.0
_MARGIN, _LEFT, _RIGHT = 16, 16, 8
_WIDEST = 560


def announce(source: QObject, text: str) -> None:
    """Has a screen reader say `text`, if one is running."""
    QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(source, text))


class Toast(QFrame):
    """Floats above `anchor` (a child of `host`), in its middle; a new text replaces the old one."""

    def __init__(self, host: QWidget, anchor: QWidget) -> None:
        super().__init__(host)
        self._host, self._anchor = host, anchor
        self._do: Callable[[], None] | None = None
        self.setObjectName("toast")
        self.setAccessibleName("")
        self._label = QLabel()
        self._label.setWordWrap(True)
        self._label.setTextFormat(Qt.TextFormat.PlainText)
        self._label.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._button = QPushButton()
        self._button.setCursor(Qt.CursorShape.PointingHandCursor)
        self._button.clicked.connect(self._act)
        row = QHBoxLayout(self)
        row.setContentsMargins(_LEFT, 8, _RIGHT, 8)
        row.setSpacing(12)
        row.addWidget(self._label, 1)
        row.addWidget(self._button)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.dismiss)
        anchor.installEventFilter(self)
        self.hide()

    def show_notice(
        self, text: str, action: str = "", do: Callable[[], None] | None = None, seconds: float = SECONDS
    ) -> None:
        """Shows `text`, with a button `action` that calls `do` once."""
        self._label.setText(text)
        self._button.setText(action)
        self._button.setAccessibleName(action.replace("&", ""))
        self._button.setVisible(do is not None)
        self._do = do
        self._place()
        self.show()
        self.raise_()
        self._timer.start(round(seconds * 1000))
        announce(self, text)

    def dismiss(self) -> None:
        """Takes it away; while the pointer or the focus is on it, later."""
        if self.underMouse() or self._button.hasFocus():
            self._timer.start(2000)
            return
        self._do = None
        self.hide()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follows the anchor."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Move) and self.isVisible():
            self._place()
        return super().eventFilter(watched, event)

    def _act(self) -> None:
        do, self._do = self._do, None
        self._timer.stop()
        self.hide()
        if do is not None:
            do()

    def _place(self) -> None:
        top = self._anchor.mapTo(self._host, self._anchor.rect().topLeft())
        widest = min(_WIDEST, self._anchor.width() - 2 * _MARGIN)
        beside = self._button.sizeHint().width() + 12 if self._do is not None else 8
        text = self._label.fontMetrics().horizontalAdvance(self._label.text()) + 4
        width = min(widest, text + beside + _LEFT + _RIGHT)
        height = self.heightForWidth(width) if self.hasHeightForWidth() else self.sizeHint().height()
        left = top.x() + (self._anchor.width() - width) // 2
        self.setGeometry(left, max(_MARGIN, top.y() - height - _MARGIN), width, height)
