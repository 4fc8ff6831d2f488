"""The transcript panel: what is shown, what stays in place, what is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QMenu, QPlainTextEdit, QWidget
from pytestqt.qtbot import QtBot

from inglenook.chat.events import AnswerDelta, AnswerEnded, AnswerPartEnded, AnswerPartStarted, AnswerWaiting, Waiting
from inglenook.core.conversation import Conversation, MessageState, StoredMessage, Tree
from inglenook.core.errors import ErrorInfo
from inglenook.core.events import Channel
from inglenook.core.messages import (
    Effort,
    Message,
    PreamblePart,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    user,
)
from inglenook.core.settings import TEXT_SIZE, Settings
from inglenook.ui.panels.column import between
from inglenook.ui.panels.transcript import TranscriptPanel
from inglenook.ui.theme import Theme
from inglenook.ui.widgets.markdown_view import MarkdownView
from inglenook.ui.widgets.message_actions import Editor
from inglenook.ui.widgets.message_button import QuietButton
from inglenook.ui.widgets.message_parts import EndingLine, FoldedPart, WaitingLine
from inglenook.ui.widgets.message_view import AnswerView, UserView

LONG = "A paragraph with enough words to need several lines in the column of the conversation. " * 6


@pytest.fixture
def panel(qtbot: QtBot, theme: Theme) -> TranscriptPanel:
    made = TranscriptPanel(theme)
    qtbot.addWidget(made)
    made.resize(900, 600)
    made.show()
    return made


def said(name: str, parent: str | None, *parts: Any, **more: Any) -> StoredMessage:
    return StoredMessage(name, "c", parent, Message(Role.ASSISTANT, parts), **more)


def asked(name: str, parent: str | None, text: str) -> StoredMessage:
    return StoredMessage(name, "c", parent, user(text))


def tree(*messages: StoredMessage, leaf: str = "", conversation: str = "c") -> Tree:
    shown = leaf or (messages[-1].id if messages else None)
    return Tree(Conversation(conversation, "", 0, 0, "2026-01-01", leaf_id=shown), messages)


def dialogue(count: int, text: str = LONG) -> list[StoredMessage]:
    messages: list[StoredMessage] = []
    for i in range(count):
        parent = messages[-1].id if messages else None
        messages.append(
            said(f"m{i}", parent, TextPart(f"{i}: {text}")) if i % 2 else asked(f"m{i}", parent, f"Question {i}")
        )
    return messages


def stream_into(panel: TranscriptPanel, text: str, index: int = 0) -> None:
    panel.handle(AnswerDelta("c", "a", index, text))
    panel._flush()


def begin(panel: TranscriptPanel, *before: StoredMessage) -> list[StoredMessage]:
    """Shows a question whose answer "a" begins to stream."""
    messages = [*before, asked("q", before[-1].id if before else None, "Go on")]
    messages.append(said("a", "q", state=MessageState.STREAMING))
    panel.show_tree(tree(*messages))
    return messages


def texts(panel: TranscriptPanel) -> list[str]:
    views = [item.view for item in panel._items if item.view is not None]
    return [
        view.plain_text() for message in views for view in message.findChildren(MarkdownView) if not view.isHidden()
    ]


def button(parent: QWidget, name: str) -> QuietButton:
    return next(b for b in parent.findChildren(QuietButton) if b.accessibleName() == name and not b.isHidden())


def test_shows_the_path_and_the_empty_widget(panel: TranscriptPanel) -> None:
    empty = QLabel("Nothing yet")
    panel.set_empty_widget(empty)
    assert not empty.isVisible()  # nothing is open yet: it would flash at every start
    panel.show_tree(tree())
    assert empty.isVisible()
    panel.show_tree(tree(asked("u", None, "Hello **you**"), said("a", "u", TextPart("Hi **there**"))))
    assert not empty.isVisible()
    assert texts(panel) == ["Hello **you**", "Hi there"]


def test_unchanged_messages_keep_their_widgets(panel: TranscriptPanel) -> None:
    messages = dialogue(4)
    panel.show_tree(tree(*messages))
    before = {m.id: panel.view_of(m.id) for m in messages}
    panel.show_tree(tree(*messages, asked("new", "m3", "More")))
    assert {m.id: panel.view_of(m.id) for m in messages} == before
    assert panel.view_of("new") is not None


def test_streaming_shows_parts_and_ends_in_place(panel: TranscriptPanel, qtbot: QtBot) -> None:
    messages = begin(panel)
    panel.handle(AnswerPartStarted("c", "a", 0, Channel.REASONING))
    stream_into(panel, "thinking")
    view = panel.view_of("a")
    assert isinstance(view, AnswerView)
    fold = view.findChild(FoldedPart)
    assert fold._button.text() == "Thinking… 1 s"
    height = fold.height()
    panel.handle(AnswerPartEnded("c", "a", 0, 12.2))
    panel.handle(AnswerPartStarted("c", "a", 1, Channel.FINAL))
    stream_into(panel, "The **answ", 1)
    assert fold._button.text() == "Thought for 12 s"
    assert fold.height() == height
    stream_into(panel, "er**", 1)
    assert texts(panel)[-1] == "The answer"
    body = view.findChildren(MarkdownView)[-1]
    final = said("a", "q", ReasoningPart("thinking", 12.2), TextPart("The **answer**"))
    tall = view.height()
    panel.handle(AnswerEnded("c", final))
    panel._flush()
    panel.show_tree(tree(messages[0], final))
    assert panel.view_of("a") is view
    assert view.findChildren(MarkdownView)[-1] is body
    assert view.height() == tall  # the actions had their place already
    button(view, "Copy")


def test_reasoning_is_metered_and_the_figures_stay(panel: TranscriptPanel) -> None:
    messages = begin(panel)
    panel.handle(AnswerPartStarted("c", "a", 0, Channel.REASONING))
    panel.handle(AnswerDelta("c", "a", 0, "thinking", 340))
    panel._flush()
    view = panel.view_of("a")
    assert view is not None
    fold = view.findChild(FoldedPart)
    assert fold._button.text() == "Thinking… 1 s · 340 tokens"
    panel.handle(AnswerPartEnded("c", "a", 0, 12.2, 341))
    panel._flush()
    assert fold._button.text() == "Thought for 12 s · 341 tokens"
    panel.show_tree(tree())
    panel.show_tree(tree(messages[0], said("a", "q", ReasoningPart("thinking", 12.2, 341), TextPart("Yes."))))
    view = panel.view_of("a")
    assert view is not None
    assert view.findChild(FoldedPart)._button.text() == "Thought for 12 s · 341 tokens"


def test_answer_now_while_it_thinks(panel: TranscriptPanel, qtbot: QtBot) -> None:
    begin(panel)
    assert not panel.thinking
    panel.handle(AnswerPartStarted("c", "a", 0, Channel.REASONING))
    stream_into(panel, "thinking")
    view = panel.view_of("a")
    assert view is not None
    assert panel.thinking
    now = button(view, "Answer now")
    place = now.geometry()
    with qtbot.waitSignal(panel.answer_now_requested):
        qtbot.mouseClick(now, Qt.MouseButton.LeftButton)
    assert not now.isEnabled()
    panel.handle(AnswerDelta("c", "a", 0, "more", 34_000))
    panel._flush()
    assert now.geometry() == place, "it does not move under the pointer"
    panel.handle(AnswerPartEnded("c", "a", 0, 1.0, 34_000))
    panel._flush()
    assert not panel.thinking
    assert now.isHidden()
    panel.handle(AnswerPartStarted("c", "a", 1, Channel.REASONING))
    stream_into(panel, "again", 1)
    assert panel.thinking
    assert button(view, "Answer now").isEnabled()
    panel.handle(AnswerPartEnded("c", "a", 1, 1.0))
    panel.handle(AnswerPartStarted("c", "a", 2, Channel.FINAL))
    stream_into(panel, "Yes.", 2)
    assert not panel.thinking
    assert [b for b in view.findChildren(QuietButton) if b.accessibleName() == "Answer now" and not b.isHidden()] == []


def test_answer_now_in_a_narrow_window(panel: TranscriptPanel) -> None:
    panel.resize(300, 600)
    begin(panel)
    panel.handle(AnswerPartStarted("c", "a", 0, Channel.REASONING))
    panel.handle(AnswerDelta("c", "a", 0, "thinking", 12_345))
    panel._flush()
    view = panel.view_of("a")
    assert view is not None
    fold, now = view.findChild(FoldedPart), button(view, "Answer now")
    assert now.text() == ""
    assert fold.rect().contains(now.geometry())
    panel.resize(900, 600)
    assert now.text() == "Answer now"
    assert now.x() >= fold._button.geometry().right()


def test_reasoning_unfolds_live_and_stays_open(panel: TranscriptPanel, qtbot: QtBot) -> None:
    begin(panel, *dialogue(10))
    panel.handle(AnswerPartStarted("c", "a", 0, Channel.REASONING))
    stream_into(panel, "first")
    view = panel.view_of("a")
    assert view is not None
    fold = view.findChild(FoldedPart)
    qtbot.mouseClick(fold._button, Qt.MouseButton.LeftButton)
    assert panel.at_end
    stream_into(panel, " second")
    assert texts(panel)[-1] == "first second"
    panel.handle(AnswerPartEnded("c", "a", 0, 3.0))
    panel._flush()
    assert fold.views
    qtbot.mouseClick(fold._button, Qt.MouseButton.LeftButton)
    assert not fold.views


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (AnswerWaiting("c", "a", Waiting.QUEUED), "Waiting for another answer to finish"),
        (AnswerWaiting("c", "a", Waiting.STARTING), "Starting the engine"),
        (AnswerWaiting("c", "a", Waiting.LOADING, 0.42, 9.0), "Loading the model, 42%, about 9 s left"),
        (AnswerWaiting("c", "a", Waiting.READING, 1.0, 75.0), "Reading the conversation, 100%, about 1 min 15 s left"),
    ],
)
def test_waiting_is_told(panel: TranscriptPanel, event: AnswerWaiting, words: str) -> None:
    begin(panel)
    panel.handle(event)
    panel._flush()
    view = panel.view_of("a")
    assert view is not None
    line = view.findChild(WaitingLine)
    assert line.accessibleName() == words
    panel.grab()
    panel.handle(AnswerPartStarted("c", "a", 0, Channel.FINAL))
    stream_into(panel, "text")
    assert line.isHidden()


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        (MessageState.FAILED, "The engine <b>ended</b>. Try again.", "The engine <b>ended</b>. Try again."),
        (MessageState.INTERRUPTED, "", "This answer was interrupted before its end."),
        (MessageState.STOPPED, "", "You stopped this answer."),
        (MessageState.LENGTH, "", "The answer reached the longest length allowed."),
    ],
)
def test_endings_offer_to_try_again(
    panel: TranscriptPanel, qtbot: QtBot, state: MessageState, error: str, words: str
) -> None:
    panel.show_tree(tree(asked("u", None, "Hi"), said("a", "u", TextPart("half"), state=state, error=error)))
    view = panel.view_of("a")
    assert view is not None
    line = view.findChild(EndingLine)
    label = line.findChild(QLabel)
    assert label.text() == words
    assert label.textFormat() is Qt.TextFormat.PlainText
    with qtbot.waitSignal(panel.regenerate_requested) as again:
        qtbot.mouseClick(button(line, "Try again"), Qt.MouseButton.LeftButton)
    assert again.args == ["a", ""]
    with qtbot.waitSignal(panel.continue_requested) as further:
        qtbot.mouseClick(button(line, "Continue"), Qt.MouseButton.LeftButton)
    assert further.args == ["a"]


def test_an_answer_of_no_words_is_not_continued(panel: TranscriptPanel) -> None:
    panel.show_tree(tree(asked("u", None, "Hi"), said("a", "u", state=MessageState.FAILED, error="No memory.")))
    view = panel.view_of("a")
    assert view is not None
    assert not [b for b in view.findChild(EndingLine).findChildren(QAbstractButton) if b.text() == "Continue"]


def test_the_error_of_the_end_event_is_shown(panel: TranscriptPanel) -> None:
    begin(panel)
    failed = said("a", "q", state=MessageState.FAILED)
    panel.handle(AnswerEnded("c", failed, ErrorInfo("The disk {name} is full. Free some space.", (("name", "X"),))))
    panel._flush()
    view = panel.view_of("a")
    assert view is not None
    assert view.findChild(EndingLine).findChild(QLabel).text() == "The disk X is full. Free some space."


def test_a_complete_answer_has_no_ending_line(panel: TranscriptPanel) -> None:
    panel.show_tree(tree(asked("u", None, "Hi"), said("a", "u", TextPart("whole"))))
    view = panel.view_of("a")
    assert view is not None
    assert view.findChild(EndingLine) is None


def test_copy_takes_the_source_of_the_final_answer(panel: TranscriptPanel, qtbot: QtBot) -> None:
    parts = (ReasoningPart("secret", 1.0), PreamblePart("soon"), TextPart("**Bold** | `x`"))
    panel.show_tree(tree(asked("u", None, "Hi"), said("a", "u", *parts)))
    view = panel.view_of("a")
    assert view is not None
    qtbot.mouseClick(button(view, "Copy"), Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "**Bold** | `x`"


def test_regenerate_with_and_without_an_effort(panel: TranscriptPanel, qtbot: QtBot) -> None:
    panel.show_tree(tree(asked("u", None, "Hi"), said("a", "u", TextPart("x"))))
    view = panel.view_of("a")
    assert view is not None
    with qtbot.waitSignal(panel.regenerate_requested) as plain:
        qtbot.mouseClick(button(view, "Regenerate"), Qt.MouseButton.LeftButton)
    assert plain.args == ["a", ""]
    qtbot.mouseClick(button(view, "Regenerate with another effort"), Qt.MouseButton.LeftButton)
    menu = view.findChild(QMenu)
    with qtbot.waitSignal(panel.regenerate_requested) as chosen:
        menu.actions()[2].trigger()
    assert chosen.args == ["a", Effort.HIGH.value]
    menu.close()


def test_siblings_can_be_walked(panel: TranscriptPanel, qtbot: QtBot) -> None:
    messages = [asked("u", None, "Hi"), *(said(f"a{i}", "u", TextPart(f"version {i}")) for i in range(3))]
    panel.show_tree(tree(*messages, leaf="a1"))
    view = panel.view_of("a1")
    assert view is not None
    assert [label.text() for label in view.findChildren(QLabel) if "/" in label.text()] == ["2/3"]
    for name, target in (("Previous version", "a0"), ("Next version", "a2")):
        with qtbot.waitSignal(panel.sibling_requested) as wanted:
            qtbot.mouseClick(button(view, name), Qt.MouseButton.LeftButton)
        assert wanted.args == [target]
    panel.show_tree(tree(*messages, leaf="a2"))
    assert texts(panel) == ["Hi", "version 2"]
    last = panel.view_of("a2")
    assert last is not None
    assert not button(last, "Next version").isEnabled()


def test_another_version_leaves_the_actions_under_the_pointer(panel: TranscriptPanel) -> None:
    head = [asked("u", None, "Hi"), said("a0", "u", TextPart(LONG * 2)), said("a1", "u", TextPart(LONG * 9))]
    rest = [asked("v", "a0", "More"), *(asked(f"w{i}", "v" if not i else f"w{i - 1}", LONG) for i in range(9))]
    panel.show_tree(tree(*head, *rest, leaf="w8"))
    panel.verticalScrollBar().setValue(0)
    short = panel.view_of("a0")
    assert short is not None
    bottom = short.geometry().bottom()
    panel.show_tree(tree(*head, *rest, asked("x", "a1", LONG), said("y", "x", TextPart(LONG * 9)), leaf="y"))
    tall = panel.view_of("a1")
    assert tall is not None
    assert tall.height() > short.height()
    assert abs(tall.geometry().bottom() - bottom) <= 1


def test_edit_in_place(panel: TranscriptPanel, qtbot: QtBot) -> None:
    panel.show_tree(tree(asked("u", None, "Hi"), said("a", "u", TextPart("x"))))
    view = panel.view_of("u")
    assert isinstance(view, UserView)
    qtbot.mouseClick(button(view, "Edit"), Qt.MouseButton.LeftButton)
    field = view.findChild(QPlainTextEdit)
    assert field.toPlainText() == "Hi"
    field.setPlainText("Hello")
    qtbot.keyClick(field, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    with qtbot.waitSignal(panel.edit_requested) as edited:
        qtbot.keyClick(field, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert edited.args == ["u", "Hello"]
    assert view._editor is None
    qtbot.mouseClick(button(view, "Edit"), Qt.MouseButton.LeftButton)
    field = view.findChildren(Editor)[-1].findChild(QPlainTextEdit)
    field.setPlainText("Something else")
    with qtbot.assertNotEmitted(panel.edit_requested):
        qtbot.keyClick(field, Qt.Key.Key_Escape)
    assert view._editor is None
    assert texts(panel)[0] == "Hi"


def test_follows_the_stream_only_at_the_end(panel: TranscriptPanel) -> None:
    begin(panel, *dialogue(10))
    panel.handle(AnswerPartStarted("c", "a", 0, Channel.FINAL))
    stream_into(panel, LONG + "\n\n")
    bar = panel.verticalScrollBar()
    assert bar.value() == bar.maximum() > 0
    assert not panel._jump.isVisible()
    bar.setValue(bar.maximum() - 400)
    assert not panel.at_end
    seen = {m.id: view.y() for m in dialogue(10) if (view := panel.view_of(m.id)) is not None}
    for _ in range(20):
        stream_into(panel, LONG + "\n\n")
    now = {name: view.y() for name in seen if (view := panel.view_of(name)) is not None}
    assert now == seen
    assert panel._jump.isVisible()
    panel._jump.click()
    assert bar.value() == bar.maximum()
    stream_into(panel, LONG)
    assert bar.value() == bar.maximum()


def test_a_new_question_goes_to_the_end(panel: TranscriptPanel) -> None:
    messages = dialogue(10)
    panel.show_tree(tree(*messages))
    panel.verticalScrollBar().setValue(0)
    panel.show_tree(tree(*messages, asked("new", "m9", "More")))
    bar = panel.verticalScrollBar()
    assert bar.value() == bar.maximum()


def test_nothing_in_sight_moves_when_heights_become_known(panel: TranscriptPanel) -> None:
    panel.show_tree(tree(*dialogue(200)))
    bar = panel.verticalScrollBar()
    compared = 0
    for _ in range(60):
        seen = between(panel._items, bar.value(), bar.value() + 600)
        before = {item.entry.id: item.view.y() for item in seen if item.view}
        start = bar.value()
        bar.setValue(start - 70)
        for name, y in before.items():
            view = panel.view_of(name)
            assert view is None or abs(view.y() - y - 70) <= 1
            compared += view is not None
    assert compared > 60


def test_only_messages_near_the_view_are_widgets(panel: TranscriptPanel, qtbot: QtBot) -> None:
    panel.show_tree(tree(*dialogue(1000)))
    assert len(panel.findChildren(MarkdownView)) < 60
    bar = panel.verticalScrollBar()
    for value in range(bar.maximum(), 0, -bar.maximum() // 40):
        bar.setValue(value)
    bar.setValue(0)
    QApplication.sendPostedEvents(None, 52)  # QEvent.DeferredDelete
    assert len(panel.findChildren(MarkdownView)) < 60
    first = panel.view_of("m0")
    assert first is not None
    assert first.y() == 24


def test_resize_keeps_the_message_in_sight(panel: TranscriptPanel) -> None:
    panel.show_tree(tree(*dialogue(60)))
    bar = panel.verticalScrollBar()
    bar.setValue(bar.maximum() // 2)
    anchor = panel._anchor()
    assert anchor is not None
    panel.resize(500, 600)
    view = anchor.item.view
    assert view is not None
    assert abs(view.y() - anchor.y) <= 1


def test_tools_are_folded_cards(panel: TranscriptPanel, qtbot: QtBot) -> None:
    result = StoredMessage("t", "a", "a", Message(Role.TOOL, (ToolResultPart("functions.weather", '{"t": "```"}'),)))
    call = said("a", "u", ToolCallPart("functions.weather", '{"city": "Berlin"}'))
    panel.show_tree(tree(asked("u", None, "Hi"), call, result, said("b", "t", TextPart("It is warm."))))
    names = []
    for message in ("a", "t"):
        view = panel.view_of(message)
        assert view is not None
        fold = view.findChild(FoldedPart)
        names.append(fold._button.text())
        qtbot.mouseClick(fold._button, Qt.MouseButton.LeftButton)
        assert not [b for b in view.findChildren(QuietButton) if b.accessibleName() == "Regenerate"]
    assert names == ["Called weather", "Result of weather"]
    assert texts(panel) == ["Hi", '{"city": "Berlin"}', '{"t": "```"}', "It is warm."]


def test_leaving_a_streaming_conversation_and_coming_back(panel: TranscriptPanel) -> None:
    messages = begin(panel)
    panel.handle(AnswerPartStarted("c", "a", 0, Channel.FINAL))
    stream_into(panel, "one ")
    panel.show_tree(tree(asked("x", None, "Other"), conversation="d"))
    panel.handle(AnswerDelta("c", "a", 0, "two "))
    assert texts(panel) == ["Other"]
    panel.show_tree(tree(*messages))
    stream_into(panel, "three")
    assert texts(panel) == ["Go on", "one two three"]


def test_keys_scroll_and_tab_reaches_messages_in_order(panel: TranscriptPanel, qtbot: QtBot) -> None:
    panel.show_tree(tree(*dialogue(30)))
    bar = panel.verticalScrollBar()
    qtbot.keyClick(panel, Qt.Key.Key_PageUp)
    assert bar.value() < bar.maximum()
    qtbot.keyClick(panel, Qt.Key.Key_End)
    assert bar.value() == bar.maximum()
    qtbot.keyClick(panel, Qt.Key.Key_Home)
    assert bar.value() == 0
    order, widget = [], panel.nextInFocusChain()
    for _ in range(200):
        if isinstance(widget, MarkdownView):
            order.append(widget.plain_text()[:12])
        widget = widget.nextInFocusChain()
    assert order[:3] == ["Question 0", "1: A paragra", "Question 2"]


def test_names_for_screen_readers(panel: TranscriptPanel) -> None:
    panel.show_tree(tree(asked("u", None, "Hi"), said("a", "u", TextPart("x"))))
    views = [panel.view_of("u"), panel.view_of("a")]
    assert [view.accessibleName() for view in views if view is not None] == ["Your message", "Answer"]
    for child in panel.viewport().findChildren(QuietButton):
        assert child.accessibleName()


def test_another_look_keeps_place_and_folds(panel: TranscriptPanel, qtbot: QtBot, settings: Settings) -> None:
    panel.show_tree(tree(asked("u", None, "Hi"), said("a", "u", ReasoningPart("why", 2.0), TextPart("x"))))
    view = panel.view_of("a")
    assert view is not None
    qtbot.mouseClick(view.findChild(FoldedPart)._button, Qt.MouseButton.LeftButton)
    tall = view.height()
    settings.set(TEXT_SIZE, 150)
    again = panel.view_of("a")
    assert again is not None
    assert again is not view
    assert again.height() > tall
    assert again.findChild(FoldedPart).views


def test_a_long_message_of_mine_is_folded(panel: TranscriptPanel, qtbot: QtBot) -> None:
    text = "\n".join(f"line {i}" for i in range(500))
    panel.show_tree(tree(asked("u", None, text), said("a", "u", TextPart("x"))))
    panel.verticalScrollBar().setValue(0)
    view = panel.view_of("u")
    assert isinstance(view, UserView)
    assert view.height() < 1000
    qtbot.mouseClick(button(view, "Show all"), Qt.MouseButton.LeftButton)
    assert view.height() > 5000


@pytest.mark.parametrize("scale", [75, 200])
def test_paints_at_other_sizes(panel: TranscriptPanel, settings: Settings, scale: int) -> None:
    panel.show_tree(tree(*dialogue(6, "# H\n\n- a\n\n| a |\n|---|\n| b |\n\n```py\nx = 1\n```\n\n> q")))
    settings.set(TEXT_SIZE, scale)
    assert not panel.grab().isNull()
