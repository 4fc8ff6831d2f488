"""The shown path and the answers that stream, as values."""

from __future__ import annotations

import time

from inglenook.chat.events import (
    AnswerDelta,
    AnswerEnded,
    AnswerPartEnded,
    AnswerPartStarted,
    AnswerRetried,
    AnswerWaiting,
    Waiting,
)
from inglenook.core.conversation import Conversation, MessageState, StoredMessage, Tree
from inglenook.core.events import Channel
from inglenook.core.messages import Message, ReasoningPart, Role, TextPart, ToolCallPart, ToolResultPart, user
from inglenook.ui.models.transcript import LiveAnswers, entries_of, parts_of, shown_part


def stored(
    name: str, parent: str | None, message: Message, state: MessageState = MessageState.COMPLETE
) -> StoredMessage:
    return StoredMessage(name, "c", parent, message, state)


def answer(*parts: object) -> Message:
    return Message(Role.ASSISTANT, parts)  # type: ignore[arg-type]


def tree(*messages: StoredMessage, leaf: str) -> Tree:
    return Tree(Conversation("c", "", 0, 0, "2026-01-01", leaf_id=leaf), messages)


def test_path_with_siblings_and_turns() -> None:
    entries = entries_of(
        tree(
            stored("u", None, user("hi")),
            stored("a1", "u", answer(TextPart("1"))),
            stored("a2", "u", answer(ToolCallPart("f", "{}"))),
            stored("t", "a2", Message(Role.TOOL, (ToolResultPart("f", "1"),))),
            stored("a3", "t", answer(TextPart("done"))),
            leaf="a3",
        )
    )
    assert [e.id for e in entries] == ["u", "a2", "t", "a3"]
    assert [e.siblings for e in entries] == [("u",), ("a1", "a2"), ("t",), ("a3",)]
    assert [e.ends_turn for e in entries] == [False, False, False, True]
    assert [e.continues for e in entries] == [False, False, True, True]


def test_events_add_up_to_parts() -> None:
    live = LiveAnswers()
    live.handle(AnswerWaiting("c", "a", Waiting.LOADING, 0.5))
    known = live.get("a")
    assert known is not None
    assert known.waiting is not None
    live.handle(AnswerPartStarted("c", "a", 0, Channel.REASONING))
    live.handle(AnswerDelta("c", "a", 0, "hm"))
    live.handle(AnswerPartEnded("c", "a", 0, 2.5))
    live.handle(AnswerPartStarted("c", "a", 1, Channel.TOOL_CALL, "f"))
    live.handle(AnswerDelta("c", "a", 1, "{"))
    assert known.waiting is None
    assert [(p.channel, p.text, p.name, p.seconds) for p in known.parts] == [
        (Channel.REASONING, "hm", "", 2.5),
        (Channel.TOOL_CALL, "{", "f", None),
    ]
    assert live.handle(AnswerEnded("c", stored("a", "u", answer(TextPart("x"))))) == "a"
    assert live.get("a") is None


def test_what_is_retried_is_replaced() -> None:
    live = LiveAnswers()
    live.handle(AnswerPartStarted("c", "a", 0, Channel.REASONING))
    live.handle(AnswerDelta("c", "a", 0, "hm"))
    live.handle(AnswerPartEnded("c", "a", 0, 2.5))
    live.handle(AnswerPartStarted("c", "a", 1, Channel.REASONING))
    live.handle(AnswerDelta("c", "a", 1, "lost"))
    live.handle(AnswerRetried("c", "a", (ReasoningPart("hm", 2.5),)))
    live.handle(AnswerPartStarted("c", "a", 1, Channel.FINAL))
    live.handle(AnswerDelta("c", "a", 1, "found"))
    known = live.get("a")
    assert known is not None
    assert [(p.channel, p.text) for p in known.parts] == [(Channel.REASONING, "hm"), (Channel.FINAL, "found")]


def test_thinking_is_metered_and_goes_on_where_it_was() -> None:
    live = LiveAnswers()
    live.handle(AnswerWaiting("c", "a", Waiting.READING))
    known = live.get("a")
    assert known is not None
    assert not known.thinking
    live.handle(AnswerPartStarted("c", "a", 0, Channel.REASONING))
    live.handle(AnswerDelta("c", "a", 0, "hm", 2))
    assert known.thinking
    assert known.parts[0].tokens == 2
    live.handle(AnswerPartEnded("c", "a", 0, 2.5, 3))
    assert not known.thinking
    assert known.parts[0].tokens == 3
    live.handle(AnswerRetried("c", "a", (ReasoningPart("hm", 100.0, 2),)))
    assert not known.thinking
    live.handle(AnswerDelta("c", "a", 0, ", well", 4))
    assert known.thinking
    assert (known.parts[0].text, known.parts[0].tokens) == ("hm, well", 4)
    assert time.monotonic() - known.parts[0].started >= 100.0
    live.handle(AnswerPartEnded("c", "a", 0, 101.0, 4))
    live.handle(AnswerPartStarted("c", "a", 1, Channel.FINAL))
    assert not known.thinking


def test_stored_reasoning_has_its_figures() -> None:
    part = ReasoningPart("thought", 1.0, 7)
    assert (shown_part(part).seconds, shown_part(part).tokens) == (1.0, 7)
    live = LiveAnswers()
    live.adopt(stored("a", None, answer(part), MessageState.STREAMING))
    known = live.get("a")
    assert known is not None
    assert known.thinking
    assert known.parts[0].tokens == 7


def test_whoever_knows_more_of_a_streaming_answer_is_believed() -> None:
    live = LiveAnswers()
    before = stored("a", None, answer(ReasoningPart("thought", 1.0), TextPart("half")), MessageState.STREAMING)
    live.adopt(before)
    live.handle(AnswerDelta("c", "a", 1, " an answer"))
    live.adopt(before)
    (entry,) = entries_of(tree(before, leaf="a"))
    assert [p.text for p in parts_of(entry, live.get("a"))] == ["thought", "half an answer"]
    more = stored(
        "a", None, answer(ReasoningPart("thought", 1.0), TextPart("half an answer and more")), MessageState.STREAMING
    )
    live.adopt(more)
    live.handle(AnswerDelta("c", "a", 1, "!"))
    (entry,) = entries_of(tree(more, leaf="a"))
    assert [p.text for p in parts_of(entry, live.get("a"))][1] == "half an answer and more!"


def test_a_finished_answer_shows_what_is_stored() -> None:
    live = LiveAnswers()
    live.handle(AnswerDelta("c", "a", 0, "never stored"))
    (entry,) = entries_of(tree(stored("a", None, answer(TextPart("stored"))), leaf="a"))
    assert [p.text for p in parts_of(entry, live.get("a"))] == ["stored"]
