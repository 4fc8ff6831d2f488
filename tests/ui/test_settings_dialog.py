"""A row for every declaration, applied at once and put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QSpinBox,
)
from pytestqt.qtbot import QtBot

from inglenook.core.settings import ALL, INSTRUCTIONS, TEXT_SIZE, THEME, Setting, Settings
from inglenook.library.remote.access_token import AccessToken
from inglenook.ui.dialogs.settings import SettingsDialog
from inglenook.ui.theme import Theme
from inglenook.ui.widgets.segments import Segments

MANY = Setting("many", "Other", "Many", 3, choices=tuple((n, f"Choice {n}") for n in range(1, 7)))
LINE = Setting("line", "Other", "A line", "")
EVERY: tuple[Setting[Any], ...] = (*ALL, MANY, LINE)


@pytest.fixture
def dialog(qtbot: QtBot, settings: Settings, theme: Theme) -> SettingsDialog:
    made = SettingsDialog(settings, EVERY, theme, AccessToken(settings))
    qtbot.addWidget(made)
    made.show()
    made.activateWindow()
    return made


def change(editor: object) -> Any:
    """Does what a user does to have another value, and tells which."""
    match editor:
        case Segments():
            button = next(b for b in editor.findChildren(QPushButton) if not b.isChecked())
            button.click()
            return editor.value()
        case QCheckBox():
            editor.click()
            return editor.isChecked()
        case QSpinBox() | QDoubleSpinBox():
            editor.stepUp() if editor.value() < editor.maximum() else editor.stepDown()
            return round(editor.value(), 2)
        case QComboBox():
            editor.setCurrentIndex((editor.currentIndex() + 1) % editor.count())
            return editor.currentData()
        case QLineEdit():
            QTest.keyClicks(editor, "words")
            QTest.keyClick(editor, Qt.Key.Key_Return)
            return editor.text()
        case QPlainTextEdit():
            editor.setFocus()
            QTest.keyClicks(editor, "words")
            editor.clearFocus()
            return editor.toPlainText()
    raise AssertionError(editor)


@pytest.mark.parametrize("setting", EVERY, ids=lambda s: s.key)
def test_each_row_applies_at_once_and_can_be_put_back(
    dialog: SettingsDialog, settings: Settings, paths: Any, setting: Setting[Any]
) -> None:
    reset = dialog.reset_button(setting)
    assert not reset.isVisible()
    value = change(dialog.editor(setting))
    assert value != setting.default
    assert settings.get(setting) == value
    settings.flush()
    assert Settings(paths.settings).get(setting) == value  # on disk
    assert reset.isVisible()
    reset.click()
    assert settings.get(setting) == setting.default
    assert not reset.isVisible()


@pytest.mark.parametrize("setting", EVERY, ids=lambda s: s.key)
def test_each_row_shows_what_is_set_and_what_it_means(
    qtbot: QtBot, settings: Settings, theme: Theme, setting: Setting[Any]
) -> None:
    first = SettingsDialog(settings, EVERY, theme, AccessToken(settings))
    qtbot.addWidget(first)
    first.show()
    value = change(first.editor(setting))
    qtbot.waitUntil(lambda: settings.get(setting) == value)
    again = SettingsDialog(settings, EVERY, theme, AccessToken(settings))
    qtbot.addWidget(again)
    match editor := again.editor(setting):
        case Segments():
            assert editor.value() == value
        case QCheckBox():
            assert editor.isChecked() == value
        case QSpinBox() | QDoubleSpinBox():
            assert round(editor.value(), 2) == value
        case QComboBox():
            assert editor.currentData() == value
        case QLineEdit():
            assert editor.text() == value
        case QPlainTextEdit():
            assert editor.toPlainText() == value
    assert editor.accessibleName() == setting.title
    assert editor.accessibleDescription() == setting.help
    texts = [label.text() for label in again.findChildren(QLabel)]
    assert setting.title in texts
    assert setting.group in texts
    assert not setting.help or setting.help in texts


def test_bounds_are_the_declarations(dialog: SettingsDialog) -> None:
    spin = dialog.editor(TEXT_SIZE)
    assert isinstance(spin, QSpinBox)
    assert (spin.minimum(), spin.maximum(), spin.singleStep()) == (75, 200, 5)


def test_closing_keeps_a_text_that_still_has_the_keyboard(dialog: SettingsDialog, settings: Settings) -> None:
    editor = dialog.editor(INSTRUCTIONS)
    editor.setFocus()
    QTest.keyClicks(editor, "Be brief.")
    QTest.keyClick(editor, Qt.Key.Key_Escape)
    assert not dialog.isVisible()
    assert settings.get(INSTRUCTIONS) == "Be brief."


def test_scrolling_the_page_changes_no_number(dialog: SettingsDialog, settings: Settings) -> None:
    spin = dialog.editor(TEXT_SIZE)
    dialog.editor(THEME).setFocus()
    at = QPointF(spin.rect().center())
    none, down = Qt.MouseButton.NoButton, QPoint(0, -120)
    wheel = QWheelEvent(
        at, at, QPoint(), down, none, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False
    )
    QApplication.sendEvent(spin, wheel)
    assert settings.get(TEXT_SIZE) == 100


def test_a_disk_that_refuses_is_told(qtbot: QtBot, theme: Theme, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(tmp_path / "file" / "settings.json")  # below a file there can be no folder
    dialog = SettingsDialog(settings, EVERY, theme, AccessToken(settings))
    qtbot.addWidget(dialog)
    dialog.show()
    change(dialog.editor(TEXT_SIZE))
    qtbot.waitUntil(dialog._problem.isVisible)
    assert "could not be saved" in dialog._problem.text()
