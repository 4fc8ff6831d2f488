"""The card that asks before a tool is called: what it shows, who can answer it, and what is made of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAccessible
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QPlainTextEdit, QPushButton
from pytestqt.qtbot import QtBot
from tests.ui.doubles import MemoryChats
from tests.ui.test_main_window import settle, type_and_send

from inglenook.chat.events import AnswerWaiting, ApprovalAsked, Waiting
from inglenook.core.conversation import MessageState, StoredMessage, Tree, new_id
from inglenook.core.messages import Message, Role, ToolCallPart
from inglenook.ui.main_window import MainWindow
from inglenook.ui.widgets import approval
from inglenook.ui.widgets.approval import ApprovalCard, argument_lines
from inglenook.ui.widgets.message_parts import EndingLine, WaitingLine
from inglenook.ui.widgets.message_view import AnswerView

NOTE = '{"text": "buy milk"}'


class TestLines:
    def test_one_line_each(self) -> None:
        assert argument_lines('{"to": "Ann", "copies": 2, "urgent": true, "why": null}') == [
            "to: Ann",
            "copies: 2",
            "urgent: true",
            "why: null",
        ]

    def test_long_text_stands_below_its_name(self) -> None:
        assert argument_lines(json.dumps({"body": "Dear Ann,\nno.", "n": 1})) == [
            "body:",
            "    Dear Ann,",
            "    no.",
            "n: 1",
        ]

    def test_objects_are_indented(self) -> None:
        lines = argument_lines(json.dumps({"a": {"b": [1]}}))
        assert lines[0] == "a:"
        assert json.loads("\n".join(lines[1:])) == {"b": [1]}

    def test_none(self) -> None:
        assert argument_lines("{}") == []

    @pytest.mark.parametrize("end", list("\n\r\x0b\x0c\x1c\x85\u2028\u2029"))
    def test_no_value_passes_for_another_argument(self, end: str) -> None:
        lines = argument_lines(json.dumps({"path": f"a.txt{end}confirmed: true"}))
        assert not any(line.startswith("confirmed") for line in lines)
        assert not any(mark in line for line in lines for mark in "\n\r\x0b\x0c\x1c\x85\u2028\u2029")

    def test_what_cannot_be_seen_is_shown_by_its_number(self) -> None:
        assert argument_lines('{"path": "a\\u202egpj.exe\\u200b\\u0000"}') == ["path: a⟨U+202E⟩gpj.exe⟨U+200B⟩⟨U+0000⟩"]
        assert argument_lines('{"a\\nb": 1, "    x: y": 2}') == ['"a\\nb": 1', '"    x: y": 2']

    def test_emoji_stay_whole(self) -> None:
        assert argument_lines('{"who": "👩‍🚀 می‌خواهم"}') == ["who: 👩‍🚀 می‌خواهم"]

    @given(st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.lists(st.text(max_size=3)), max_size=4))
    def test_all_names_are_there_and_nothing_else_begins_a_line(self, values: dict[str, Any]) -> None:
        lines = argument_lines(json.dumps(values))
        assert len([line for line in lines if not line.startswith("    ")]) == len(values)


def asked(arguments: str = NOTE, call_id: str = "m-0", name: str = "functions.add_note") -> ApprovalAsked:
    return ApprovalAsked("c", "m", call_id, name, arguments)


@pytest.fixture
def card(qtbot: QtBot, theme: Any) -> ApprovalCard:
    from PySide6.QtWidgets import QWidget

    host = QWidget()
    qtbot.addWidget(host)
    made = ApprovalCard(theme, asked(), host)
    host.resize(700, 400)
    made.relayout(700)
    host.show()
    made.host = host  # type: ignore[attr-defined]  # lives as long as the card
    return made


def buttons(widget: Any) -> dict[str, QPushButton]:
    return {button.text().replace("&", ""): button for button in widget.findChildren(QPushButton)}


def armed(qtbot: QtBot, card: ApprovalCard) -> None:
    qtbot.waitUntil(lambda: all(button.isEnabled() for button in card.findChildren(QPushButton)))


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("Allow once", ("m-0", True, False)),
        ("Allow in this chat", ("m-0", True, True)),
        ("Refuse", ("m-0", False, False)),
    ],
)
def test_three_answers(card: ApprovalCard, qtbot: QtBot, words: str, answer: tuple[object, ...]) -> None:
    armed(qtbot, card)
    heard: list[tuple[object, ...]] = []
    card.answered.connect(lambda *said: heard.append(said))
    buttons(card)[words].click()
    assert heard == [answer]
    for button in buttons(card).values():
        button.click()
    assert heard == [answer], "it has been said"


def test_a_click_that_was_meant_for_something_else_answers_nothing(
    card: ApprovalCard, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second click of two comes when the card asks about the next call."""
    armed(qtbot, card)
    monkeypatch.setattr(approval, "ARMED_MS", 3_600_000)
    heard: list[tuple[object, ...]] = []
    card.answered.connect(lambda *said: heard.append(said))
    card.answered.connect(lambda *_: card.take(asked('{"text": "sell all"}', "m-1")))
    once = buttons(card)["Allow once"]
    for _ in range(2):
        QTest.mouseClick(once, Qt.MouseButton.LeftButton, pos=QPoint(5, 5))
    assert heard == [("m-0", True, False)]
    assert card.findChild(QPlainTextEdit).toPlainText() == "text: sell all"


def test_nothing_of_it_is_markup(card: ApprovalCard) -> None:
    card.take(asked('{"text": "<b>bold</b> <img src=x> **a**"}', "m-1", "functions.<b>x</b>"))
    card.relayout(700)
    assert card.findChild(QPlainTextEdit).toPlainText() == "text: <b>bold</b> <img src=x> **a**"
    title = card.findChild(QLabel)
    assert "<b>x</b>" in title.text()
    assert title.textFormat() is Qt.TextFormat.PlainText


def test_the_arguments_can_be_read_and_not_changed(card: ApprovalCard) -> None:
    field = card.findChild(QPlainTextEdit)
    assert field.isReadOnly()
    assert field.isVisible()
    card.take(asked("{}", "m-1"))
    assert not field.isVisible()


@pytest.mark.parametrize("width", [240, 380, 760])
def test_all_is_in_sight_at_every_width(card: ApprovalCard, width: int) -> None:
    card.take(asked(json.dumps({"text": "word " * 400}), "m-1", "functions." + "long_name_" * 6))
    height = card.relayout(width)
    inside = card.rect()
    seen = [card.findChild(QLabel), card.findChild(QPlainTextEdit), *buttons(card).values()]
    for one in seen:
        assert inside.contains(one.geometry())
        assert not any(one.geometry().intersects(other.geometry()) for other in seen if other is not one)
    assert height < 700, "what is longer is scrolled to"


def test_a_million_characters_without_a_blank_are_laid_out_in_pieces() -> None:
    lines = argument_lines(json.dumps({"blob": "x" * 1_000_000}))
    assert max(map(len, lines)) < 1100
    assert sum(line.count("x") for line in lines) == 1_000_000


# -- in the window --


def calls_a_tool(chats: MemoryChats, conversation: str, arguments: str = NOTE) -> ApprovalAsked:
    """As the service does it: the answer ends in a call, a message for its result begins, and the user is asked."""
    tree = chats.trees[conversation]
    answer = chats.answer_id(conversation)
    call = ToolCallPart("functions.add_note", arguments, f"{answer}-0")
    messages = [
        StoredMessage(m.id, m.conversation_id, m.parent_id, Message(Role.ASSISTANT, (call,)))
        if m.id == answer
        else m
        for m in tree.messages
    ]  # fmt: skip
    waiting = StoredMessage(new_id(), conversation, answer, Message(Role.TOOL, ()), MessageState.STREAMING)
    from dataclasses import replace

    chats.trees[conversation] = Tree(replace(tree.conversation, leaf_id=waiting.id), (*messages, waiting))
    question = ApprovalAsked(conversation, waiting.id, call.call_id, call.name, arguments)
    chats.open(conversation)
    chats.emit(question)
    return question


def card_of(window: MainWindow, question: ApprovalAsked) -> ApprovalCard | None:
    window.transcript._flush()
    view = window.transcript.view_of(question.message_id)
    assert isinstance(view, AnswerView)
    return view.findChild(ApprovalCard) if view.asks else None


def shown_card(window: MainWindow, question: ApprovalAsked) -> ApprovalCard:
    found = card_of(window, question)
    assert found is not None
    assert found.isVisible()
    return found


def test_the_window_asks_and_passes_the_answer_on(window: MainWindow, chats: MemoryChats, qtbot: QtBot) -> None:
    chat = type_and_send(window, "Note: buy milk")
    question = calls_a_tool(chats, chat)
    settle(window)
    card = shown_card(window, question)
    assert QApplication.focusWidget() is window.composer.field, "it takes nobody's keys away"
    armed(qtbot, card)
    buttons(card)["Allow in this chat"].click()
    assert chats.calls[-1] == ("answer_call", chat, question.call_id, True, True)
    chats.emit(AnswerWaiting(chat, question.message_id, Waiting.TOOL))
    settle(window)
    assert card_of(window, question) is None
    view = window.transcript.view_of(question.message_id)
    assert view is not None
    assert view.findChild(WaitingLine).accessibleName() == "The tool is running"


def test_by_keyboard_alone(window: MainWindow, chats: MemoryChats, qtbot: QtBot) -> None:
    """From the message field one step back is the card's last button, and the answer leads back to the field."""
    chat = type_and_send(window, "Note: buy milk")
    question = calls_a_tool(chats, chat)
    settle(window)
    card = shown_card(window, question)
    armed(qtbot, card)
    reached: list[object] = []
    for _ in range(4):
        QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Backtab)
        reached.append(QApplication.focusWidget())
    own = buttons(card)
    assert reached == [own["Refuse"], own["Allow in this chat"], own["Allow once"], card.findChild(QPlainTextEdit)]
    own["Refuse"].setFocus()
    QTest.keyClick(own["Refuse"], Qt.Key.Key_Space)
    assert chats.calls[-1] == ("answer_call", chat, question.call_id, False, False)
    assert QApplication.focusWidget() is window.composer.field


def test_for_a_screen_reader(
    window: MainWindow, chats: MemoryChats, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    said: list[str] = []
    monkeypatch.setattr(QAccessible, "isActive", lambda: True)
    monkeypatch.setattr(QAccessible, "updateAccessibility", lambda event: said.append(event.message()))
    chat = type_and_send(window, "Note: buy milk")
    question = calls_a_tool(chats, chat)
    settle(window)
    card = shown_card(window, question)
    assert said == ["The model asks to use the tool “add_note”"]
    window.transcript._flush()
    assert len(said) == 1, "once"
    assert card.accessibleName() == said[0]
    assert card.findChild(QPlainTextEdit).accessibleName()
    assert all(button.accessibleDescription() for button in buttons(card).values())


def test_stop_takes_the_card_away(window: MainWindow, chats: MemoryChats) -> None:
    chat = type_and_send(window, "Note: buy milk")
    question = calls_a_tool(chats, chat)
    settle(window)
    shown_card(window, question)
    window.actions_.stop.trigger()
    settle(window)
    assert card_of(window, question) is None
    view = window.transcript.view_of(question.message_id)
    assert view is not None
    ending = view.findChild(EndingLine)
    assert [b.text() for b in ending._buttons] == ["Continue", "Try again"], "the call can still be made"


def test_of_two_calls_the_second_is_asked_about_in_its_turn(window: MainWindow, chats: MemoryChats) -> None:
    chat = type_and_send(window, "Note: buy milk")
    first = calls_a_tool(chats, chat)
    settle(window)
    card = shown_card(window, first)
    chats.emit(ApprovalAsked(chat, first.message_id, "m-1", "functions.get_time", '{"zone": "UTC"}'))
    settle(window)
    assert shown_card(window, first) is card
    assert card.findChild(QPlainTextEdit).toPlainText() == "zone: UTC"
    assert "get_time" in card.words


def test_a_question_in_another_chat_is_told_and_leads_there(window: MainWindow, chats: MemoryChats) -> None:
    chat = type_and_send(window, "Note: buy milk")
    window._new_chat()
    settle(window)
    assert window.current != chat
    question = calls_a_tool(chats, chat)
    settle(window)
    notice = window.toast
    assert notice.isVisible()
    assert notice._label.text() == "“Note: buy milk” asks to use a tool."
    notice._button.click()
    chats.emit(question)  # as the service does for whoever opens the chat
    settle(window)
    assert window.current == chat
    shown_card(window, question)
