"""A malformed answer is written again from its last good token; what cannot be mended is shown and said."""

from __future__ import annotations

import pytest
from tests.chat.replay import Chosen, Gate, Replay, answer, calling, encoded, opening
from tests.chat.support import Bench, MakeBench

from inglenook.chat.events import AnswerEnded, AnswerPartStarted, AnswerRetried
from inglenook.chat.turn import Limits
from inglenook.core.conversation import MessageState
from inglenook.core.events import Channel
from inglenook.core.messages import ReasoningPart, Role, TextPart
from inglenook.core.prompt import Ids, Special, Text
from inglenook.core.settings import TEMPERATURE
from inglenook.harmony import specials

THOUGHT = [specials.CHANNEL, "analysis", specials.MESSAGE, "Hm.", specials.END]
START = [specials.START, "assistant"]
LOST = [specials.CHANNEL, "??", specials.MESSAGE, "Hello", specials.RETURN]
"""An answer on a channel that does not exist is taken for reasoning."""


def ids_of(*script: str) -> tuple[int, ...]:
    return tuple(t for item in script for t in encoded(Special(item) if item.startswith("<|") else Text(item)))


@pytest.mark.parametrize(
    ("first", "kept", "second"),
    [
        pytest.param(THOUGHT + START + LOST, THOUGHT + START, answer("Hello."), id="unknown channel"),
        pytest.param(
            [*THOUGHT, *START, specials.CHANNEL, "commentary?", specials.MESSAGE, "Hello", specials.RETURN],
            THOUGHT + START,
            answer("Hello."),
            id="malformed preamble",
        ),
        pytest.param(LOST, [], answer("Hello.", "Hm."), id="from the beginning"),
        pytest.param(
            [*THOUGHT[:-1], specials.RETURN],
            THOUGHT[:-1],
            [specials.END, *START, *answer("Hello.")],
            id="ends in reasoning",
        ),
        pytest.param([*THOUGHT, specials.RETURN], THOUGHT, [*START, *answer("Hello.")], id="ends after reasoning"),
        pytest.param([specials.RETURN], [], answer("Hello.", "Hm."), id="nothing at all"),
        pytest.param(
            [*THOUGHT, *START, specials.CHANNEL, "commentary", specials.RETURN],
            THOUGHT + START,
            answer("Hello."),
            id="ends in a header",
        ),
        pytest.param(
            [*THOUGHT, *START, specials.CHANNEL, "final", specials.MESSAGE, specials.RETURN],
            THOUGHT + START,
            answer("Hello."),
            id="empty answer",
        ),
    ],
)
def test_it_goes_on_from_the_last_good_token(
    bench: Bench, replay: Replay, first: list[str], kept: list[str], second: list[str]
) -> None:
    replay.will_say(*first)
    replay.will_say(*second)
    chat = bench.ask("Q")
    end = bench.heard.ended(chat)
    assert (end.message.state, end.error, end.message.error) == (MessageState.COMPLETE, None, "")
    assert end.message.message.text == "Hello."
    assert end.message.message.reasoning == "Hm."
    one, two = replay.requests
    begun = (Ids(ids_of(*kept)),) if kept else ()
    assert two.segments == one.segments + begun
    assert end.message.message.sampled is not None
    assert end.message.message.sampled.ids == ids_of(*kept, *second), "what was malformed is gone"
    assert len(bench.heard.of(AnswerEnded)) == 1
    assert len(bench.heard.of(AnswerRetried)) == 1
    assert bench.stored(chat).path()[-1] == end.message


def test_listeners_are_told_what_is_left(bench: Bench, replay: Replay) -> None:
    gate = Gate()
    replay.will_say(*THOUGHT, *START, *LOST)
    replay.will_say(gate, *answer("Hello."))
    chat = bench.service.new_chat()
    bench.service.send(chat, "Q")
    gate.reached.wait()
    retried = bench.heard.wait(AnswerRetried)
    assert [type(p) for p in retried.parts] == [ReasoningPart]
    start = bench.heard.mark()
    bench.service.open(chat)
    shown = bench.heard.tree(chat, start).path()[-1].message
    assert [getattr(p, "text", "") for p in shown.parts] == ["Hm."]
    gate.open.set()
    end = bench.heard.ended(chat)
    at = bench.heard.events.index(retried)
    begun = [e for e in bench.heard.events[at:] if isinstance(e, AnswerPartStarted)]
    assert [(e.index, e.channel) for e in begun] == [(1, Channel.FINAL)]
    assert [type(p) for p in end.message.message.parts] == [ReasoningPart, TextPart]


def test_retries_are_bounded_and_the_end_says_so(bench: Bench, replay: Replay) -> None:
    for _ in range(3):
        replay.will_say(*THOUGHT, *START, *LOST)
    chat = bench.ask("Q")
    end = bench.heard.ended(chat)
    assert len(replay.requests) == 3
    assert (end.message.state, end.error) == (MessageState.COMPLETE, None)
    assert "without a final answer" in end.message.error
    assert end.message.message.text == "Hello", "nothing is lost, if not in its place"
    assert bench.stored(chat).path()[-1] == end.message


def test_retries_are_bounded_by_the_turn(make_bench: MakeBench, replay: Replay, chosen: Chosen) -> None:
    bench = make_bench(replay, chosen, (), Limits(retries=1))
    replay.will_say(*LOST)
    replay.will_say(*calling("functions.x", "{}"))
    replay.will_say(*LOST)
    chat = bench.ask("Q")
    assert len(replay.requests) == 3
    path = bench.stored(chat).path()
    assert [m.message.role for m in path] == [Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT]
    assert "without a final answer" in path[-1].error
    assert path[-2].error == ""


def test_a_preamble_alone_is_shown_and_said(bench: Bench, replay: Replay) -> None:
    replay.will_say(*opening("I will look.", specials.RETURN, channel="commentary"))
    chat = bench.ask("Q")
    end = bench.heard.ended(chat)
    assert len(replay.requests) == 1, "it is well-formed"
    assert end.message.message.text == "I will look."
    assert "without a final answer" in end.message.error


@pytest.mark.parametrize(
    "script",
    [
        ["Hello."],
        [*START, *answer("Hello.")],
        [specials.CHANNEL, "final", "Hello."],
        [*THOUGHT, *START, *START, specials.CHANNEL, "finally", specials.MESSAGE, "Hello."],
    ],
)
def test_what_the_parser_mends_is_not_retried(bench: Bench, replay: Replay, script: list[str]) -> None:
    """The control: one answer, one generation."""
    replay.will_say(*script, specials.RETURN)
    chat = bench.ask("Q")
    assert len(replay.requests) == 1
    assert bench.heard.ended(chat).message.message.text == "Hello."
    assert bench.heard.ended(chat).message.error == ""


def test_a_cut_answer_is_not_retried(bench: Bench, replay: Replay) -> None:
    replay.will_say(*THOUGHT[:-1])
    chat = bench.ask("Q")
    assert bench.heard.ended(chat).message.state is MessageState.LENGTH
    assert len(replay.requests) == 1


def test_where_nothing_was_left_to_chance_the_retry_is_given_some(bench: Bench, replay: Replay) -> None:
    """The same prompt at temperature 0 would be answered by the same tokens."""
    bench.settings.set(TEMPERATURE, 0.0)
    for _ in range(3):
        replay.will_say(*LOST)
    bench.ask("Q")
    assert [(r.sampling.temperature, r.sampling.seed) for r in replay.requests] == [(0.0, None), (1.0, 1), (1.0, 2)]


def test_without_room_for_another_try_there_is_none(bench: Bench, replay: Replay) -> None:
    replay.n_ctx = 1200
    thought = "".join(f"{i:5}" for i in range(140))
    replay.will_say(specials.CHANNEL, "analysis", specials.MESSAGE, thought, specials.RETURN)
    chat = bench.ask("Q")
    end = bench.heard.ended(chat)
    assert (end.message.state, end.error) == (MessageState.COMPLETE, None)
    assert end.message.message.text == thought
    assert "without a final answer" in end.message.error
