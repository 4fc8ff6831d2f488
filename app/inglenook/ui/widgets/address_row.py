"""Where people paste the address of a model that is not in the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from inglenook.core.i18n import N_, tr
from inglenook.library.catalogue import BY_ADDRESS, Known
from inglenook.library.shelf_events import Fit
from inglenook.ui import model_words
from inglenook.ui.theme import SPACE


class AddressRow(QWidget):
    """A field and a button, which ends what it began. What was typed stays, so that it can be mended."""

    find_requested = Signal(str)
    stop_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.field = QLineEdit()
        self.field.setPlaceholderText(tr(N_("owner/name, or the address of its page on huggingface.co")))
        self.field.setAccessibleName(tr(N_("Address of another model")))
        self.field.setClearButtonEnabled(True)
        self.field.returnPressed.connect(self._find)
        self.button = QPushButton()
        self.button.setAutoDefault(False)
        self.button.clicked.connect(self._pressed)
        self.field.textChanged.connect(self._typed)
        self.words = QLabel(tr(N_("Asking the server of models…")))
        self.words.setProperty("role", "small")
        self.words.hide()
        row = QHBoxLayout()
        row.setSpacing(SPACE.s)
        row.addWidget(self.field, 1)
        row.addWidget(self.button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE.xs)
        column.addLayout(row)
        self._known = [(known, *self._shortcut(known, column)) for known in BY_ADDRESS]
        column.addWidget(self.words)
        self._finding = False
        self.show_fits({})
        self._name_button()

    def show_finding(self, address: str) -> None:
        """`address` is being asked; "" when that is over."""
        had_focus = self.field.hasFocus() or self.button.hasFocus()
        was, self._finding = self._finding, bool(address)
        self.field.setReadOnly(self._finding)
        self._name_button()
        self.words.setVisible(self._finding)
        if was and not self._finding and had_focus:
            self.field.setFocus()

    def show_fits(self, fits: Mapping[str, Fit]) -> None:
        """What a known model would take of this computer, by the `fits` of the catalogue's entries, by their keys."""
        for known, shortcut, about in self._known:
            about.setText(model_words.known(known, fits.get(known.like.key, Fit())))
            shortcut.setAccessibleDescription(about.text())

    def _shortcut(self, known: Known, column: QVBoxLayout) -> tuple[QPushButton, QLabel]:
        """A button that looks up a known model, and what is known of it before."""
        shortcut = QPushButton(tr(N_("Look up {title}"), title=known.title))
        shortcut.setAccessibleName(shortcut.text())
        shortcut.setProperty("role", "flat")
        shortcut.setAutoDefault(False)
        shortcut.clicked.connect(partial(self._find_known, known.repository))
        about = QLabel()
        about.setProperty("role", "small")
        about.setWordWrap(True)
        about.setIndent(SPACE.m)
        about.setTextFormat(Qt.TextFormat.PlainText)
        column.addWidget(shortcut, alignment=Qt.AlignmentFlag.AlignLeft)
        column.addWidget(about)
        return shortcut, about

    def _name_button(self) -> None:
        name = N_("Stop asking the server") if self._finding else N_("Look up the models at this address")
        self.button.setText(tr(N_("S&top") if self._finding else N_("&Look up")))
        self.button.setAccessibleName(tr(name))
        self._typed(self.field.text())

    def _typed(self, text: str) -> None:
        self.button.setEnabled(bool(text.strip()) or self._finding)

    def _pressed(self) -> None:
        if self._finding:
            self.stop_requested.emit()
        else:
            self._find()

    def _find_known(self, repository: str) -> None:
        self.field.setText(repository)
        self._find()

    def _find(self) -> None:
        if not self._finding and (text := self.field.text().strip()):
            self.find_requested.emit(text)
