"""The actions and their menu."""

from __future__ import annotations

import sys

import pytest
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMainWindow
from pytestqt.qtbot import QtBot

from inglenook.core.settings import TEXT_SIZE, Settings
from inglenook.ui.actions import Actions
from inglenook.ui.theme import Theme


@pytest.fixture
def window(qtbot: QtBot) -> QMainWindow:
    made = QMainWindow()
    qtbot.addWidget(made)
    return made


def test_the_menu_has_every_action_but_its_own(
    window: QMainWindow, theme: Theme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    actions = Actions(window, theme)
    menu = actions.menu()
    assert menu is not None
    listed = {action for action in menu.actions() if not action.isSeparator()}
    assert listed == {a for a in vars(actions).values() if isinstance(a, QAction)} - {actions.open_menu}
    letters = [a.text()[a.text().index("&") + 1].lower() for a in listed]
    assert len(letters) == len(set(letters))  # each mnemonic once


def test_on_macos_they_are_in_the_menu_bar(window: QMainWindow, theme: Theme, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    actions = Actions(window, theme)
    assert actions.menu() is None
    assert [a.text() for a in window.menuBar().actions()] == ["&Chat", "&View", "&Model", "&Inglenook"]


def test_icons_follow_the_theme(window: QMainWindow, theme: Theme, settings: Settings) -> None:
    actions = Actions(window, theme)
    before = actions.stop.icon().cacheKey()
    settings.set(TEXT_SIZE, 150)
    assert actions.stop.icon().cacheKey() != before
