"""Conversations by turns go on from states in main memory, with the logits of a fresh evaluation."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from tests.engine.test_cache import BATCH, N_CTX, TOLERANCE, Bench, tokens

from inglenook.engine.cache import LOW, WORTH, PrefixCache
from inglenook.engine.llama import Context, Model

USER = [7, 3]  # that a message of the user begins with, here
Make = Callable[..., Bench]


@pytest.fixture
def make(random_llama: Model) -> Iterator[Make]:
    """Benches with caches of other options."""
    context = Context(random_llama, N_CTX, 1, batch=BATCH)
    fresh = Context(random_llama, N_CTX, 1, batch=BATCH, full_window=True)

    def make(**options: object) -> Bench:
        context.clear()
        cache = PrefixCache(context, random_llama.n_swa, **{"turn": USER, **options})  # type: ignore[arg-type]
        return Bench(random_llama, context, fresh, cache)

    yield make
    context.close()
    fresh.close()


def chat(source: random.Random, *lengths: int) -> list[int]:
    """Messages of the user of so many tokens."""
    said: list[int] = []
    for length in lengths:
        said += USER + tokens(source, length - len(USER))
    return said


def check(bench: Bench, prompt: Sequence[int]) -> int:
    """Evaluates, compares with a fresh evaluation and returns how much was reused."""
    reused, logits = bench.evaluate(prompt)
    assert np.abs(logits - bench.expected(prompt)).max() < TOLERANCE
    return reused


def test_three_conversations_by_turns_are_evaluated_once(make: Make) -> None:
    bench, source = make(), random.Random(1)
    chats = [chat(source, 500 + 40 * i) for i in range(3)]
    for said in chats:
        check(bench, said)
    for _ in range(2):
        for i, said in enumerate(chats):
            longer = said + chat(source, 30)
            assert check(bench, longer) == len(said), "all of it was there"
            chats[i] = longer


def test_without_them_each_is_evaluated_anew(make: Make) -> None:
    """The control."""
    bench, source = make(turn=()), random.Random(1)
    first, second = chat(source, 500), chat(source, 500)
    check(bench, first)
    check(bench, second)
    assert check(bench, first + chat(source, 30)) == 0


def test_a_kept_conversation_can_be_gone_back_in(make: Make) -> None:
    """Its reasoning is dropped in the next turn: its checkpoints came back with it."""
    bench, source = make(), random.Random(2)
    asked, other = chat(source, 400), chat(source, 500)
    check(bench, asked)
    bench.answer(tokens(source, 500))
    check(bench, other)
    assert check(bench, asked + tokens(source, 40) + chat(source, 30)) == 400
    assert check(bench, other + chat(source, 20)) == 500


def test_a_branch_is_kept_and_an_answer_is_not(make: Make) -> None:
    bench, source = make(), random.Random(3)
    start = chat(source, 300)
    long = start + chat(source, 400)
    check(bench, start)
    bench.answer(tokens(source, 400))
    check(bench, start)  # again: the answer goes
    assert bench.cache.kept_bytes == 0
    check(bench, long)
    check(bench, start + chat(source, 300))  # the second message is edited
    assert bench.cache.kept_bytes > 0
    assert check(bench, long + chat(source, 30)) == len(long), "back on the first branch"


def test_what_goes_on_takes_the_place_of_its_beginning(make: Make) -> None:
    bench, source = make(), random.Random(4)
    said = chat(source, 300)
    sizes = []
    for _ in range(4):
        check(bench, said)
        check(bench, chat(source, WORTH - 10))  # not worth it itself
        sizes.append(bench.cache.kept_bytes)
        said = said + chat(source, 20)
    assert sizes[-1] < 2 * sizes[0]


def test_they_stay_in_their_budget_and_the_oldest_goes(make: Make) -> None:
    bench, source = make(), random.Random(5)
    chats = [chat(source, 600) for _ in range(4)]
    check(bench, chats[0])
    check(bench, chats[1])
    budget = bench.cache.kept_bytes * 5 // 2
    bench = make(kept_budget=budget)
    for said in chats:
        check(bench, said)
        assert bench.cache.kept_bytes <= budget
    assert bench.cache.reusable([*chats[0], 1]) == 0
    for said in chats[1:]:
        assert bench.cache.reusable([*said, 1]) == 600


@pytest.mark.parametrize("budget", [0, 1000])
def test_too_large_ones_are_not_kept(make: Make, budget: int) -> None:
    bench, source = make(kept_budget=budget), random.Random(6)
    chats = [chat(source, 300) for _ in range(2)]
    for said in chats * 2:
        check(bench, said)
        assert bench.cache.kept_bytes == 0


def test_they_go_before_the_checkpoints_when_memory_is_short(make: Make) -> None:
    free = 3 * LOW
    bench, source = make(available=lambda: free), random.Random(7)
    for _ in range(3):
        check(bench, chat(source, 400))
    kept, checkpoints = bench.cache.kept_bytes, bench.cache.checkpoint_bytes
    assert kept > 0
    free = LOW - kept // 4
    bench.cache.heed_memory()
    assert 0 < bench.cache.kept_bytes <= kept - kept // 4
    assert bench.cache.checkpoint_bytes == checkpoints
    free = LOW - kept
    bench.cache.heed_memory()
    assert bench.cache.kept_bytes == 0
    check(bench, chat(source, 400))
    assert bench.cache.kept_bytes == 0, "there is still no room"


def test_a_state_that_llama_cpp_refuses_costs_time_only(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, source = make(), random.Random(8)
    first, second = chat(source, 400), chat(source, 400)
    check(bench, first)
    check(bench, second)
    (kept,) = bench.cache._kept
    kept.state[:] = bytes(len(kept.state))
    assert check(bench, first + chat(source, 30)) == 0


@pytest.mark.parametrize("seed", range(4))
def test_any_sequence_over_conversations_equals_fresh_evaluation(make: Make, seed: int) -> None:
    """Turns, edits, answers and branches of three conversations in any order, with memory now and then short."""
    source, free = random.Random(seed), 3 * LOW
    bench = make(available=lambda: free, kept_budget=4 << 20)
    chats = [[chat(source, source.randint(50, 400))] for _ in range(3)]
    saved = 0
    for _ in range(12):
        free = source.choice((3 * LOW, 3 * LOW, 3 * LOW, LOW, 0))
        versions = source.choice(chats)
        base = source.choice(versions[-3:])
        keep = source.choice((len(base), len(base), source.randint(0, len(base))))
        prompt = (base[:keep] + chat(source, source.randint(2, 150)))[: N_CTX - 600]
        saved += check(bench, prompt)
        answer = tokens(source, source.randint(0, 200))
        bench.answer(answer)
        versions += [prompt, (prompt + answer)[: N_CTX - 600]]
    assert saved > 0
