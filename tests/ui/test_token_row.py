"""The row of the access token in the settings."""

from __future__ import annotations

import threading

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit
from pytestqt.qtbot import QtBot

from inglenook.core.errors import UserError
from inglenook.library.remote.access_token import Kept
from inglenook.ui.widgets.token_row import TokenRow

SECRET = "hf_this_is_secret"


class Memory:
    """A token whose keyring waits until it is allowed to go on."""

    def __init__(self, keeps: Kept = Kept.KEYRING) -> None:
        self.keeps = keeps
        self.held: str | None = None
        self.go = threading.Event()
        self.go.set()

    def kept(self) -> Kept:
        return self.keeps if self.held else Kept.NOWHERE

    def set(self, text: str) -> Kept:
        self.go.wait(60)
        if " " in text:
            raise UserError("That is no access token.")
        self.held = text
        return self.kept()

    def remove(self) -> None:
        self.go.wait(60)
        self.held = None


@pytest.fixture
def token() -> Memory:
    return Memory()


@pytest.fixture
def row(qtbot: QtBot, token: Memory) -> TokenRow:
    made = TokenRow(token)
    qtbot.addWidget(made)
    made.show()
    return made


def test_entered_kept_and_removed_by_the_keyboard(row: TokenRow, token: Memory, qtbot: QtBot) -> None:
    assert not row.keep.isEnabled()
    assert row.remove.isHidden()
    row.field.setFocus()
    QTest.keyClicks(row.field, SECRET)
    assert row.field.echoMode() is QLineEdit.EchoMode.Password
    QTest.keyClick(row.keep, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: not row.remove.isHidden())
    assert token.held == SECRET
    assert "keyring" in row.words.text()
    assert not row.field.text()  # what is kept is never shown again
    QTest.keyClick(row.remove, Qt.Key.Key_Space)
    qtbot.waitUntil(row.remove.isHidden)
    assert token.held is None


def test_the_window_does_not_wait_for_the_keyring(row: TokenRow, token: Memory, qtbot: QtBot) -> None:
    token.go.clear()
    row.field.setText(SECRET)
    row.keep.click()
    assert not row.isEnabled()
    assert token.held is None
    token.go.set()
    qtbot.waitUntil(row.isEnabled)
    assert token.held == SECRET


def test_what_is_no_token_is_told(row: TokenRow, token: Memory, qtbot: QtBot) -> None:
    row.field.setText("two words")
    row.keep.click()
    qtbot.waitUntil(lambda: "no access token" in row.words.text())
    assert row.words.property("role") == "error"
    assert row.remove.isHidden()


def test_where_there_is_no_keyring_it_says_so(qtbot: QtBot) -> None:
    token = Memory(Kept.THIS_RUN)
    row = TokenRow(token)
    qtbot.addWidget(row)
    row.field.setText(SECRET)
    row.keep.click()
    qtbot.waitUntil(lambda: "no keyring" in row.words.text())


def test_the_row_may_go_while_the_keyring_is_asked(qtbot: QtBot, token: Memory) -> None:
    token.go.clear()
    row = TokenRow(token)
    row.field.setText(SECRET)
    row.keep.click()
    row.deleteLater()
    qtbot.wait(20)
    token.go.set()
    qtbot.waitUntil(lambda: token.held == SECRET)
    qtbot.wait(50)


def test_names_for_a_screen_reader(row: TokenRow) -> None:
    assert row.field.accessibleName() == "Access token"
    assert row.keep.accessibleName() == "Keep the access token"
    assert row.remove.accessibleName() == "Remove the access token"
