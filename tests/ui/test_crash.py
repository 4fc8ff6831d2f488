"""Bugs are logged and shown, from any thread, once."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QPushButton
from pytestqt.qtbot import QtBot

from inglenook.ui.dialogs.crash import CrashDialog, CrashHandler
from inglenook.ui.theme import Theme


@pytest.fixture
def handler(qtbot: QtBot, theme: Theme) -> Iterator[CrashHandler]:
    made = CrashHandler(theme)
    made.install()
    yield made
    made.remove()


def dialogs() -> list[CrashDialog]:
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, CrashDialog)]


def raised(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_is_logged_and_shown_with_details_to_copy(
    handler: CrashHandler, qtbot: QtBot, caplog: pytest.LogCaptureFixture
) -> None:
    error = raised("boom")
    with caplog.at_level(logging.CRITICAL):
        sys.excepthook(type(error), error, error.__traceback__)
    qtbot.waitUntil(lambda: len(dialogs()) == 1)
    assert "boom" in caplog.text
    dialog = dialogs()[0]
    button = next(b for b in dialog.findChildren(QPushButton) if b.accessibleName() == "Copy details")
    button.click()
    copied = QGuiApplication.clipboard().text()
    assert "ValueError: boom" in copied
    assert "Inglenook" in copied
    dialog.close()
    qtbot.waitUntil(lambda: dialogs() == [])


def test_of_a_thread_too_and_the_same_bug_once(handler: CrashHandler, qtbot: QtBot) -> None:
    def work() -> None:
        raise KeyError("thread")

    for _ in range(3):
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
    qtbot.waitUntil(lambda: len(dialogs()) == 1)
    qtbot.wait(50)
    assert len(dialogs()) == 1
    assert "KeyError: 'thread'" in dialogs()[0].details
    dialogs()[0].close()
    qtbot.waitUntil(lambda: dialogs() == [])


def test_hooks_are_given_back(handler: CrashHandler) -> None:
    mine = sys.excepthook
    handler.remove()
    assert sys.excepthook != mine
    assert threading.excepthook != handler._on_thread
