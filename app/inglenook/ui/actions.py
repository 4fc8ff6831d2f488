"""Everything that the window can do, each once: its name, key and place in the menu."""

from __future__ import annotations

import sys

from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu

from inglenook.core.i18n import N_, tr
from inglenook.ui.theme import Theme


class Actions:
    """The actions of one window, which connects them. Keys work whether or not a menu is open."""

    def __init__(self, window: QMainWindow, theme: Theme) -> None:
        self._window = window
        self._theme = theme
        self._icons: dict[QAction, str] = {}
        make = self._make
        self.new_chat = make(N_("&New chat"), "Ctrl+N", "new-chat")
        self.rename = make(N_("&Rename chat…"), "F2", "edit")
        self.delete = make(N_("&Delete chat"), "", "trash")
        self.filter = make(N_("&Filter chats"), "Ctrl+F", "search")
        self.sidebar = make(N_("Show or hide the &sidebar"), "F9", "sidebar")
        self.message = make(N_("Go to the &message field"), "Ctrl+L", "")
        self.stop = make(N_("S&top the answer"), "Esc", "stop")
        self.answer_now = make(N_("Ans&wer now"), "Ctrl+J", "continue")
        self.answer_now.setVisible(False)  # but while there is reasoning to end
        self.models = make(N_("Mode&ls…"), "Ctrl+Shift+M", "")
        self.choose_model = make(N_("&Choose model file…"), "Ctrl+O", "folder")
        self.convert = make(N_("Con&vert a checkpoint…"), "Ctrl+Shift+O", "")
        self.use_demo = make(N_("&Use the demo model"), "", "")
        self.retry_model = make(N_("L&oad the model again"), "", "refresh")
        self.network = make(N_("Networ&k…"), "", "")
        self.settings = make(N_("S&ettings…"), "Ctrl+,", "settings")
        self.about = make(N_("&About Inglenook"), "", "info")
        self.quit = make(N_("&Quit"), "Ctrl+Q", "")
        self.open_menu = make(N_("Open the menu"), "F10", "")
        self.settings.setMenuRole(QAction.MenuRole.PreferencesRole)
        self.about.setMenuRole(QAction.MenuRole.AboutRole)
        self.quit.setMenuRole(QAction.MenuRole.QuitRole)
        self._groups = (
            (N_("&Chat"), (self.new_chat, self.rename, self.delete, self.answer_now, self.stop)),
            (N_("&View"), (self.filter, self.message, self.sidebar)),
            (N_("&Model"), (self.models, self.choose_model, self.convert, self.use_demo, self.retry_model)),
            (N_("&Inglenook"), (self.settings, self.network, self.about, self.quit)),
        )
        self._retint()
        theme.changed.connect(self._retint)

    def menu(self) -> QMenu | None:
        """One menu with everything, for a button; on macOS the menu bar is filled instead, as people expect there."""
        if sys.platform == "darwin":
            for title, actions in self._groups:
                self._window.menuBar().addMenu(tr(title)).addActions(actions)
            return None
        menu = QMenu(self._window)
        menu.setAccessibleName(tr(N_("Menu")))
        for number, (_, actions) in enumerate(self._groups):
            if number:
                menu.addSeparator()
            menu.addActions(actions)
        return menu

    def _make(self, text: str, key: str, icon: str) -> QAction:
        action = QAction(tr(text), self._window)
        if key:
            action.setShortcut(QKeySequence(key))
        if icon:
            self._icons[action] = icon
        self._window.addAction(action)
        return action

    def _retint(self) -> None:
        for action, name in self._icons.items():
            action.setIcon(self._theme.icon(name))
