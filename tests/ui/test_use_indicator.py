"""How full the context is: the words, and that the window shows those of its conversation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QToolTip
from pytestqt.qtbot import QtBot
from tests.ui.doubles import MemoryChats

from inglenook.chat.events import ChatFailed, ContextChanged, ContextUse
from inglenook.core.errors import ErrorInfo
from inglenook.ui.main_window import MainWindow
from inglenook.ui.theme import Theme
from inglenook.ui.widgets.use_indicator import UseIndicator

USE = ContextUse(32768, instructions=90, history=3000, draft=120, room=1024)


@pytest.fixture
def indicator(qtbot: QtBot, theme: Theme) -> UseIndicator:
    made = UseIndicator(theme)
    qtbot.addWidget(made)
    return made


def shown(indicator: UseIndicator) -> str:
    indicator.resize(indicator.sizeHint())
    return indicator.text()


def test_words(indicator: UseIndicator) -> None:
    indicator.show_use(USE)
    assert indicator.isVisible()
    indicator.resize(indicator.sizeHint())
    assert indicator.text() == "3,210 of 32,768 tokens"
    assert indicator.accessibleName() == "Context window: 3,210 of 32,768 tokens"
    assert indicator.toolTip().splitlines() == [
        "Instructions: 90",
        "What was said: 3,000",
        "Your message: 120",
        "Kept free for an answer: 1,024",
    ]
    indicator.show_use(replace(USE, answer=5, tools=7, unseen=("a", "b")))
    assert "Tools: 7\n" in indicator.toolTip()
    assert "The answer so far: 5\n" in indicator.toolTip()
    assert indicator.toolTip().endswith("Messages that have left: 2")


def test_fewer_words_where_there_is_no_room(indicator: UseIndicator) -> None:
    indicator.show_use(USE)
    indicator.resize(indicator.sizeHint())
    assert indicator.minimumSizeHint().width() < indicator.width() / 2
    indicator.resize(indicator.minimumSizeHint())
    assert indicator.text() == "9 %"
    assert indicator.accessibleName() == "Context window: 3,210 of 32,768 tokens"


def test_a_window_that_is_not_known_a_message_that_is_too_long_and_nothing(indicator: UseIndicator) -> None:
    indicator.show_use(replace(USE, n_ctx=0))
    assert shown(indicator) == "3,210 tokens"
    indicator.show_use(replace(USE, draft=40_000))
    assert shown(indicator) == "Too long: 43,090 of 32,768 tokens"
    indicator.show_use(replace(USE, draft=0, history=32_000))
    assert shown(indicator) == "32,090 of 32,768 tokens", "an answer may take the room that was kept for it"
    indicator.show_use(None)
    assert not indicator.isVisible()


def test_the_keyboard_reaches_what_takes_the_room(indicator: UseIndicator) -> None:
    indicator.show_use(USE)
    indicator.setFocus()
    indicator.click()
    assert QToolTip.text() == indicator.toolTip()
    QToolTip.hideText()


def test_the_window_shows_that_of_its_conversation(window: MainWindow, chats: MemoryChats) -> None:
    current = window.current
    assert chats.watched == current
    chats.emit(ContextChanged(current or "", USE))
    window.bridge.flush()
    assert window.composer.use.isVisible()
    words = window.composer.use.text()
    chats.emit(ContextChanged("another", replace(USE, history=1)))
    window.bridge.flush()
    assert window.composer.use.text() == words
    other = chats.add("Other")
    chats.list_chats()
    window.bridge.flush()
    window._open(other)
    assert chats.watched == other
    assert not window.composer.use.isVisible(), "that of the other chat is not known yet"


def test_an_edit_that_is_refused_is_not_lost(window: MainWindow, chats: MemoryChats) -> None:
    QTest.keyClicks(window.composer.field, "hello")
    window.composer.button.click()
    window.bridge.flush()
    chat = window.current or ""
    chats.end(chat)
    window.bridge.flush()
    question = chats.trees[chat].messages[0].id
    window._edit(question, "much longer")
    chats.emit(ChatFailed(ErrorInfo("Too long."), chat))
    window.bridge.flush()
    assert window.composer.text() == "much longer"


def test_a_pin_is_asked_for(window: MainWindow, chats: MemoryChats) -> None:
    window.transcript.pin_requested.emit("m", True)
    assert chats.calls[-1] == ("pin", window.current, "m", True)
