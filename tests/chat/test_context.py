"""What fits: everything if it can, else whole last turns and what is pinned, else an error with the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.chat.context import TurnSize, answer_room, choose, first_kept, fit, most_tokens
from inglenook.chat.history import History
from inglenook.core.errors import UserError
from inglenook.core.messages import Message, ReasoningPart, Role, SampledTokens, TextPart, user
from inglenook.core.prompt import Ids, Prompt, Segment, Special, Text
from inglenook.harmony.render import render


def tokens(segments: Sequence[Segment]) -> int:
    """A tokenizer with one token for each word."""
    return sum(
        len(s.text.split()) if isinstance(s, Text) else len(s.ids) if isinstance(s, Ids) else 1 for s in segments
    )


def count(texts: Sequence[Sequence[Segment]], message_ids: Sequence[str]) -> list[int]:
    assert len(texts) == len(message_ids)
    return [tokens(text) for text in texts]


def assistant(text: str, thought: int = 0) -> Message:
    """An answer after so many tokens of reasoning."""
    parts = (ReasoningPart("hm " * thought), TextPart(text))
    return Message(Role.ASSISTANT, parts, SampledTokens(tuple(range(thought + len(text.split()) + 9)), "v"))


def history(*messages: Message, pinned: Sequence[int] = ()) -> History:
    prompt = Prompt(messages, date="2026-11-22", instructions="Be brief.")
    return History(prompt, "c", tuple(f"m{i}" for i in range(len(messages))), frozenset(f"m{i}" for i in pinned))


def turns(*lengths: int, thought: int = 0, pinned: Sequence[int] = ()) -> History:
    """Each turn is a question and its answer of so many words; the last question has no answer yet."""
    messages: list[Message] = []
    for i, length in enumerate(lengths):
        messages += [user(f"q{i} " + "w " * length), assistant(f"a{i} " + "w " * length, thought)]
    return history(*messages, user("last"), pinned=pinned)


def texts(segments: Sequence[Segment]) -> str:
    return " ".join(s.text for s in segments if isinstance(s, Text))


def kept_turns(found: str, n: int) -> list[int]:
    return [i for i in range(n) if f"q{i} " in found]


def test_all_that_fits_is_sent_without_asking_the_engine() -> None:
    def no_count(_texts: Sequence[Sequence[Segment]], _ids: Sequence[str]) -> list[int]:
        raise AssertionError("need not be counted")

    said = turns(5, 5)
    assert fit(said, 4096, "v", no_count) == render(said.prompt, "v")


def test_a_prompt_of_many_bytes_is_counted_and_kept_if_it_fits() -> None:
    said = turns(900)
    assert most_tokens(render(said.prompt)) > 4096 - answer_room(4096)
    assert fit(said, 4096, "", count) == render(said.prompt)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 400), max_size=12), st.integers(300, 3000))
def test_whole_oldest_turns_go_and_no_more_than_half_of_the_room(lengths: list[int], n_ctx: int) -> None:
    said = turns(*lengths)
    limit = n_ctx - answer_room(n_ctx)
    chosen = choose(said, n_ctx, "", count)
    found = texts(chosen.segments)
    kept = kept_turns(found, len(lengths))
    assert kept == list(range(len(lengths) - len(kept), len(lengths))), "the newest, without gaps"
    assert all((f"a{i} " in found) == (i in kept) for i in range(len(lengths))), "whole turns"
    assert "last" in found
    assert "Be brief." in found
    assert chosen.total == tokens(chosen.segments) <= limit
    assert chosen.first == 2 * (len(lengths) - len(kept))
    if kept != list(range(len(lengths))):
        longest = max(2 * lengths[i] + 30 for i in range(len(lengths)))
        assert 2 * (chosen.total - chosen.fixed) >= limit - chosen.fixed - 2 * longest, "no more leave than need to"


SIZES = st.builds(
    lambda told, thought: TurnSize(told, told + thought),
    st.integers(1, 400),
    st.one_of(st.just(0), st.integers(0, 900)),
)


@settings(max_examples=60)
@given(st.lists(SIZES, min_size=1, max_size=60), st.integers(0, 300), st.integers(300, 3000), st.data())
def test_what_has_left_stays_away(past: list[TurnSize], fixed: int, limit: int, data: st.DataObject) -> None:
    """Also as a turn grows: from its question to its last token, and then without its reasoning."""
    left = [0]
    for i, turn in enumerate(past):
        question = data.draw(st.integers(1, turn.peak))
        left += [first_kept(fixed, past[:i], now, limit) for now in (question, turn.peak)]
    assert all(one <= later for one, later in pairwise(left))


@settings(max_examples=40)
@given(st.lists(st.integers(1, 50), min_size=40, max_size=120), st.integers(0, 200))
def test_the_beginning_of_the_prompts_stays_the_same_for_many_turns(lengths: list[int], fixed: int) -> None:
    limit, space = fixed + 1000, 1000
    past = [TurnSize(n, n) for n in lengths]
    cuts = [first_kept(fixed, past[:i], min(10, lengths[i]), limit) for i in range(len(past))]
    changes = [i for i, (one, later) in enumerate(pairwise(cuts)) if one != later]
    for one, later in pairwise(changes):
        assert sum(lengths[one:later]) >= space / 2 - 2 * 50 - 10, "half of the room is filled before any leave again"
    assert len(changes) <= sum(lengths) / (space / 2 - 110)


def test_negative_control_dropping_the_fewest_changes_the_beginning_with_every_turn() -> None:
    lengths = [50] * 60

    def fewest(i: int) -> int:
        return next(c for c in range(i + 1) if sum(lengths[c:i]) + 10 <= 1000)

    cuts = [fewest(i) for i in range(60)]
    assert sum(a != b for a, b in pairwise(cuts)) == 40
    ours = [first_kept(0, [TurnSize(50, 50)] * i, 10, 1000) for i in range(60)]
    assert sum(a != b for a, b in pairwise(ours)) == 4


def test_prompts_of_a_long_conversation_begin_alike() -> None:
    lengths = [40] * 50
    prompts = [choose(turns(*lengths[:i], thought=20), 3000, "v", count).segments for i in range(50)]
    alike = [one[:-6] == later[: len(one) - 6] for one, later in pairwise(prompts)]  # all but the last question
    assert (alike.count(False), alike[0]) == (3, True)


def test_pinned_messages_stay_where_they_were() -> None:
    said = turns(*[100] * 10, pinned=(1, 2))
    chosen = choose(said, 1000, "", count)
    found = texts(chosen.segments)
    assert chosen.first >= 8
    assert [word in found for word in ("q0 ", "a0 ", "q1 ", "a1 ")] == [False, True, True, False], "what is pinned"
    assert found.index("a0 ") < found.index("q1 ") < found.index(f"q{chosen.first // 2} ")
    assert chosen.total == tokens(chosen.segments) <= 1000 - answer_room(1000)
    assert (
        chosen.pinned
        == 2 * 100
        + 2
        + tokens(render(history(assistant("x"), user("x")).prompt))
        - tokens(render(history().prompt))
        - 2
    ), "the words of both, and what is around them"


def test_what_is_pinned_takes_the_room_of_others() -> None:
    few = choose(turns(*[60] * 20, pinned=range(6)), 1000, "", count)
    many = choose(turns(*[60] * 20), 1000, "", count)
    assert few.first >= many.first
    assert few.total <= few.limit


def test_a_message_that_alone_is_too_long_is_refused_with_the_numbers() -> None:
    said = history(user("early"), assistant("x"), user("w " * 5000))
    with pytest.raises(UserError) as raised:
        fit(said, 2048, "", count)
    arguments = dict(raised.value.info.arguments)
    assert int(arguments["tokens"]) > 5000
    assert arguments["n_ctx"] == "2048"
    fits = int(arguments["fits"])
    around = int(arguments["tokens"]) - 5000
    assert texts(fit(history(user("w " * (fits - around))), 2048, "", count)).count("w ") == fits - around
    with pytest.raises(UserError):
        fit(history(user("w " * (fits - around + 1))), 2048, "", count)


def test_pinned_messages_that_leave_no_room_are_named() -> None:
    said = history(user("w " * 1200), assistant("x"), user("w " * 500), pinned=[0])
    with pytest.raises(UserError, match="unpin"):
        fit(said, 2048, "", count)
    assert "unpin" not in fit(replace(said, pinned=frozenset()), 2048, "", count)


def test_an_answer_that_has_filled_the_context_makes_older_turns_leave_and_then_ends() -> None:
    said = turns(*[100] * 3)
    short = choose(said, 1000, "v", count, tuple(range(10)))
    long = choose(said, 1000, "v", count, tuple(range(500)))
    assert (short.first, long.first) == (0, 6)
    assert long.segments[-1] == Ids(tuple(range(500)))
    with pytest.raises(UserError, match="filled the context"):
        fit(said, 1000, "v", count, tuple(range(800)))


def test_reasoning_that_no_answer_followed_is_counted() -> None:
    """It stays in the prompt until there is one, so more turns leave than the lengths of all would say."""
    cut = Message(Role.ASSISTANT, (ReasoningPart("hm " * 600),))
    said = history(user("w " * 50), assistant("x"), user("q"), cut, user("last"))
    chosen = choose(said, 1000, "", count)
    assert chosen.total == tokens(chosen.segments) <= chosen.limit
    assert fit(history(user("q"), cut, user("last")), 1000, "", count) == render(
        history(user("q"), cut, user("last")).prompt
    )


def test_most_tokens_is_an_upper_bound_of_bytes() -> None:
    assert most_tokens((Special("<|start|>"), Text("aé"), Ids((1, 2, 3)))) == 1 + 3 + 3
