"""Where people paste the address of another model."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QPushButton
from pytestqt.qtbot import QtBot
from tests.library.test_shelf import estimate

from inglenook.library.catalogue import GPT_OSS_20B
from inglenook.library.shelf_events import Fit
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


def test_while_it_is_asked_it_can_be_stopped_and_the_address_stays(row: AddressRow) -> None:
    asked: list[str] = []
    stopped: list[str] = []
    row.find_requested.connect(asked.append)
    row.stop_requested.connect(lambda: stopped.append("stopped"))
    row.field.setText("owner/name")
    row.field.setFocus()
    row.show_finding("owner/name")
    assert (row.button.text(), row.button.accessibleName()) == ("S&top", "Stop asking the server")
    QTest.keyClick(row.field, Qt.Key.Key_Return)
    QTest.keyClick(row.button, Qt.Key.Key_Space)
    assert (asked, stopped) == ([], ["stopped"])
    assert row.field.isReadOnly()
    assert not row.words.isHidden()
    row.show_finding("")
    assert row.button.isEnabled()
    assert not row.field.isReadOnly()
    assert row.words.isHidden()
    assert row.button.accessibleName() == "Look up the models at this address"
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


def test_a_known_one_has_figures_before_it_is_looked_up_and_says_that_they_are_about(row: AddressRow) -> None:
    def said() -> str:
        return "\n".join(label.text() for label in row.findChildren(QLabel) if label.isVisible())

    assert "About 14 GB to fetch, about 12 GB when it is converted · Apache-2.0" in said()
    assert "Memory, about as for gpt-oss-20b. Looking at this computer" in said()
    row.show_fits({GPT_OSS_20B.key: Fit(plan=estimate(GPT_OSS_20B))})
    assert "Memory, about as for gpt-oss-20b. Fits: takes about" in said()
    shortcut = next(b for b in row.findChildren(QPushButton) if "safeguard" in b.text())
    assert shortcut.accessibleDescription() in said()
    assert "12.1" not in said()
    assert "13.8" not in said()
