"""Where people paste the address of another model."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from inglenook.ui.widgets.address_row import AddressRow


@pytest.fixture
def row(qtbot: QtBot) -> AddressRow:
    made = AddressRow()
    qtbot.addWidget(made)
    made.show()
    made.activateWindow()
    return made


def test_typed_and_asked(row: AddressRow, qtbot: QtBot) -> None:
    asked: list[str] = []
    row.find_requested.connect(asked.append)
    assert not row.button.isEnabled()
    QTest.keyClicks(row.field, " owner/name ")
    QTest.keyClick(row.button, Qt.Key.Key_Space)
    assert asked == ["owner/name"]


def test_while_it_is_asked_it_cannot_be_asked_again_and_the_address_stays(row: AddressRow) -> None:
    row.field.setText("owner/name")
    row.field.setFocus()
    row.show_finding("owner/name")
    assert not row.button.isEnabled()
    assert row.field.isReadOnly()
    assert not row.words.isHidden()
    row.show_finding("")
    assert row.button.isEnabled()
    assert not row.field.isReadOnly()
    assert row.words.isHidden()
    assert row.field.text() == "owner/name"


def test_names_for_a_screen_reader(row: AddressRow) -> None:
    assert row.field.accessibleName() == "Address of another model"
    assert row.button.accessibleName() == "Look up the models at this address"


def test_a_known_one_is_looked_up_at_once(row: AddressRow) -> None:
    asked: list[str] = []
    row.find_requested.connect(asked.append)
    shortcut = next(b for b in row.findChildren(QPushButton) if "safeguard" in b.text())
    QTest.keyClick(shortcut, Qt.Key.Key_Space)
    assert asked == ["openai/gpt-oss-safeguard-20b"]
