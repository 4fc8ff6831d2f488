"""A notice: its action, its end, and that a screen reader hears it."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from inglenook.ui.theme import Theme
from inglenook.ui.widgets import toast as toast_module
from inglenook.ui.widgets.toast import Toast


@pytest.fixture
def toast(qtbot: QtBot, theme: Theme) -> Toast:
    host, anchor = QWidget(), QWidget()
    qtbot.addWidget(host)
    column = QVBoxLayout(host)
    column.addStretch(1)
    anchor.setFixedHeight(60)
    column.addWidget(anchor)
    host.resize(500, 400)
    host.show()
    return Toast(host, anchor)


def test_action_is_done_once_and_ends_it(toast: Toast) -> None:
    done: list[str] = []
    toast.show_notice("Deleted.", "&Undo", lambda: done.append("undo"))
    assert toast.isVisible()
    button = toast.findChild(QPushButton)
    assert button.accessibleName() == "Undo"
    button.click()
    assert done == ["undo"]
    assert toast.isHidden()
    button.click()
    assert done == ["undo"]


def test_goes_by_itself(toast: Toast, qtbot: QtBot) -> None:
    toast.show_notice("Saved.", seconds=0.05)
    assert toast.findChild(QPushButton).isHidden()
    qtbot.waitUntil(toast.isHidden)


def test_stays_while_its_button_has_the_keyboard(toast: Toast, qtbot: QtBot) -> None:
    toast.show_notice("Deleted.", "&Undo", lambda: None)
    toast.window().activateWindow()
    toast.findChild(QPushButton).setFocus()
    toast.dismiss()
    assert toast.isVisible()
    toast.findChild(QPushButton).clearFocus()
    toast.dismiss()
    assert toast.isHidden()


@pytest.mark.parametrize("width", [320, 500, 1600])
def test_stays_inside_and_above_its_anchor(toast: Toast, width: int, qtbot: QtBot) -> None:
    toast.show_notice("A rather long sentence that may need two lines in a narrow window. " * 2, "&Undo", lambda: None)
    host = toast.parentWidget()
    host.resize(width, 400)
    qtbot.waitUntil(lambda: toast.geometry().right() <= host.width() - 16)
    assert toast.geometry().left() >= 16
    assert toast.geometry().bottom() < toast._anchor.geometry().top()


def test_is_announced(toast: Toast, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(toast_module, "announce", lambda _, text: heard.append(text))
    toast.show_notice("Deleted.")
    assert heard == ["Deleted."]


def test_announcing_without_a_screen_reader_does_nothing(toast: Toast) -> None:
    toast_module.announce(toast, "Hello")
