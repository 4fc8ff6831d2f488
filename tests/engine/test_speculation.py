"""Guesses and what is paid for them: by themselves, without a model."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.engine.llama import MOST_ROWS
from inglenook.engine.speculation import MOST, Adaptive, Costs, Lookup


def text(seed: int, count: int, kinds: int = 5000) -> list[int]:
    source = random.Random(seed)
    return [50 + source.randrange(kinds) for _ in range(count)]


TEXT = text(0, 400)


def said(*parts: list[int]) -> Lookup:
    """After the first part as the prompt and the others token by token."""
    lookup = Lookup(parts[0])
    for part in parts[1:]:
        for token in part:
            lookup.add(token)
    return lookup


def test_a_draft_fits_an_evaluation():
    assert MOST + 1 == MOST_ROWS


def test_what_came_before_is_found_in_prompt_and_answer():
    lookup = said(TEXT, TEXT[100:103])
    assert lookup.length == 3
    assert lookup.draft(5) == TEXT[103:108]
    answer = [7, 8, 9, 10, 11]
    lookup = said(TEXT, answer, TEXT[3:9], answer[:3])
    assert lookup.draft(2) == [10, 11]
    assert said(TEXT, TEXT[100:102], [1]).length == 0
    assert said([], [1, 2], [1, 2]).length == 0, "two tokens are not enough"


def test_a_repetition_is_followed_where_it_is():
    """Not where the same tokens came last."""
    twice = [1, 2, 3, 4, 5, 6, 1, 2, 3, 9]
    lookup = said(twice, [30, 40, 4, 5, 6, 1, 2, 3])
    assert lookup.draft(1) == [9]
    assert lookup.length == 6


def test_what_repeats_itself_at_once_is_drafted_on():
    assert said([], [1, 2, 3, 1, 2, 3]).draft(8) == [1, 2, 3, 1, 2, 3, 1, 2]
    assert said([], [5, 5, 5, 5]).draft(4) == [5, 5, 5, 5]


@pytest.mark.parametrize(
    ("instead", "goes_on"),
    [([9], 111), ([9, 8], 110), ([], 112), ([*range(20)], 111)],
    ids=["one", "more", "less", "many"],
)
def test_after_an_edit_it_is_found_again_by_one_token(instead: list[int], goes_on: int):
    lookup = said(TEXT, TEXT[90:110], instead, TEXT[goes_on : goes_on + 1])
    assert lookup.draft(4) == TEXT[goes_on + 1 : goes_on + 5]
    assert lookup.length == 1, "the control: three would have been found anyhow"


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=80))
def test_what_is_said_to_match_does(prompt: list[int], answer: list[int]):
    lookup, tokens = Lookup(prompt), list(prompt)
    for token in answer:
        lookup.add(token)
        tokens.append(token)
        if length := lookup.length:
            source = lookup._source
            assert 0 < source < len(tokens)
            assert tokens[max(0, source - length) : source] == tokens[-min(length, source) :]
            draft = lookup.draft(6)
            assert (tokens + draft)[source : source + 6] == draft


def test_how_often_a_guess_is_right_is_counted_without_drafts():
    lookup = said(TEXT, TEXT[100:300])
    assert lookup.likelihood(20) > 0.97
    source = random.Random(1)
    for _ in range(100):
        start = source.randrange(300)
        for token in [*TEXT[start : start + 4], source.randrange(6000, 9000)]:
            lookup.add(token)
    assert lookup.likelihood(4) < 0.2


class Run:
    """A generation of which the costs are known: what it takes beside plain decoding, in plain steps."""

    def __init__(self, costs: Costs, ratios: list[float], seed: int = 0) -> None:
        self.costs, self.ratios = costs, ratios
        self.source = random.Random(seed)
        self.drafted = self.steps = 0
        self.last = 1

    def step(self, size: int) -> float:
        """Seconds, with the noise of a machine that does something else, too; more after one of another size."""
        other, self.last = size != self.last, size
        return 0.05 * (self.ratios[size - 1] + 0.2 * other) * self.source.choice((0.95, 1.0, 1.0, 1.05, 1.1))

    def run(self, prompt: list[int], answer: list[int]) -> float:
        """Plain time of it all by the time that it took."""
        lookup, policy = Lookup(prompt), Adaptive(self.costs)
        plain = took = 0.0
        at = 0
        while at < len(answer):
            lookup.add(answer[at])
            draft = lookup.draft(policy.length(lookup))
            came = 1
            while came <= len(draft) and answer[at + came : at + came + 1] == draft[came - 1 : came]:
                lookup.add(answer[at + came])
                came += 1
            seconds = self.step(len(draft) + 1)
            policy.measured(len(draft) + 1, came, seconds)
            plain += sum(0.05 * self.source.choice((0.95, 1.0, 1.0, 1.05, 1.1)) for _ in range(came))
            took += seconds
            at += came
            self.drafted += len(draft)
            self.steps += 1
        return plain / took


FLAT = [1.0 + 0.03 * i for i in range(9)]
LINEAR = [1.0 + 0.35 * i for i in range(9)]
USELESS = [1.0 + 1.0 * i for i in range(9)]
STEEP = [1.0, *(4.0 + 0.1 * i for i in range(8))]  # it pays for long drafts only
HOPELESS = [1.0, *(3.0 + i for i in range(8))]  # worse than one by one


def test_it_gains_where_it_can():
    answer = text(1, 1200)
    assert Run(Costs(), FLAT).run(answer, answer) > 3.5
    assert Run(Costs(), LINEAR).run(answer, answer) > 1.6


def test_it_loses_next_to_nothing_where_it_cannot():
    answer = text(1, 1500)
    for ratios in (USELESS, HOPELESS):
        costs = Costs()
        for again in range(3):
            run = Run(costs, ratios, again)
            assert run.run(answer, answer) > 0.97
    assert run.drafted < 200, "of 1,500 that could have been"
    noise = Run(Costs(), FLAT)
    assert noise.run(text(2, 500), text(3, 1500)) > 0.99
    always = sum(USELESS[MOST] - 1 for _ in range(10))
    assert always > 50, "the control: ten useless drafts are fifty steps"


@given(
    st.integers(0, 10**6),
    st.sampled_from([FLAT, LINEAR, USELESS, STEEP, HOPELESS]),
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(2, 6000),
    st.integers(1, 3),
)
def test_it_never_loses_three_percent(
    seed: int, ratios: list[float], same: int, other: int, kinds: int, runs: int
) -> None:
    """Whatever the answer has of the prompt: stretches of it, with something else between them, in any vocabulary."""
    source, prompt = random.Random(seed), text(seed + 1, 400, kinds)
    costs = Costs()
    for again in range(runs):
        answer: list[int] = []
        while len(answer) < 300:
            start = source.randrange(400)
            answer += prompt[start : start + source.randint(1, same)] + text(source.randrange(99), other, kinds)
        assert Run(costs, ratios, seed + again).run(prompt, answer) > 0.97


def test_a_bad_moment_is_forgotten():
    """A machine that was busy once is not taken for one on which it never pays."""
    costs = Costs()
    for size in range(2, 10):
        costs.note(size, 20.0)
    run = Run(costs, FLAT)
    answer = text(1, 6000)
    assert run.run(answer, answer) > 1.3
    assert run.drafted
