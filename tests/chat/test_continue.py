"""An answer that was cut off goes on from the very tokens that were sampled."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.chat.replay import Chosen, Gate, Replay, answer, calling, encoded, opening, piece
from tests.chat.support import Bench, MakeBench
from tests.chat.test_tools import Notebook

from inglenook.chat.answer import Answer
from inglenook.chat.events import AnswerDelta, AnswerEnded, TreeChanged
from inglenook.core.conversation import MessageState
from inglenook.core.inference import ModelSpec
from inglenook.core.messages import Message, ReasoningPart, Role, SampledTokens, TextPart, ToolCallPart
from inglenook.core.prompt import Ids, Special, Text
from inglenook.harmony import specials
from inglenook.store.repository import SqliteStore

THOUGHT = [specials.CHANNEL, "analysis", specials.MESSAGE, "Hm.", specials.END]
START = [specials.START, "assistant"]
FINAL = [specials.CHANNEL, "final", specials.MESSAGE]


def ids_of(*script: str) -> tuple[int, ...]:
    return tuple(t for item in script for t in encoded(Special(item) if item.startswith("<|") else Text(item)))


def going_on(bench: Bench, chat: str, message_id: str) -> AnswerEnded:
    start = bench.heard.mark()
    bench.service.continue_answer(chat, message_id)
    return bench.heard.ended(chat, start)


@pytest.mark.parametrize(
    ("first", "kept", "second"),
    [
        pytest.param([*FINAL, "One, "], None, ["two."], id="in the answer"),
        pytest.param([*THOUGHT, *START, *FINAL, "One, "], None, ["two."], id="in the answer after reasoning"),
        pytest.param(THOUGHT[:3], [], [*THOUGHT, *START, *FINAL, "One, two."], id="before the first word"),
        pytest.param(
            [*THOUGHT[:-2], "H"], None, ["m.", specials.END, *START, *FINAL, "One, two."], id="in the reasoning"
        ),
        pytest.param(THOUGHT, None, [*START, *FINAL, "One, two."], id="between messages"),
        pytest.param([*THOUGHT, *START, *FINAL[:-1]], THOUGHT, [*START, *FINAL, "One, two."], id="in a header"),
        pytest.param([*THOUGHT, *START, *FINAL], THOUGHT, [*START, *FINAL, "One, two."], id="after a header"),
        pytest.param([], [], [*FINAL, "One, two."], id="before the first token"),
        pytest.param(["One, "], None, ["two."], id="without markup"),
    ],
)
def test_from_the_sampled_ids(
    bench: Bench, replay: Replay, first: list[str], kept: list[str] | None, second: list[str]
) -> None:
    kept = first if kept is None else kept
    replay.will_say(*first)
    chat = bench.ask("Q")
    cut = bench.heard.ended(chat).message
    assert cut.state is MessageState.LENGTH
    replay.will_say(*second, specials.RETURN)
    end = going_on(bench, chat, cut.id)
    assert (end.error, end.message.state) == (None, MessageState.COMPLETE)
    assert end.message.id == cut.id
    assert end.message.message.text == "One, two."
    one, two = replay.requests
    assert two.segments == one.segments + ((Ids(ids_of(*kept)),) if kept else ())
    assert end.message.message.sampled is not None
    assert end.message.message.sampled.ids == ids_of(*kept, *second, specials.RETURN)
    tree = bench.stored(chat)
    assert tree.path()[-1] == end.message
    assert len(tree.messages) == 2, "in its place"


def test_deltas_continue_what_is_shown(bench: Bench, replay: Replay) -> None:
    replay.will_say(*THOUGHT, *START, *FINAL, "One, ")
    chat = bench.ask("Q")
    cut = bench.heard.ended(chat).message
    gate = Gate()
    replay.will_say(gate, "two.", specials.RETURN)
    start = bench.heard.mark()
    bench.service.continue_answer(chat, cut.id)
    gate.reached.wait()
    tree = bench.heard.wait(TreeChanged, start=start).tree
    assert tree.path()[-1].state is MessageState.STREAMING
    assert tree.path()[-1].message.text == "One, "
    bench.service.continue_answer(chat, cut.id)  # it is being written
    gate.open.set()
    end = bench.heard.ended(chat, start)
    deltas = [e for e in bench.heard.events[start:] if isinstance(e, AnswerDelta)]
    assert "".join(e.text for e in deltas) == "two."
    assert {e.index for e in deltas} == {1}
    thought = [p for p in end.message.message.parts if isinstance(p, ReasoningPart)]
    assert thought == [p for p in cut.message.parts if isinstance(p, ReasoningPart)], "its seconds, too"
    replay.will_say(*answer("Yes."))
    bench.ask("More?", chat)
    assert len(bench.heard.of(AnswerEnded)) == 3


def test_a_look_at_the_calls_leaves_it_to_be_stored(replay: Replay) -> None:
    grown = Answer(replay.model_info(ModelSpec("m")), "id", Message(Role.ASSISTANT, ()))
    for token_id in ids_of(*FINAL):
        list(grown.feed(token_id, piece(token_id)))
    assert grown.calls == ()
    assert grown.grown
    grown.message()
    assert not grown.grown


def test_half_a_character_is_not_kept(replay: Replay) -> None:
    """Nor what else its tokens say: the model writes them again."""
    info = replay.model_info(ModelSpec("m"))
    grown = Answer(info, "id", Message(Role.ASSISTANT, ()))
    tokens = [(t, piece(t)) for t in ids_of(*FINAL)] + [(200, b"Smile"), (201, b" \xf0\x9f"), (202, b"\x98\x80")]
    for token_id, data in tokens[:-1]:
        list(grown.feed(token_id, data))
    sampled = grown.message().sampled
    assert sampled is not None
    assert sampled.ids == tuple(t for t, _ in tokens[:-2])
    assert grown.message().parts == (TextPart("Smile "),), "as it is told, while it grows"
    list(grown.finish())
    assert grown.message().parts == (TextPart("Smile"),)
    again = Answer(info, "id", grown.message())
    assert again.ids == sampled.ids
    for token_id, data in tokens[-2:]:
        list(again.feed(token_id, data))
    list(again.finish())
    assert again.message().parts == (TextPart("Smile 😀"),)
    sampled = again.message().sampled
    assert sampled is not None
    assert sampled.ids == tuple(t for t, _ in tokens)


def test_stopped_interrupted_and_failed_answers_can_be_continued(bench: Bench, replay: Replay) -> None:
    for state in (MessageState.STOPPED, MessageState.INTERRUPTED, MessageState.FAILED):
        replay.will_say(*FINAL, "One, ")
        chat = bench.ask("Q")
        bench.store.save_message(replace(bench.heard.ended(chat).message, state=state, error="x"))
        replay.will_say("two.", specials.RETURN)
        end = going_on(bench, chat, bench.stored(chat).path()[-1].id)
        assert (end.message.message.text, end.message.error) == ("One, two.", "")


def test_what_was_not_cut_is_left_alone(bench: Bench, replay: Replay) -> None:
    replay.will_say(*answer("Done."))
    chat = bench.ask("Q")
    tree = bench.stored(chat)
    for message in tree.path():
        bench.service.continue_answer(chat, message.id)
    bench.service.list_chats()
    bench.service.close()
    assert bench.stored(chat).messages == tree.messages
    assert len(replay.requests) == 1


def test_another_vocabulary_cannot_go_on_and_nothing_is_lost(bench: Bench, replay: Replay) -> None:
    replay.will_say(*FINAL, "One, ")
    chat = bench.ask("Q")
    cut = bench.heard.ended(chat).message
    assert cut.message.sampled is not None
    theirs = replace(cut.message, sampled=SampledTokens(cut.message.sampled.ids, "another"))
    bench.store.save_message(replace(cut, message=theirs))
    end = going_on(bench, chat, cut.id)
    assert end.error is not None
    assert "Another model wrote this answer" in end.error.text()
    assert end.message.message == theirs
    assert bench.stored(chat).path()[-1].message == theirs


def test_a_malformed_stream_cannot_go_on_and_nothing_is_lost(bench: Bench, replay: Replay) -> None:
    replay.will_say(*THOUGHT[:-1], specials.CHANNEL, "final", specials.MESSAGE, "One, ")
    chat = bench.ask("Q")
    cut = bench.heard.ended(chat).message
    end = going_on(bench, chat, cut.id)
    assert end.error is not None
    assert "Try again" in end.error.text()
    assert end.message.message == cut.message


def test_without_ids_it_cannot_go_on_and_nothing_is_lost(bench: Bench, replay: Replay) -> None:
    replay.will_say(*FINAL, "One, ")
    chat = bench.ask("Q")
    cut = bench.heard.ended(chat).message
    bench.store.save_message(replace(cut, message=replace(cut.message, sampled=None)))
    end = going_on(bench, chat, cut.id)
    assert end.error is not None
    assert end.message.message.text == "One, "
    assert len(replay.requests) == 1


def test_an_answer_that_fills_the_context_pushes_old_turns_out(bench: Bench, replay: Replay) -> None:
    replay.n_ctx = 1600
    long = "".join(f"{i:5}" for i in range(200))
    replay.will_say(*answer("old answer " + "z" * 400))
    chat = bench.ask("old question")
    replay.will_say(*FINAL, long[:600])
    start = bench.heard.mark()
    bench.ask("new question", chat)
    cut = bench.heard.ended(chat, start).message
    replay.will_say(" end", specials.RETURN)
    assert going_on(bench, chat, cut.id).message.message.text == long[:600] + " end"
    sent = replay.requests[-1].segments
    texts = " ".join(s.text for s in sent if isinstance(s, Text))
    assert "new question" in texts
    assert "old question" not in texts
    replay.will_say(*FINAL, long)
    start = bench.heard.mark()
    bench.ask("third", chat)
    cut = bench.heard.ended(chat, start).message
    end = going_on(bench, chat, cut.id)
    assert end.error is not None
    assert "has filled the context window" in end.error.text()
    assert end.message.message == cut.message


def test_a_call_that_was_cut_is_finished_and_then_run(make_bench: MakeBench, replay: Replay, chosen: Chosen) -> None:
    book = Notebook()
    bench = make_bench(replay, chosen, book.tools)
    script = calling("functions.get_weather", '{"location": ')
    replay.will_say(*script[:-1])
    chat = bench.ask("Q")
    cut = bench.heard.ended(chat).message
    assert isinstance(cut.message.parts[-1], ToolCallPart)
    assert (cut.state, book.weather_of) == (MessageState.LENGTH, [])
    replay.will_say('"Lisbon"}', specials.CALL)
    replay.will_say(*answer("23"))
    end = going_on(bench, chat, cut.id)
    assert end.message.message.text == "23"
    assert book.weather_of == ["Lisbon"]
    assert [m.message.role for m in bench.stored(chat).path()] == [
        Role.USER,
        Role.ASSISTANT,
        Role.TOOL,
        Role.ASSISTANT,
    ]


def test_a_turn_that_was_killed_before_its_results_had_a_message(
    make_bench: MakeBench, replay: Replay, chosen: Chosen
) -> None:
    """The call is stored, nothing below it, and the conversation's row may be older still."""
    book = Notebook()
    bench = make_bench(replay, chosen, book.tools)
    replay.will_say(*opening("x", specials.RETURN))
    chat = bench.ask("Q")
    last = bench.stored(chat).path()[-1]
    call = ToolCallPart("functions.get_weather", '{"location": "Lisbon"}', "c")
    called = replace(last, id="called", message=replace(last.message, parts=(call,), sampled=None))
    other = SqliteStore(bench.file)
    other.save_message(called)
    other.close()
    start = bench.heard.mark()
    bench.service.show_sibling(chat, "called")
    assert bench.heard.tree(chat, start).path()[-1].id == "called"
    replay.will_say(*answer("23"))
    assert going_on(bench, chat, "called").message.message.text == "23"
    assert book.weather_of == ["Lisbon"]
    bench.service.continue_answer(chat, "called")
    bench.service.close()
    assert book.weather_of == ["Lisbon"], "it has its results"
    assert [m.message.text for m in bench.stored(chat).path()] == ["Q", "", "", "23"]
