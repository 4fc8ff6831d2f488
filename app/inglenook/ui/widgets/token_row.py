"""The access token of the Hub in the settings: entered, replaced, removed. What is kept is never shown again."""

from __future__ import annotations

import threading
from collections.abc import Callable

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_, tr
from inglenook.library.remote.access_token import Kept
from inglenook.ui.services import Token
from inglenook.ui.theme import SPACE
from inglenook.ui.widgets.toast import announce

_WORDS = {
    Kept.NOWHERE: N_("Only for models that ask for a login, and sent to the server of models alone."),
    Kept.KEYRING: N_("Kept in this computer's keyring, and sent to the server of models alone."),
    Kept.THIS_RUN: N_("This computer has no keyring that can be used: it is kept until Inglenook is closed."),
}


class _News(QObject):
    """What a thread has found; apart from the row, which may be gone then."""

    done = Signal(str)  # what went wrong, or ""


class TokenRow(QWidget):
    """A field, a button that keeps what is in it, one that removes what is kept. The keyring may take its time."""

    def __init__(self, token: Token, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._token = token
        self._news = _News()
        self._news.done.connect(self._show_done)
        title = QLabel(tr(N_("Access token")))
        self.field = QLineEdit()
        self.field.setMinimumWidth(220)
        self.field.setEchoMode(QLineEdit.EchoMode.Password)
        self.field.setAccessibleName(tr(N_("Access token")))
        self.field.returnPressed.connect(self._keep)
        title.setBuddy(self.field)
        self.keep = self._button(N_("&Keep"), N_("Keep the access token"), self._keep)
        self.remove = self._button(N_("Re&move"), N_("Remove the access token"), self._remove)
        self.field.textChanged.connect(lambda text: self.keep.setEnabled(bool(text.strip())))
        self.words = QLabel()
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.words.setWordWrap(True)
        row = QHBoxLayout()
        row.setSpacing(SPACE.s)
        row.addWidget(title)
        row.addStretch(1)
        for widget in (self.field, self.keep, self.remove):
            row.addWidget(widget)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE.s)
        column.addLayout(row)
        column.addWidget(self.words)
        self._show_done("", say=False)

    def _button(self, words: str, name: str, act: Callable[[], None]) -> QPushButton:
        button = QPushButton(tr(words))
        button.setAccessibleName(tr(name))
        button.setAutoDefault(False)
        button.clicked.connect(act)
        return button

    def _keep(self) -> None:
        text = self.field.text()
        if text.strip():
            self.field.clear()
            self._do(lambda: self._token.set(text))

    def _remove(self) -> None:
        self._do(self._token.remove)

    def _do(self, act: Callable[[], object]) -> None:
        news = self._news

        def work() -> None:
            problem = ""
            try:
                act()
            except UserError as error:
                problem = error.info.text()
            news.done.emit(problem)

        self.setEnabled(False)
        threading.Thread(target=work, name="token", daemon=True).start()

    def _show_done(self, problem: str, *, say: bool = True) -> None:
        kept = self._token.kept()
        had_focus = self.isEnabled() is False
        self.setEnabled(True)
        self.field.setPlaceholderText("hf_…" if kept is Kept.NOWHERE else "••••••••")
        self.keep.setEnabled(bool(self.field.text().strip()))
        self.remove.setVisible(kept is not Kept.NOWHERE)
        self.words.setText(problem or tr(_WORDS[kept]))
        self.words.setProperty("role", "error" if problem else "small")
        self.words.style().polish(self.words)
        if had_focus:  # a widget that was switched off has lost it
            self.field.setFocus()
        if say:
            announce(self, self.words.text())
