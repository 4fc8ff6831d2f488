"""Conversations: what is stored and told when, with answers that the tests decide (see replay)."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace

import pytest
from tests.chat.replay import CRASH, Chosen, Crash, Gate, Replay, answer, opening
from tests.chat.support import Bench, Listener

from inglenook.chat.events import (
    AnswerDelta,
    AnswerEnded,
    AnswerPartEnded,
    AnswerPartStarted,
    AnswerWaiting,
    ChatFailed,
    ChatsChanged,
    TreeChanged,
    Waiting,
)
from inglenook.core.conversation import MessageState
from inglenook.core.errors import UserError
from inglenook.core.messages import Effort, ReasoningPart, Role, TextPart, ToolCallPart
from inglenook.core.prompt import Text
from inglenook.core.settings import EFFORT, INSTRUCTIONS, TEMPERATURE, TOP_P
from inglenook.harmony import specials
from inglenook.store.repository import SqliteStore


def prompt_text(replay: Replay, request: int = -1) -> str:
    return " ".join(s.text for s in replay.requests[request].segments if isinstance(s, Text))


def test_a_message_is_answered_stored_and_told_in_order(bench: Bench, replay: Replay) -> None:
    replay.will_say(*answer("Hello, you! 😀", "They greet."))
    chat = bench.ask("Hi there\nsecond line")
    kinds = [type(e) for e in bench.heard.events]
    order = [TreeChanged, AnswerWaiting, AnswerPartStarted, AnswerDelta, AnswerPartEnded, AnswerEnded]
    assert [k for k in dict.fromkeys(kinds) if k in order] == order
    assert kinds.count(AnswerEnded) == 1
    end = bench.heard.ended(chat)
    message = end.message
    assert end.error is None
    assert message.state is MessageState.COMPLETE
    assert message.message.text == "Hello, you! 😀"
    assert message.message.reasoning == "They greet."
    assert message.model == "replay"
    assert message.effort is Effort.MEDIUM
    assert message.stats is not None
    assert message.stats.output_tokens == len(message.message.sampled.ids)
    assert message.message.sampled.vocabulary == "bytes"
    assert bench.heard.parts(message.id) == [("reasoning", "They greet."), ("final", "Hello, you! 😀")]
    thought = next(p for p in message.message.parts if isinstance(p, ReasoningPart))
    ended = [e for e in bench.heard.of(AnswerPartEnded) if e.index == 0]
    assert [e.seconds for e in ended] == [thought.seconds]
    assert thought.seconds > 0
    bench.store.flush()
    tree = bench.stored(chat)
    assert [m.message.text for m in tree.path()] == ["Hi there\nsecond line", "Hello, you! 😀"]
    assert tree.path()[-1] == message
    assert tree.conversation.title == "Hi there"
    assert tree.conversation.date == "2026-11-22"
    assert bench.heard.of(ChatFailed) == []
    assert [c.id for c in bench.heard.of(ChatsChanged)[-1].conversations] == [chat]


def test_waiting_tells_why(bench: Bench, replay: Replay) -> None:
    replay.will_say(*answer("a"))
    replay.will_say(*answer("b"))
    chat = bench.ask("one")
    told = [(e.waiting, e.fraction) for e in bench.heard.of(AnswerWaiting)]
    assert list(dict.fromkeys(w for w, _ in told)) == [Waiting.STARTING, Waiting.LOADING, Waiting.READING]
    for waiting in (Waiting.LOADING, Waiting.READING):
        fractions = [f for w, f in told if w is waiting]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0
    assert any(e.seconds_left is not None for e in bench.heard.of(AnswerWaiting))
    start = bench.heard.mark()
    bench.ask("two", chat)
    waits = {e.waiting for e in bench.heard.events[start:] if isinstance(e, AnswerWaiting)}
    assert Waiting.LOADING not in waits, "it is loaded"
    assert Waiting.READING in waits


def test_a_new_chat_takes_the_settings_and_is_stored_with_its_first_message(bench: Bench, replay: Replay) -> None:
    bench.settings.set(EFFORT, "high")
    bench.settings.set(INSTRUCTIONS, "Speak like a pirate.")
    bench.settings.set(TEMPERATURE, 0.0)
    bench.settings.set(TOP_P, 0.5)
    chat = bench.service.new_chat()
    tree = bench.heard.tree(chat)
    assert tree.messages == ()
    assert (tree.conversation.effort, tree.conversation.instructions) == (Effort.HIGH, "Speak like a pirate.")
    bench.service.list_chats()
    assert bench.heard.wait(ChatsChanged).conversations == ()
    replay.will_say(*answer("Arr."))
    bench.ask("Hi", chat)
    assert "Reasoning: high" in prompt_text(replay)
    assert "Current date: 2026-11-22" in prompt_text(replay)
    assert "Speak like a pirate." in prompt_text(replay)
    assert (replay.requests[0].sampling.temperature, replay.requests[0].sampling.top_p) == (0.0, 0.5)
    bench.settings.set(INSTRUCTIONS, "Other.")
    replay.will_say(*answer("Arr!"))
    bench.ask("Again", chat)
    assert "pirate" in prompt_text(replay), "a conversation keeps its instructions"
    assert "Hi" in prompt_text(replay)
    assert "Arr." in prompt_text(replay)


def test_effort_can_change_within_a_conversation(bench: Bench, replay: Replay) -> None:
    chat = bench.service.new_chat()
    bench.service.set_effort(chat, Effort.LOW)
    for effort in ("low", "high"):
        replay.will_say(*answer("x"))
        bench.ask("Hi", chat)
        assert f"Reasoning: {effort}" in prompt_text(replay)
        bench.service.set_effort(chat, Effort.HIGH)
    assert [m.effort for m in bench.stored(chat).messages if m.message.role is Role.ASSISTANT] == ["low", "high"]


def test_stop_keeps_what_came_and_the_next_turn_works(bench: Bench, replay: Replay) -> None:
    gate = Gate()
    replay.will_say(*opening("Once upon", gate, " a time", specials.RETURN))
    chat = bench.service.new_chat()
    bench.service.send(chat, "A story")
    gate.reached.wait()
    bench.service.stop(chat)
    bench.service.stop(chat)
    end = bench.heard.ended(chat)
    assert end.message.state is MessageState.STOPPED
    assert end.message.message.text == "Once upon"
    replay.will_say(*answer("Sure."))
    bench.ask("Go on", chat)
    assert "Once upon" in prompt_text(replay)
    assert [m.state for m in bench.stored(chat).path()][1::2] == [MessageState.STOPPED, MessageState.COMPLETE]
    assert len(bench.heard.of(AnswerEnded)) == 2


def test_stop_before_the_first_token(bench: Bench, replay: Replay, chosen: Chosen) -> None:
    """While the model is prepared, while it waits for its turn."""
    chosen.ready = False
    first, second = bench.service.new_chat(), bench.service.new_chat()
    bench.service.send(first, "a")
    bench.service.send(second, "b")
    bench.heard.wait(AnswerWaiting, lambda e: e.conversation_id == second and e.waiting is Waiting.QUEUED)
    bench.service.stop(second)
    assert bench.heard.ended(second).message.state is MessageState.STOPPED
    assert not [e for e in bench.heard.of(AnswerEnded) if e.conversation_id == first]
    bench.service.stop(first)
    assert bench.heard.ended(first).message.state is MessageState.STOPPED
    assert replay.requests == []
    chosen.ready = True
    replay.will_say(*answer("yes"))
    bench.ask("again", first)
    assert prompt_text(replay).count("assistant") == 1, "an answer without a word is not sent to the model"


def test_regenerate_makes_a_sibling(bench: Bench, replay: Replay) -> None:
    replay.will_say(*answer("first"))
    chat = bench.ask("Q")
    first = bench.stored(chat).path()[-1]
    start = bench.heard.mark()
    replay.will_say(*answer("second"))
    bench.service.regenerate(chat, first.id, Effort.HIGH)
    second = bench.heard.ended(chat, start).message
    assert "Reasoning: high" in prompt_text(replay)
    assert "first" not in prompt_text(replay)
    tree = bench.stored(chat)
    assert [m.message.text for m in tree.path()] == ["Q", "second"]
    assert tree.siblings(second.id) == (tree.get(first.id), tree.get(second.id))
    assert tree.conversation.effort is Effort.MEDIUM, "only this answer was to be thought about longer"
    start = bench.heard.mark()
    bench.service.show_sibling(chat, first.id)
    assert [m.message.text for m in bench.heard.tree(chat, start).path()] == ["Q", "first"]
    replay.will_say(*answer("third"))
    bench.ask("then", chat)
    assert [m.message.text for m in bench.stored(chat).path()] == ["Q", "first", "then", "third"]
    start = bench.heard.mark()
    bench.service.show_sibling(chat, second.id)
    bench.heard.tree(chat, start)
    start = bench.heard.mark()
    bench.service.show_sibling(chat, first.id)
    assert [m.message.text for m in bench.heard.tree(chat, start).path()] == ["Q", "first", "then", "third"]


def test_edit_makes_a_sibling_of_the_question_and_answers_it(bench: Bench, replay: Replay) -> None:
    replay.will_say(*answer("one"))
    chat = bench.ask("What?")
    question = bench.stored(chat).path()[0]
    bench.service.save_draft(chat, "half a thought")
    start = bench.heard.mark()
    replay.will_say(*answer("two"))
    bench.service.edit(chat, question.id, "Who?")
    bench.heard.ended(chat, start)
    tree = bench.stored(chat)
    assert [m.message.text for m in tree.path()] == ["Who?", "two"]
    assert len(tree.siblings(question.id)) == 2
    assert len(tree.messages) == 4
    assert "What?" not in prompt_text(replay)
    assert tree.conversation.draft == "half a thought"


def test_regenerate_below_a_question_whose_answer_failed(bench: Bench, replay: Replay, chosen: Chosen) -> None:
    chosen.error = UserError("There is no model. Choose one.")
    chat = bench.ask("Q")
    end = bench.heard.ended(chat)
    assert end.message.state is MessageState.FAILED
    assert end.error == chosen.error.info
    assert bench.stored(chat).path()[-1].error == "There is no model. Choose one."
    chosen.error = None
    replay.will_say(*answer("A"))
    start = bench.heard.mark()
    bench.service.regenerate(chat, bench.stored(chat).path()[0].id)
    assert bench.heard.ended(chat, start).message.message.text == "A"


def test_two_conversations_queue_and_others_can_be_read_meanwhile(bench: Bench, replay: Replay) -> None:
    gate = Gate()
    replay.will_say(*opening("slow ", gate, "done", specials.RETURN))
    replay.will_say(*answer("quick"))
    first, second = bench.service.new_chat(), bench.service.new_chat()
    bench.service.send(first, "1")
    gate.reached.wait()
    start = bench.heard.mark()
    bench.service.send(second, "2")
    assert bench.heard.tree(second, start).path()[-1].state is MessageState.STREAMING
    waiting = bench.heard.wait(AnswerWaiting, lambda e: e.conversation_id == second)
    assert waiting.waiting is Waiting.QUEUED
    start = bench.heard.mark()
    bench.service.rename(first, "renamed")
    tree = bench.heard.tree(first, start)
    assert tree.conversation.title == "renamed"
    assert tree.path()[-1].message.text == "slow ", "with all that was told of the answer"
    gate.open.set()
    assert bench.heard.ended(second).message.message.text == "quick"
    assert bench.heard.ended(first).message.message.text == "slow done"
    ends = [e.conversation_id for e in bench.heard.of(AnswerEnded)]
    assert ends == [first, second]
    assert bench.stored(first).conversation.title == "renamed"


def test_opening_in_mid_answer_gives_a_tree_that_the_deltas_continue(bench: Bench, replay: Replay) -> None:
    """Whoever opens at any moment sees each character once."""
    replay.will_say(*opening(*(f"{i:10}" for i in range(300)), specials.RETURN))
    chat = bench.service.new_chat()
    bench.service.send(chat, "go")
    bench.heard.wait(AnswerDelta)
    while not bench.heard.of(AnswerEnded):
        bench.service.open(chat)
        threading.Event().wait(0.002)
    final = bench.heard.ended(chat).message.message.text
    assert final == "".join(f"{i:10}" for i in range(300))
    shown, opened = "", 0
    for event in bench.heard.events:
        if isinstance(event, TreeChanged) and event.tree.messages:
            shown, opened = event.tree.path()[-1].message.text, opened + 1
        elif isinstance(event, AnswerDelta):
            shown += event.text
        elif isinstance(event, AnswerEnded):
            break
    assert shown == final
    assert opened >= 1


def test_what_another_program_writes_is_shown_as_interrupted(bench: Bench, replay: Replay) -> None:
    """Its end will not be told here, so nothing should wait for it."""
    replay.will_say(*answer("x"))
    chat = bench.ask("Q")
    other = SqliteStore(bench.file)
    last = other.tree(chat).path()[-1]
    other.save_message(replace(last, id="theirs", state=MessageState.STREAMING))
    other.flush()
    start = bench.heard.mark()
    bench.service.open(chat)
    assert bench.heard.tree(chat, start).get("theirs").state is MessageState.INTERRUPTED
    assert bench.store.tree(chat).get("theirs").state is MessageState.STREAMING, "but not stored as such"
    other.close()


def test_sending_during_the_answer_comes_after_it(bench: Bench, replay: Replay) -> None:
    gate = Gate()
    replay.will_say(*opening("one ", gate, "two", specials.RETURN))
    replay.will_say(*answer("three"))
    chat = bench.service.new_chat()
    bench.service.send(chat, "a")
    gate.reached.wait()
    bench.service.send(chat, "b")
    bench.heard.wait(AnswerWaiting, lambda e: e.waiting is Waiting.QUEUED)
    gate.open.set()
    bench.heard.wait(AnswerEnded, lambda e: e.message.message.text == "three")
    assert [m.message.text for m in bench.stored(chat).path()] == ["a", "one two", "b", "three"]
    assert "one two" in prompt_text(replay)


def test_delete_during_the_answer_stops_it_and_restore_brings_it_back(bench: Bench, replay: Replay) -> None:
    gate = Gate()
    replay.will_say(*opening("half", gate, "whole", specials.RETURN))
    chat = bench.service.new_chat()
    bench.service.send(chat, "go")
    gate.reached.wait()
    start = bench.heard.mark()
    bench.service.delete(chat)
    assert bench.heard.wait(ChatsChanged, start=start).conversations == ()
    assert bench.heard.ended(chat).message.state is MessageState.STOPPED
    assert list(bench.store.conversations()) == []
    start = bench.heard.mark()
    bench.service.restore(chat)
    assert [c.id for c in bench.heard.wait(ChatsChanged, start=start).conversations] == [chat]
    assert bench.stored(chat).path()[-1].message.text == "half"


def test_a_crash_keeps_what_came_and_the_next_send_works(bench: Bench, replay: Replay) -> None:
    replay.will_say(*opening("Half a ", "sentence", Crash()))
    chat = bench.ask("Q")
    end = bench.heard.ended(chat)
    assert end.error == CRASH
    assert end.message.state is MessageState.FAILED
    stored = bench.stored(chat).path()[-1]
    assert (stored.message.text, stored.error) == ("Half a sentence", CRASH.template)
    replay.will_say(*answer("Whole."))
    start = bench.heard.mark()
    bench.ask("Again", chat)
    assert bench.heard.ended(chat, start).message.state is MessageState.COMPLETE


def test_length_and_a_tool_call_without_tools(bench: Bench, replay: Replay) -> None:
    replay.will_say(*opening("endless"))
    chat = bench.ask("Q")
    assert bench.heard.ended(chat).message.state is MessageState.LENGTH
    call = "commentary to=functions.weather "
    replay.will_say(specials.CHANNEL, call, specials.CONSTRAIN, "json", specials.MESSAGE, '{"a":1}', specials.CALL)
    replay.will_say(*answer("I cannot know."))
    start = bench.heard.mark()
    bench.ask("Weather?", chat)
    end = bench.heard.ended(chat, start)
    assert end.message.state is MessageState.COMPLETE
    assert end.message.message.text == "I cannot know."
    *_, called, told, _ = bench.stored(chat).path()
    assert [(p.name, p.arguments) for p in called.message.parts if isinstance(p, ToolCallPart)] == [
        ("functions.weather", '{"a":1}')
    ]
    assert "There are no tools" in told.message.parts[0].content
    replay.will_say(*answer("ok"))
    start = bench.heard.mark()
    bench.ask("And now?", chat)
    assert bench.heard.ended(chat, start).message.state is MessageState.COMPLETE


def test_close_during_an_answer_loses_nothing(bench: Bench, replay: Replay) -> None:
    gate = Gate()
    replay.will_say(*opening("All that ", "came", gate, "and not this", specials.RETURN))
    first, second = bench.service.new_chat(), bench.service.new_chat()
    bench.service.send(first, "1")
    gate.reached.wait()
    bench.service.send(second, "2")
    bench.service.save_draft(first, "typed")
    bench.service.close()
    tree = bench.stored(first)
    assert tree.path()[-1].state is MessageState.INTERRUPTED
    assert tree.path()[-1].message.text == "All that came"
    assert tree.conversation.draft == "typed"
    waiting = bench.stored(second)
    assert [m.message.text for m in waiting.path()] == ["2", ""]
    assert waiting.path()[-1].state is MessageState.INTERRUPTED
    assert {e.conversation_id for e in bench.heard.of(AnswerEnded)} == {first, second}
    bench.service.close()
    bench.service.send(first, "ignored")
    bench.service.list_chats()


def test_while_it_streams_it_is_saved_within_half_a_second(bench: Bench, replay: Replay) -> None:
    """Also when no further token comes that could bring a saving with it."""
    gate = Gate()
    replay.will_say(*opening("shown and then silence", gate, specials.RETURN))
    chat = bench.service.new_chat()
    bench.service.send(chat, "go")
    gate.reached.wait()
    connection = sqlite3.connect(bench.file)

    def stored() -> str:
        rows = connection.execute("SELECT parts FROM message WHERE state = 'streaming'").fetchall()
        return rows[0][0] if rows else ""

    while "silence" not in stored():
        threading.Event().wait(0.01)
    connection.close()
    gate.open.set()
    bench.heard.ended(chat)


def test_too_long_for_the_context(bench: Bench, replay: Replay) -> None:
    replay.n_ctx = 1200
    for i in range(6):
        replay.will_say(*answer(f"answer{i} " + "z" * 100))
    chat = bench.ask("question0 " + "y" * 100)
    for i in range(1, 6):
        bench.ask(f"question{i} " + "y" * 100, chat)
    assert "question0" not in prompt_text(replay)
    assert "answer0" not in prompt_text(replay)
    assert "question5" in prompt_text(replay)
    assert replay.count(replay.requests[-1].model, replay.requests[-1].segments) <= 900
    assert len(bench.stored(chat).path()) == 12, "nothing is lost from the conversation"
    bench.service.send(chat, "x" * 2000)
    refused = bench.heard.wait(ChatFailed)
    assert refused.conversation_id == chat
    arguments = dict(refused.error.arguments)
    assert arguments["tokens"] == str(2000 + encoded_around())
    assert len(replay.requests) == 6
    assert len(bench.stored(chat).messages) == 12, "refused before it is sent"
    replay.will_say(*answer("fits"))
    bench.ask("x" * (int(arguments["fits"]) - encoded_around()), chat)
    assert len(replay.requests) == 7


def encoded_around() -> int:
    """Tokens of a user's message that has no words, and of what opens the answer."""
    return 3 + len("user") + 1 + len("assistant")


def test_an_edit_that_is_too_long_is_refused(bench: Bench, replay: Replay) -> None:
    replay.n_ctx = 1200
    replay.will_say(*answer("one"))
    chat = bench.ask("question")
    question = bench.stored(chat).path()[0]
    bench.service.edit(chat, question.id, "x" * 2000)
    assert bench.heard.wait(ChatFailed).conversation_id == chat
    assert len(bench.stored(chat).messages) == 2


def test_a_message_is_pinned_and_stays(bench: Bench, replay: Replay) -> None:
    replay.n_ctx = 1200
    for i in range(6):
        replay.will_say(*answer(f"answer{i} " + "z" * 100))
    chat = bench.ask("question0 " + "y" * 100)
    question = bench.stored(chat).path()[0]
    start = bench.heard.mark()
    bench.service.pin(chat, question.id, pinned=True)
    assert bench.heard.tree(chat, start).get(question.id).pinned
    for i in range(1, 6):
        bench.ask(f"question{i} " + "y" * 100, chat)
    assert "question0" in prompt_text(replay)
    assert "answer0" not in prompt_text(replay)
    assert bench.stored(chat).path()[0].pinned
    start = bench.heard.mark()
    bench.service.pin(chat, question.id, pinned=False)
    assert not bench.heard.tree(chat, start).get(question.id).pinned
    replay.will_say(*answer("x"))
    bench.ask("last", chat)
    assert "question0" not in prompt_text(replay), "negative control"


def test_rename_and_titles(bench: Bench, replay: Replay) -> None:
    chat = bench.service.new_chat()
    bench.service.rename(chat, "  My   own\ntitle ")
    replay.will_say(*answer("x"))
    bench.ask("First words", chat)
    assert bench.stored(chat).conversation.title == "My own title"
    bench.service.rename(chat, "  ")
    bench.service.list_chats()
    bench.heard.wait(ChatsChanged, lambda e: [c.title for c in e.conversations] == ["First words"])
    bench.service.close()
    assert bench.stored(chat).conversation.title == "First words"


def test_drafts(bench: Bench, replay: Replay) -> None:
    chat = bench.service.new_chat()
    bench.service.save_draft(chat, "")
    bench.service.list_chats()
    assert bench.heard.wait(ChatsChanged).conversations == (), "nothing typed, nothing stored"
    for text in ("H", "He", "Hel"):
        bench.service.save_draft(chat, text)
    found = bench.heard.wait(ChatsChanged, lambda e: bool(e.conversations)).conversations
    assert [(c.id, c.draft) for c in found] == [(chat, "Hel")], "stored by itself, after a while"
    bench.service.save_draft(chat, "Hello")
    start = bench.heard.mark()
    bench.service.open(chat)
    assert bench.heard.tree(chat, start).conversation.draft == "Hello", "at once for whoever opens it"
    replay.will_say(*answer("x"))
    bench.ask("Hello", chat)
    assert bench.stored(chat).conversation.draft == ""
    assert [c.id for c in bench.store.conversations()] == [chat]


def test_half_a_surrogate_pair_is_no_reason_to_lose_a_message(bench: Bench, replay: Replay) -> None:
    replay.will_say(*answer("Yes."))
    chat = bench.ask("What is \ud83d this?")
    assert bench.heard.ended(chat).message.state is MessageState.COMPLETE
    assert bench.stored(chat).path()[0].message.text == "What is \ufffd this?"


def test_blank_messages_are_ignored(bench: Bench) -> None:
    chat = bench.service.new_chat()
    bench.service.send(chat, " \n\t ")
    bench.service.close()
    assert bench.heard.of(AnswerEnded) == []
    with pytest.raises(KeyError):
        bench.store.tree(chat)


def test_a_chat_that_is_gone(bench: Bench) -> None:
    bench.service.open("nowhere")
    failed = bench.heard.wait(ChatFailed)
    assert failed.conversation_id == "nowhere"
    assert "no longer exists" in failed.error.text()


def test_a_full_disk_is_told_and_the_chat_goes_on(bench: Bench, replay: Replay) -> None:
    replay.will_say(*answer("short"))
    chat = bench.ask("Q")
    bench.store.flush()
    pages = bench.store._connection.execute("PRAGMA page_count").fetchone()[0]
    bench.store._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    long = "".join(f"{i:5}" for i in range(6_000))  # many pages more than there is room for
    replay.will_say(*answer(long))
    start = bench.heard.mark()
    bench.ask("More", chat)
    assert bench.heard.ended(chat, start).message.state is MessageState.COMPLETE
    assert "disk is full" in bench.heard.wait(ChatFailed).error.text()
    start = bench.heard.mark()
    bench.service.open(chat)
    assert len(bench.heard.tree(chat, start).path()) == 4, "all is still shown"
    bench.store._connection.execute("PRAGMA max_page_count = 1000000")
    bench.service.close()
    assert bench.stored(chat).path()[-1].message.text == long
    assert len(bench.heard.of(ChatFailed)) == 1


def test_a_listener_that_fails_is_our_bug_and_stops_nothing(
    bench: Bench, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: bugs.append(args.exc_value))
    error = ValueError("a listener's mistake")

    def broken(_: object) -> None:
        raise error

    unsubscribe = bench.service.subscribe(broken)
    replay.will_say(*answer("x"))
    chat = bench.ask("Q")
    assert bench.heard.ended(chat).message.state is MessageState.COMPLETE
    unsubscribe()
    assert set(map(id, bugs)) == {id(error)}


def test_a_bug_in_a_turn_ends_the_turn_and_is_not_swallowed(
    bench: Bench, replay: Replay, chosen: Chosen, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: bugs.append(args.exc_value))
    chosen.error = ZeroDivisionError("ours")
    chat = bench.ask("Q")
    assert bench.heard.ended(chat).message.state is MessageState.FAILED
    assert bugs == [chosen.error]
    chosen.error = None
    replay.will_say(*answer("x"))
    start = bench.heard.mark()
    bench.ask("Q", chat)
    assert bench.heard.ended(chat, start).message.state is MessageState.COMPLETE


def test_listeners_may_call_the_service(bench: Bench, replay: Replay) -> None:
    """From within an event, and subscribe and unsubscribe there."""
    replay.will_say(*answer("x"))
    replay.will_say(*answer("y"))
    heard = Listener()

    def listener(event: object) -> None:
        if isinstance(event, AnswerEnded) and event.message.message.text == "x":
            unsubscribe()
            bench.service.subscribe(heard)
            bench.service.send(event.conversation_id, "more")

    unsubscribe = bench.service.subscribe(listener)
    chat = bench.service.new_chat()
    bench.service.send(chat, "Q")
    assert heard.ended(chat).message.message.text == "y"


def test_text_parts_only_hold_what_was_told(bench: Bench, replay: Replay) -> None:
    replay.will_say(*answer("日本語のテキスト", "思考"))
    chat = bench.ask("Q")
    message = bench.heard.ended(chat).message
    assert bench.heard.parts(message.id) == [("reasoning", "思考"), ("final", "日本語のテキスト")]
    assert [replace(p, seconds=0.0) if isinstance(p, ReasoningPart) else p for p in message.message.parts] == [
        ReasoningPart("思考", tokens=6),
        TextPart("日本語のテキスト"),
    ]
