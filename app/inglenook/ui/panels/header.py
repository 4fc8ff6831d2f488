"""The line above the conversation: sidebar, title of the chat, the model's state, the menu."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QAction, QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QMenu, QSizePolicy, QToolButton, QWidget

from inglenook.core.i18n import N_, tr
from inglenook.ui.panels.status import ModelChip
from inglenook.ui.theme import SPACE, FontRole, Theme
from inglenook.ui.widgets.lines import line_option


class ElidedLabel(QWidget):
    """One line that gives way where there is no room for it; each text is written in its own direction."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._text = ""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)

    def set_text(self, text: str) -> None:
        """Shows `text`."""
        self._text = text
        self.setAccessibleName(text)
        self.setToolTip(text)
        self.update()

    def minimumSizeHint(self) -> QSize:
        """See QWidget."""
        return QSize(0, self.fontMetrics().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        """See QWidget."""
        painter = QPainter(self)
        painter.setFont(self._theme.font(FontRole.TITLE))
        painter.setPen(self._theme.palette.text)
        text = painter.fontMetrics().elidedText(self._text, Qt.TextElideMode.ElideRight, self.width())
        painter.drawText(self.rect().toRectF(), text, line_option(text))
        painter.end()


class Header(QWidget):
    """Shows actions of the window as buttons; it has none of its own."""

    def __init__(self, theme: Theme, sidebar: QAction, new_chat: QAction, menu: QMenu | None) -> None:
        super().__init__()
        self._theme = theme
        self.chip = ModelChip()
        self.title = ElidedLabel(theme)
        self._sidebar = self._button(sidebar)
        self._new = self._button(new_chat)
        self._new.setVisible(False)
        self.menu_button = QToolButton()
        self.menu_button.setObjectName("menuButton")
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE.s, SPACE.s, SPACE.s, SPACE.s)
        row.setSpacing(SPACE.xs)
        row.addWidget(self._sidebar)
        row.addWidget(self._new)
        row.addSpacing(SPACE.xs)
        row.addWidget(self.title, 1)
        row.addSpacing(SPACE.m)
        row.addWidget(self.chip)
        row.addSpacing(SPACE.xs)
        if menu is not None:
            self._dress(self.menu_button, tr(N_("Menu")), tr(N_("Menu (F10)")))
            self.menu_button.setMenu(menu)
            self.menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
            row.addWidget(self.menu_button)
        self._retint()
        theme.changed.connect(self._retint)

    def show_new_chat(self, shown: bool) -> None:
        """Offers a new chat here while the sidebar, which has that button too, is hidden."""
        self._new.setVisible(shown)

    def open_menu(self) -> None:
        """Opens the menu below its button."""
        if (menu := self.menu_button.menu()) is not None:
            menu.popup(self.menu_button.mapToGlobal(self.menu_button.rect().bottomLeft()))

    def _button(self, action: QAction) -> QToolButton:
        button = QToolButton()
        name = action.text().replace("&", "")
        self._dress(button, name, f"{name} ({action.shortcut().toString(action.shortcut().SequenceFormat.NativeText)})")
        button.clicked.connect(action.trigger)
        return button

    def _dress(self, button: QToolButton, name: str, tip: str) -> None:
        button.setProperty("role", "flat")
        button.setAccessibleName(name)
        button.setToolTip(tip)
        button.setCursor(Qt.CursorShape.PointingHandCursor)

    def _retint(self) -> None:
        self._sidebar.setIcon(self._theme.icon("sidebar"))
        self._new.setIcon(self._theme.icon("new-chat"))
        self.menu_button.setIcon(self._theme.icon("menu"))
