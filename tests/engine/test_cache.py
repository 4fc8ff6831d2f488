"""The prefix cache gives what a fresh evaluation gives, where a naive rollback does not."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from inglenook.engine.cache import LOW, PrefixCache, common_prefix
from inglenook.engine.llama import Context, DecodeError, Model

BATCH = 32  # with it the window's cache has 256 cells, so that it forgets soon
N_CTX = 4096
TOLERANCE = 0.05  # of logits with a standard deviation of 3: batches of other sizes round differently
WRONG = 1.0


@dataclass
class Bench:
    """A context under test and one that always starts anew."""

    model: Model
    context: Context
    fresh: Context
    cache: PrefixCache

    def feed(self, context: Context, tokens: Sequence[int], start: int) -> None:
        for at in range(0, len(tokens), BATCH):
            context.decode(tokens[at : at + BATCH], start + at)

    def evaluate(self, prompt: Sequence[int], *, checkpoint: bool = True) -> tuple[int, npt.NDArray[np.float32]]:
        """As the engine does: reuse, evaluate the rest, checkpoint. Returns tokens reused and logits."""
        reused = self.cache.reuse(prompt)
        self.feed(self.context, prompt[reused:], reused)
        self.cache.extend(prompt[reused:])
        if checkpoint:
            self.cache.checkpoint()
        return reused, self.context.logits().copy()

    def answer(self, tokens: Sequence[int]) -> None:
        """As generated tokens come: in small steps."""
        for at in range(0, len(tokens), 4):
            self.context.decode(tokens[at : at + 4], len(self.cache))
            self.cache.extend(tokens[at : at + 4])

    def expected(self, prompt: Sequence[int]) -> npt.NDArray[np.float32]:
        self.fresh.clear()
        self.feed(self.fresh, prompt, 0)
        return self.fresh.logits().copy()


@pytest.fixture
def bench(random_llama: Model) -> Iterator[Bench]:
    context = Context(random_llama, N_CTX, 1, batch=BATCH)
    fresh = Context(random_llama, N_CTX, 1, batch=BATCH, full_window=True)
    yield Bench(random_llama, context, fresh, PrefixCache(context, random_llama.n_swa))
    context.close()
    fresh.close()


def tokens(source: random.Random, count: int) -> list[int]:
    return [source.randrange(256) for _ in range(count)]


def test_naive_rollback_is_silently_wrong(bench: Bench):
    """The control: llama.cpp reports success, and the logits are others."""
    source = random.Random(1)
    prompt, question = tokens(source, 900), tokens(source, 20)
    bench.feed(bench.context, prompt, 0)
    bench.context.remove_from(400)
    bench.feed(bench.context, question, 400)  # raises nothing
    naive = bench.context.logits().copy()
    assert np.abs(naive - bench.expected(prompt[:400] + question)).max() > WRONG


def test_far_rollback_equals_fresh_evaluation(bench: Bench):
    source = random.Random(1)
    prompt, question = tokens(source, 900), tokens(source, 20)
    bench.evaluate(prompt)
    reused, logits = bench.evaluate(prompt[:400] + question)
    assert reused == 0  # nothing to go back to
    assert np.abs(logits - bench.expected(prompt[:400] + question)).max() < TOLERANCE


def test_checkpoint_saves_the_evaluation(bench: Bench):
    source = random.Random(2)
    prompt, reasoning, question = tokens(source, 400), tokens(source, 500), tokens(source, 20)
    bench.evaluate(prompt)
    bench.answer(reasoning)
    reused, logits = bench.evaluate(prompt + question)
    assert reused == 400
    assert np.abs(logits - bench.expected(prompt + question)).max() < TOLERANCE


def test_regenerate_evaluates_one_token(bench: Bench):
    source = random.Random(3)
    prompt = tokens(source, 500)
    _, first = bench.evaluate(prompt)
    bench.answer(tokens(source, 400))
    reused, again = bench.evaluate(prompt)
    assert reused == 499
    assert np.abs(again - first).max() < TOLERANCE


def test_short_rollback_needs_no_checkpoint(bench: Bench):
    source = random.Random(4)
    prompt = tokens(source, 600)
    bench.evaluate(prompt, checkpoint=False)
    changed = prompt[:580] + tokens(source, 10)
    reused, logits = bench.evaluate(changed)
    assert reused == common_prefix(prompt, changed)
    assert np.abs(logits - bench.expected(changed)).max() < TOLERANCE


def test_turns_with_dropped_reasoning_reuse_the_earlier_prompt(bench: Bench):
    source = random.Random(5)
    history = tokens(source, 60)
    bench.evaluate(history)
    for _ in range(6):
        before = len(history)
        reasoning, final, question = tokens(source, 300), tokens(source, 40), tokens(source, 30)
        bench.answer(reasoning + final)
        history = history + final + question
        reused, logits = bench.evaluate(history)
        assert reused == before
        assert np.abs(logits - bench.expected(history)).max() < TOLERANCE


def worst_of_a_sequence(bench: Bench, seed: int) -> float:
    """Edits, regenerations, branches, dropped reasoning, stops in mid-prompt, in random order.

    Returns the greatest difference of a logit from a fresh evaluation.
    """
    source = random.Random(seed)
    prompts = [tokens(source, source.randint(1, 400))]
    saved, worst = 0, 0.0
    for _ in range(10):
        base = source.choice(prompts[-4:])
        keep = source.choice((len(base), source.randint(0, len(base)), max(0, len(base) - source.randint(0, 40))))
        prompt = (base[:keep] + tokens(source, source.randint(1, 200)))[: N_CTX - 600]
        if source.random() < 0.3:
            stop_in_mid_prompt(bench, prompt, source)
        reused, logits = bench.evaluate(prompt, checkpoint=source.random() < 0.8)
        saved += reused
        assert reused < len(prompt)
        worst = max(worst, float(np.abs(logits - bench.expected(prompt)).max()))
        answer = tokens(source, source.randint(0, 300))
        bench.answer(answer)
        prompts += [prompt, (prompt + answer)[: N_CTX - 600]]
    assert saved > 0
    return worst


@pytest.mark.parametrize("seed", range(4))
def test_any_sequence_equals_fresh_evaluation(bench: Bench, seed: int):
    assert worst_of_a_sequence(bench, seed) < TOLERANCE


def test_the_same_sequences_with_naive_rollbacks_do_not(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(PrefixCache, "_covers", lambda *_: True)
    assert any(worst_of_a_sequence(bench, seed) > WRONG for seed in reversed(range(4)))  # the last is the worst


def stop_in_mid_prompt(bench: Bench, prompt: list[int], source: random.Random) -> None:
    """A prefill that is aborted in one of its batches."""
    done = bench.cache.reuse(prompt)
    stop = source.randint(done, len(prompt))
    while done < stop:
        part = prompt[done : min(done + BATCH, stop)]
        bench.context.decode(part, done)
        bench.cache.extend(part)
        done += len(part)
    if done < len(prompt):
        bench.context.abort()
        with pytest.raises(DecodeError) as caught:
            bench.context.decode(prompt[done : done + BATCH], done)
        assert caught.value.code == 2
        bench.context.resume()
        bench.cache.after_failure()
        assert len(bench.cache) == done


def test_checkpoints_stay_in_their_budget(random_llama: Model):
    context = Context(random_llama, N_CTX, 1, batch=BATCH)
    context.decode([1, 2, 3], 0)
    size = len(context.save_window())
    context.clear()
    cache = PrefixCache(context, random_llama.n_swa, budget=40 * size)
    for i in range(300):
        context.decode_one(i % 256, i)
        cache.append(i % 256)
        cache.checkpoint()
    kept = cache._checkpoints
    assert sum(len(c.state) for c in kept) <= 40 * size
    assert kept[-1].length == 300
    context.close()


def test_cache_that_lost_step_is_emptied(bench: Bench):
    bench.evaluate([1, 2, 3])
    bench.cache.extend([4])  # never evaluated
    bench.cache.after_failure()
    assert len(bench.cache) == 0
    assert bench.context.last_position() == -1


@pytest.mark.parametrize(
    ("a", "b", "length"),
    [([], [1], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2], 2), ([1, 5], [1, 6], 1), ([3], [4], 0)],
)
def test_common_prefix(a: list[int], b: list[int], length: int):
    assert common_prefix(a, b) == length


def test_checkpoints_make_room_when_memory_is_short(random_llama: Model):
    """They shrink to what there is, the latest stays, and come back when there is room again."""
    free = 3 * LOW
    context = Context(random_llama, 1024, 1)
    cache = PrefixCache(context, random_llama.n_swa, available=lambda: free)
    size = 0

    def fill() -> None:
        nonlocal size
        for _ in range(10):
            token = len(cache) % 200 + 1
            context.decode([token], len(cache))
            cache.append(token)
            cache.checkpoint()
            size = max(size, len(context.save_window()))

    fill()
    assert cache.checkpoint_bytes > 5 * size
    free = LOW - cache.checkpoint_bytes + 3 * size  # what is lacking is to come from the checkpoints
    prompt = [*cache.tokens, 1]
    assert cache.reuse(prompt) == len(prompt) - 1
    assert 2 * size < cache.checkpoint_bytes <= 3 * size
    free = 0
    cache.reuse(prompt)
    assert 0 < cache.checkpoint_bytes <= size
    free = 3 * LOW
    cache.reuse(prompt)
    fill()
    assert cache.checkpoint_bytes > 5 * size
    context.close()
