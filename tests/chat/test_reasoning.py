"""Reasoning under control: metered, ended on demand, by a budget, or when it goes round in circles; so are answers."""

from __future__ import annotations

import pytest
from tests.chat.replay import Chosen, Gate, IfTold, Item, Replay, answer, calling, encoded, opening
from tests.chat.support import Bench, MakeBench

from inglenook.chat.events import AnswerDelta, AnswerEnded, AnswerPartEnded, AnswerPartStarted, AnswerRetried
from inglenook.chat.loops import ANSWER, STEP, THOUGHT
from inglenook.chat.turn import Limits
from inglenook.core.conversation import MessageState, StoredMessage
from inglenook.core.events import Channel
from inglenook.core.messages import Effort, ReasoningPart, TextPart
from inglenook.core.prompt import Special, Text
from inglenook.core.settings import THOUGHT_HIGH, THOUGHT_LOW, THOUGHT_MEDIUM
from inglenook.harmony import specials
from inglenook.harmony.inject import ANSWER_NOW

THINKING = (specials.CHANNEL, "analysis", specials.MESSAGE)
WAY_OUT = (specials.END, specials.START, "assistant", specials.CHANNEL, "final", specials.MESSAGE)
NEVER = ("never said", specials.RETURN)


def ids_of(*script: str) -> tuple[int, ...]:
    return tuple(t for item in script for t in encoded(Special(item) if item.startswith("<|") else Text(item)))


def varied(length: int) -> str:
    return "".join(f"{i:5}" for i in range(length // 5))


def thoughts(message: StoredMessage) -> list[ReasoningPart]:
    return [part for part in message.message.parts if isinstance(part, ReasoningPart)]


def begin(bench: Bench, replay: Replay, *script: Item) -> str:
    replay.will_say(*script)
    chat = bench.service.new_chat()
    bench.service.send(chat, "Q")
    return chat


class TestMeter:
    def test_counts_the_tokens_of_each_part(self, bench: Bench, replay: Replay) -> None:
        replay.will_say(*answer("Yes, 是.", "Hmm…"))
        message = bench.heard.ended(bench.ask("Q")).message
        (thought,) = thoughts(message)
        assert thought.tokens == len("Hmm…".encode())
        ended = bench.heard.of(AnswerPartEnded)
        assert [(e.index, e.tokens) for e in ended] == [(0, thought.tokens), (1, len("Yes, 是.".encode()))]
        counts = [e.tokens for e in bench.heard.of(AnswerDelta) if e.index == 0]
        assert counts == sorted(counts)
        assert counts[-1] == thought.tokens
        assert thoughts(bench.stored(message.conversation_id).path()[-1]) == [thought]

    def test_begins_with_the_first_bytes_of_a_character(self, bench: Bench, replay: Replay) -> None:
        replay.will_say(*answer("Yes.", "是"))
        message = bench.heard.ended(bench.ask("Q")).message
        assert [part.tokens for part in thoughts(message)] == [3]

    def test_goes_on_when_the_answer_does(self, bench: Bench, replay: Replay) -> None:
        replay.will_say(*THINKING, "Hm")
        chat = bench.ask("Q")
        cut = bench.heard.ended(chat).message
        assert [part.tokens for part in thoughts(cut)] == [2]
        replay.will_say(", well", *WAY_OUT, "Yes.", specials.RETURN)
        start = bench.heard.mark()
        bench.service.continue_answer(chat, cut.id)
        assert [part.tokens for part in thoughts(bench.heard.ended(chat, start).message)] == [8]

    def test_forgets_what_is_retried(self, bench: Bench, replay: Replay) -> None:
        lost = (specials.CHANNEL, "??", specials.MESSAGE, "Much that is lost", specials.RETURN)
        replay.will_say(*THINKING, "Hm", specials.END, specials.START, "assistant", *lost)
        replay.will_say(*answer("Yes."))
        message = bench.heard.ended(bench.ask("Q")).message
        (retried,) = bench.heard.of(AnswerRetried)
        assert [part.tokens for part in retried.parts if isinstance(part, ReasoningPart)] == [2]
        assert [part.tokens for part in thoughts(message)] == [2]


class TestAnswerNow:
    def test_the_final_answer_follows_at_once(self, bench: Bench, replay: Replay) -> None:
        gate = Gate()
        chat = begin(bench, replay, *THINKING, "Hm, ", gate, *NEVER, IfTold(), "Yes.", specials.RETURN)
        gate.reached.wait()
        bench.heard.wait(AnswerDelta, lambda e: e.text.endswith(" "))
        bench.service.answer_now(chat)
        end = bench.heard.ended(chat)
        assert (end.error, end.message.state, end.message.error) == (None, MessageState.COMPLETE, "")
        assert end.message.message.text == "Yes."
        assert end.message.message.reasoning == "Hm, "
        assert end.message.message.sampled is not None
        assert end.message.message.sampled.ids == ids_of(*THINKING, "Hm, ", *WAY_OUT, "Yes.", specials.RETURN)
        assert len(replay.requests) == 1, "in the same generation"
        assert replay.generations[0].injections == [(ANSWER_NOW, len(ids_of(*THINKING, "Hm, ")))]
        started = [(e.index, e.channel) for e in bench.heard.of(AnswerPartStarted)]
        assert started == [(0, Channel.REASONING), (1, Channel.FINAL)]
        assert bench.stored(chat).path()[-1] == end.message

    @pytest.mark.parametrize(
        "before",
        [
            pytest.param((), id="before the first token"),
            pytest.param(THINKING[:2], id="in a header"),
            pytest.param((*THINKING, "Hm.", specials.END), id="between messages"),
            pytest.param((specials.CHANNEL, "commentary", specials.MESSAGE, "I look."), id="in a preamble"),
            pytest.param((specials.CHANNEL, "final", specials.MESSAGE, "Well, "), id="in the answer"),
            pytest.param(calling("functions.f", '{"a": ', "Hm.")[:-1], id="in a call"),
        ],
    )
    def test_is_ignored_elsewhere(self, bench: Bench, replay: Replay, before: tuple[Item, ...]) -> None:
        gate = Gate()
        chat = begin(bench, replay, *before, gate, "…", IfTold(), "told", specials.RETURN)
        gate.reached.wait()
        bench.service.answer_now(chat)
        start = bench.heard.mark()
        bench.service.open(chat)  # comes after it in the service's queue
        bench.heard.tree(chat, start)
        gate.open.set()
        bench.heard.ended(chat)
        assert replay.generations[0].injections == []

    def test_of_another_chat_or_none_is_ignored(self, bench: Bench, replay: Replay) -> None:
        gate = Gate()
        chat = begin(bench, replay, *THINKING, "Hm.", gate, "…")
        gate.reached.wait()
        other = bench.service.new_chat()
        bench.service.answer_now(other)
        bench.heard.tree(other)
        gate.open.set()
        bench.heard.ended(chat)
        bench.service.answer_now(chat)
        assert replay.generations[0].injections == []

    def test_in_a_continued_answer(self, bench: Bench, replay: Replay) -> None:
        """`after` counts what was generated, not what there was."""
        replay.will_say(*THINKING, "Hm, ")
        chat = bench.ask("Q")
        cut = bench.heard.ended(chat).message
        gate = Gate()
        replay.will_say("well", gate, *NEVER, IfTold(), "Yes.", specials.RETURN)
        start = bench.heard.mark()
        bench.service.continue_answer(chat, cut.id)
        gate.reached.wait()
        bench.heard.wait(AnswerDelta, lambda e: e.text.endswith("l"), start)
        bench.service.answer_now(chat)
        end = bench.heard.ended(chat, start)
        assert (end.message.message.reasoning, end.message.message.text) == ("Hm, well", "Yes.")
        assert replay.generations[1].injections == [(ANSWER_NOW, 4)]


class TestBudget:
    @pytest.mark.parametrize(("effort", "is_over"), [(Effort.LOW, True), (Effort.MEDIUM, False), (Effort.HIGH, False)])
    def test_counts_by_effort(self, bench: Bench, replay: Replay, effort: Effort, is_over: bool) -> None:
        bench.settings.set(THOUGHT_LOW, 256)
        bench.settings.set(THOUGHT_HIGH, 2560)
        chat = bench.service.new_chat()
        bench.service.set_effort(chat, effort)
        replay.will_say(*THINKING, varied(1000), *WAY_OUT, "Late.", specials.RETURN, IfTold(), "Soon.", specials.RETURN)
        bench.ask("Q", chat)
        end = bench.heard.ended(chat).message
        assert end.message.text == ("Soon." if is_over else "Late.")
        assert (end.state, end.error) == (MessageState.COMPLETE, "")
        (thought,) = thoughts(end)
        assert thought.tokens in (range(256, 259) if is_over else (1000,))  # they come three at a time
        assert len(replay.generations[0].injections) == is_over, "it is told once"

    def test_is_of_all_reasoning_of_the_answer(self, bench: Bench, replay: Replay) -> None:
        bench.settings.set(THOUGHT_MEDIUM, 256)
        again = (specials.END, specials.START, "assistant", *THINKING)
        script = (*THINKING, varied(200), *again, varied(200), *WAY_OUT, "Late.", specials.RETURN)
        replay.will_say(*script, IfTold(), "Soon.", specials.RETURN)
        end = bench.heard.ended(bench.ask("Q")).message
        assert end.message.text == "Soon."
        one, two = (part.tokens for part in thoughts(end))
        assert one == 200
        assert 56 <= two < 59

    def test_is_spent_when_the_answer_goes_on(self, bench: Bench, replay: Replay) -> None:
        replay.will_say(*THINKING, varied(300))
        chat = bench.ask("Q")
        cut = bench.heard.ended(chat).message
        bench.settings.set(THOUGHT_MEDIUM, 256)
        replay.will_say("a", varied(100), *NEVER, IfTold(), "Soon.", specials.RETURN)
        start = bench.heard.mark()
        bench.service.continue_answer(chat, cut.id)
        assert bench.heard.ended(chat, start).message.message.text == "Soon."


class TestLoops:
    LINE = "But wait, let me check that once more. "

    def test_in_the_reasoning_it_is_made_to_answer_and_that_is_said(self, bench: Bench, replay: Replay) -> None:
        replay.will_say(*THINKING, varied(200), *[self.LINE] * 100, *NEVER, IfTold(), "Yes.", specials.RETURN)
        end = bench.heard.ended(bench.ask("Q"))
        assert (end.error, end.message.state) == (None, MessageState.COMPLETE)
        assert "went round in circles" in end.message.error
        assert end.message.message.text == "Yes."
        (thought,) = thoughts(end.message)
        need = 200 + THOUGHT.tokens
        assert need <= thought.tokens <= need + STEP + 3
        assert len(replay.generations[0].injections) == 1
        assert bench.stored(end.conversation_id).path()[-1] == end.message

    def test_in_the_answer_it_is_ended_and_can_be_continued(self, bench: Bench, replay: Replay) -> None:
        replay.will_say(*opening("Well. ", *[self.LINE] * 100, "never reached", specials.RETURN))
        chat = bench.ask("Q")
        end = bench.heard.ended(chat)
        assert (end.error, end.message.state) == (None, MessageState.LENGTH)
        assert "again and again" in end.message.error
        said = end.message.message.text
        assert ("Well. " + self.LINE * 100).startswith(said)
        assert ANSWER.tokens <= len(said) <= ANSWER.tokens + STEP + 10
        assert replay.generations[0].cancelled.is_set()
        assert replay.generations[0].injections == []
        assert len(bench.heard.of(AnswerEnded)) == 1
        replay.will_say("Done.", specials.RETURN)
        start = bench.heard.mark()
        bench.service.continue_answer(chat, end.message.id)
        again = bench.heard.ended(chat, start).message
        assert (again.state, again.error) == (MessageState.COMPLETE, "")
        assert again.message.text == said + "Done."

    def test_over_many_short_messages(self, bench: Bench, replay: Replay) -> None:
        """Each is reasoning that ends well."""
        round_ = (*THINKING, "Let me think.", specials.END, specials.START, "assistant")
        replay.will_say(*round_ * 100, *NEVER, IfTold(), "Yes.", specials.RETURN)
        end = bench.heard.ended(bench.ask("Q"))
        assert len(thoughts(end.message)) < 60
        assert end.message.message.text == "Yes."

    def test_in_the_arguments_of_a_call(self, bench: Bench, replay: Replay) -> None:
        replay.will_say(*calling("functions.f", '{"a": "' + "yes, " * 400 + '"}', "Hm."))
        end = bench.heard.ended(bench.ask("Q"))
        assert end.message.state is MessageState.LENGTH
        assert "again and again" in end.message.error

    def test_stopped_by_the_user_is_stopped(self, bench: Bench, replay: Replay) -> None:
        gate = Gate()
        chat = begin(bench, replay, *opening(*[self.LINE] * 10, gate))
        gate.reached.wait()
        bench.service.stop(chat)
        end = bench.heard.ended(chat)
        assert (end.message.state, end.message.error) == (MessageState.STOPPED, "")

    def test_a_long_answer_is_none(self, bench: Bench, replay: Replay) -> None:
        """The control."""
        replay.will_say(*answer(varied(6000), varied(3000)))
        end = bench.heard.ended(bench.ask("Q")).message
        assert (end.state, end.error) == (MessageState.COMPLETE, "")
        assert [part.text for part in end.message.parts if isinstance(part, TextPart)] == [varied(6000)]


def test_a_limit_reached_in_hurried_reasoning_is_told_as_one(
    make_bench: MakeBench, replay: Replay, chosen: Chosen
) -> None:
    """The engine had no room to put anything in."""
    bench = make_bench(replay, chosen, (), Limits(tokens=600))
    replay.will_say(*THINKING, "so " * 200)
    end = bench.heard.ended(bench.ask("Q")).message
    assert (end.state, end.error) == (MessageState.LENGTH, "")
