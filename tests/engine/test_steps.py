"""Drafts change nothing of what is said: not the logits, not what is sampled, not the cache, whatever happens."""

from __future__ import annotations

import copy
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.test_constrain import constraint
from tests.engine.test_engine import GREEDY, PROMPT
from tests.engine.test_inject import WAY_OUT, Line

from inglenook.core.events import Finished, StopReason
from inglenook.core.inference import GenerateRequest, ModelSpec, Sampling
from inglenook.core.prompt import Segment, Special, Text
from inglenook.engine import llama
from inglenook.engine.cache import PrefixCache
from inglenook.engine.generating import Aside, Generating, JobCancelled
from inglenook.engine.loaded import Loaded
from inglenook.engine.protocol import Inject, Run
from inglenook.engine.sampling import Sampler
from inglenook.engine.schedule import ClientLine, Job
from inglenook.engine.speculation import MOST, Adaptive, Costs, Lookup
from inglenook.engine.steps import Policy, Steps

Logits = npt.NDArray[np.float32]
TIE = 0.05  # of logits with a standard deviation of 3: so much may the rounding of batches move one
WRONG = 1.0


class Eager:
    """Drafts wherever there is a guess, of any length; counts what came of it."""

    def __init__(self, seed: int = 0) -> None:
        self.source = random.Random(seed)
        self.accepted = self.drafted = 0

    def spent(self, seconds: float) -> None:
        """Time is of no interest."""

    def measured(self, size: int, came: int, seconds: float) -> None:
        self.drafted += size - 1
        self.accepted += came - 1

    def length(self, lookup: Lookup) -> int:
        return self.source.randint(1, MOST) if lookup.length else 0


class Knowing(Eager):
    """Drafts what will be said, at every token, with an error now and then: the random model repeats nothing."""

    def __init__(self, before: int, answer: Sequence[int], seed: int = 0) -> None:
        super().__init__(seed)
        self.before, self.answer = before, answer

    def length(self, lookup: Lookup) -> int:
        at = len(lookup._tokens) - self.before
        guess = [*self.answer[at : at + MOST], *self.source.choices(range(256), k=MOST)][:MOST]
        if self.source.random() < 0.6:
            guess[self.source.randrange(MOST)] = self.source.randrange(256)
        lookup.draft = lambda count: guess[:count]  # type: ignore[method-assign]
        return self.source.randint(0, MOST)


# Without a model: a context whose logits depend on all that came before, and on nothing else.


class Exact:
    """Refuses positions that do not follow, as llama.cpp does."""

    def __init__(self, n_vocab: int = 12, batch: int = 512) -> None:
        self.n_vocab, self.batch_size = n_vocab, batch
        self.tokens: list[int] = []
        self.rows: list[Logits] = []

    def decode_one(self, token: int, position: int) -> None:
        self.decode_rows([token], position)

    def decode_rows(self, tokens: Sequence[int], position: int) -> None:
        assert position == len(self.tokens)
        assert 0 < len(tokens) <= min(self.batch_size, MOST + 1)
        self.rows = []
        for token in tokens:
            self.tokens.append(token)
            source = np.random.default_rng(zlib.crc32(bytes(self.tokens[-2:])))
            self.rows.append((source.standard_normal(self.n_vocab) * 3).astype(np.float32))

    def logits(self, row: int = -1) -> Logits:
        return self.rows[row]

    def remove_from(self, position: int) -> None:
        del self.tokens[position:]


def say(sampling: Sampling, count: int, policy: Policy | None, batch: int = 512) -> list[int]:
    """An answer of so many tokens."""
    context = Exact(batch=batch)
    cache = PrefixCache(cast(Any, context), 0)
    context.decode_one(1, 0)
    cache.append(1)
    steps, sampler, said = Steps(context, cache, policy), Sampler(sampling, context.n_vocab), []
    while len(said) < count:
        said.append(sampler.pick(steps.logits()))
        assert list(cache.tokens) == [1, *said[:-1]]
        if len(said) < count:
            steps.take(said[-1], count - len(said))
            assert context.tokens[: len(cache)] == list(cache.tokens)
    assert len(context.tokens) <= count, "nothing is drafted for which there is no room"
    steps.drop()
    assert context.tokens == list(cache.tokens) == [1, *said[:-1]]
    return said


@settings(max_examples=40)
@given(
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([1.0, 0.7]),
    st.integers(1, 300),
    st.sampled_from([1, 2, 5, 512]),
)
def test_a_seed_gives_the_same_with_and_without(seed: int, temperature: float, top_p: float, count: int, batch: int):
    """Where logits agree: the same random numbers go to the same tokens."""
    sampling = Sampling(temperature, top_p, seed=seed)
    assert say(sampling, count, Eager(seed), batch) == say(sampling, count, None)
    assert say(sampling, count, Adaptive(Costs()), batch) == say(sampling, count, None)


def test_drafts_are_taken_and_refused_there():
    eager = Eager()
    say(Sampling(0.3, seed=1), 400, eager)
    assert 50 < eager.accepted < eager.drafted - 50


# The random model: its window is 16 tokens, and with batches of 32 its cache forgets after 256.


def scripted(seed: int, count: int) -> list[int]:
    """Tokens that repeat others before them, with edits."""
    source = random.Random(seed)
    tokens = [source.randrange(256) for _ in range(60)]
    while len(tokens) < count:
        start = source.randrange(max(0, len(tokens) - 300), len(tokens) - 20)
        part = tokens[start : start + source.randint(4, 60)]
        for _ in range(source.randint(0, 4)):
            part[source.randrange(len(part))] = source.randrange(256)
        tokens += part
    return tokens[:count]


def worst_of(model: llama.Model, seed: int, n_ctx: int = 2048) -> tuple[float, Eager]:
    """The greatest difference of a logit from a fresh evaluation, in an answer with drafts, drops and put-in tokens."""
    context = llama.Context(model, n_ctx, 1, batch=32)
    fresh = llama.Context(model, n_ctx, 1, batch=32, full_window=True)
    cache, eager = PrefixCache(context, model.n_swa), Eager(seed)
    source, script = random.Random(seed), scripted(seed, 900)
    context.decode(script[:30], 0)
    cache.extend(script[:30])
    steps, at, done, worst = Steps(context, cache, eager), 30, 0, 0.0
    while at < len(script):
        if source.random() < 0.02:
            steps.drop()
            part = script[at : at + 5]
            context.decode(part, at)
            cache.extend(part)
            steps.put_in(part)
            at += len(part)
        else:
            steps.take(script[at], len(script) - at)
            at += 1
        if at % 500 == 0:
            fresh.clear()
            done = 0
        while done < at:  # token by token as they come, but for the two times when it begins anew
            end = min(done + 32, at)
            fresh.decode(script[done:end], done)
            done = end
        worst = max(worst, float(np.abs(steps.logits() - fresh.logits()).max()))
    steps.drop()
    assert context.last_position() == len(cache) - 1
    context.close()
    fresh.close()
    return worst, eager


@pytest.mark.parametrize("seed", range(2))
def test_logits_are_those_of_a_fresh_evaluation(random_llama: llama.Model, seed: int):
    worst, eager = worst_of(random_llama, seed)
    assert worst < TIE
    assert 100 < eager.accepted < eager.drafted - 100, "both come often"


def test_another_row_is_noticed(random_llama: llama.Model, monkeypatch: pytest.MonkeyPatch):
    """The control."""
    monkeypatch.setattr(Steps, "logits", lambda self: self._context.logits(0 if self._row > 0 else self._row))
    assert worst_of(random_llama, 0)[0] > WRONG


# A whole generation by the random model, in this process, so that a test decides what comes when.


class Bench:
    """Generations of one loaded model with and without drafts."""

    def __init__(self, file: Path, prompt: tuple[Segment, ...], n_ctx: int = 2048, tie: float = TIE) -> None:
        self.tie = tie
        found = file.stat()
        self.spec = ModelSpec(str(file), n_ctx=n_ctx, gpu_layers=0, threads=1)
        self.loaded = Loaded((self.spec, found.st_size, found.st_mtime_ns), lambda _: True)
        self.request = GenerateRequest(self.spec, prompt, GREEDY, max_tokens=300, ignore_stop=True)
        self.prompt = self.loaded.vocabulary.tokenizer.tokenize(prompt)

    def run(self, policy: Policy | None, line: Line | None = None, **changes: Any) -> tuple[list[int], Finished]:
        """What was said, after a check that the cache holds it and nothing else."""
        line = line or Line()
        request = replace(self.request, speculate=False, **changes)
        job = Job(ClientLine(cast(Any, line)), Run(1, request))
        end = Generating(line, job, request, self.loaded, policy=policy).run()
        cache, context = self.loaded.cache, self.loaded.context
        said = [*self.prompt, *line.ids]
        assert list(cache.tokens) == said[: len(cache)]
        assert len(said) - 1 <= len(cache) <= len(said)
        assert context.last_position() == len(cache) - 1
        assert end.stats.output_tokens == len(line.ids)
        return line.ids, end

    def knowing(self, answer: list[int], seed: int = 0) -> Knowing:
        return Knowing(len(self.prompt), answer, seed)

    def check(self, drafted: list[int], plain: list[int], sampling: Sampling = GREEDY) -> bool:
        """That both are equal, or differ from a tie on: there, either may come of rounding. Whether they are equal."""
        if drafted == plain:
            return True
        at = next(i for i, (a, b) in enumerate(zip(drafted, plain, strict=False)) if a != b)
        context = llama.Context(self.loaded.model, 2048, 1)
        tokens = [*self.prompt, *plain[:at]]
        sampler = Sampler(sampling, self.loaded.model.n_vocab)
        for start in range(0, len(tokens), 512):
            context.decode(tokens[start : start + 512], start)
        logits = context.logits().copy()
        context.close()
        for _ in range(at):
            sampler.pick(logits)
        noise = np.random.default_rng(0)
        near = [logits + noise.uniform(-self.tie, self.tie, logits.size).astype(np.float32) for _ in range(200)]
        found = {copy.deepcopy(sampler).pick(some) for some in near}
        if sampling != GREEDY:  # ids lie in this order on the line on which a random number falls
            found = set(range(min(found), max(found) + 1))
        assert {drafted[at], plain[at]} <= found, "no tie"
        return False


@pytest.fixture(scope="module")
def bench(random_gguf: Path) -> Iterator[Bench]:
    llama.start()
    made = Bench(random_gguf, (*PROMPT, Special("<|message|>"), Text("abcabcabd" * 20)))
    yield made
    made.loaded.close()


@pytest.mark.parametrize("sampling", [GREEDY, *(Sampling(0.2 + 0.2 * i, seed=i) for i in range(5))], ids=str)
def test_a_generation_says_the_same(bench: Bench, sampling: Sampling):
    plain, plain_end = bench.run(None, sampling=sampling)
    knowing = bench.knowing(plain)
    drafted, end = bench.run(knowing, sampling=sampling)
    bench.check(drafted, plain, sampling)
    assert (end.reason, len(drafted)) == (plain_end.reason, len(plain)) == (StopReason.LENGTH, 300)
    assert 10 < knowing.accepted < knowing.drafted - 10
    with pytest.raises(AssertionError, match="no tie"):  # the control
        bench.check([*plain[:-1], (plain[-1] + 100) % 256], plain, sampling)


def test_any_length_ends_there(bench: Bench):
    plain, _ = bench.run(None)
    for most in range(1, 40):
        drafted, end = bench.run(bench.knowing(plain, most), max_tokens=most)
        bench.check(drafted, plain[:most])
        assert (len(drafted), end.reason) == (most, StopReason.LENGTH)


def test_a_stop_token_within_a_draft(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    plain, _ = bench.run(None)
    for stop in dict.fromkeys(plain[::7]):
        monkeypatch.setitem(bench.loaded.model.__dict__, "stops", frozenset({stop}))
        drafted, end = bench.run(bench.knowing(plain, stop), ignore_stop=False)
        assert end.reason is StopReason.STOP
        assert drafted.index(stop) == len(drafted) - 1
        bench.check(drafted, plain[: len(drafted)])


class Cancelling(Line):
    """Cancels between two tokens."""

    def between(self, job: Job, work: Aside) -> None:
        if len(self.ids) == self.at:
            raise JobCancelled


def test_cancelled_between_any_two_tokens(bench: Bench):
    """What was evaluated stays, and the next generation goes on as if nothing had been."""
    plain, _ = bench.run(None)
    for at in range(1, 16):
        line = Cancelling()
        line.at = at
        drafted, end = bench.run(bench.knowing(plain, at), line)
        assert (len(drafted), end.reason) == (at, StopReason.CANCELLED)
        bench.check(drafted, plain[:at])
        again, end = bench.run(None)
        bench.check(again, plain)
        assert end.stats.cached_tokens == len(bench.prompt) - 1


def test_tokens_put_in_within_a_draft(bench: Bench):
    put_in, untouched = 0, bench.run(None, max_tokens=150)[0]
    for at in range(0, 60, 6):
        lines = Line(), Line()
        for line in lines:
            line.at, line.injection = at, Inject(1, WAY_OUT, at)
        plain, _ = bench.run(None, lines[0], max_tokens=150)
        drafted, _ = bench.run(bench.knowing(plain, at), lines[1], max_tokens=150)
        bench.check(drafted, plain)
        put_in += plain != untouched
    assert put_in > 4


def test_the_end_of_the_context(bench: Bench, random_gguf: Path):
    small = Bench(random_gguf, (*PROMPT, Special("<|message|>"), Text("abcabcabd" * 20)), n_ctx=256)
    assert small.loaded.context.n_ctx - len(small.prompt) < 300
    plain, _ = small.run(None, max_tokens=0)
    drafted, end = small.run(small.knowing(plain), max_tokens=0)
    assert end.reason is StopReason.CONTEXT
    assert len(drafted) == small.loaded.context.n_ctx - len(small.prompt)
    small.check(drafted, plain)
    small.loaded.close()


def test_an_answer_by_a_grammar(random_gguf: Path):
    head = (Special("<|start|>"), Text("assistant"), Special("<|channel|>"), Text("final"), Special("<|message|>"))
    bench = Bench(random_gguf, (Text("abab abba abab " * 9), *head))
    grammar = 'root ::= "\\"" ("abab " | "abba " | "c")+ "\\""'
    eager = Eager()
    for sampling in (GREEDY, Sampling(seed=1), Sampling(seed=2)):
        held = {"constraint": constraint(grammar), "sampling": sampling, "ignore_stop": False}
        drafted, _ = bench.run(eager, **held)
        plain, _ = bench.run(None, **held)
        text = b"".join(map(bench.loaded.model.piece, drafted))
        assert set(text.removesuffix(b"<|return|>")) <= set(b'"abc ')
        if sampling == GREEDY:
            assert drafted == plain
    assert eager.accepted > 20
    bench.loaded.close()


# The demo model: its window is 128 tokens, as gpt-oss's is.


def test_the_demo_model_says_the_same_beyond_its_window(demo_gguf: Path):
    question = (Special("<|start|>"), Text("user"), Special("<|message|>"), Text("Count to ten. " * 12))
    bench = Bench(demo_gguf, (*question, Special("<|end|>"), Special("<|start|>"), Text("assistant")), tie=WRONG / 2)
    context, window = bench.loaded.context, bench.loaded.model.n_swa
    assert window == 128

    def answer(policy: Policy | None) -> tuple[list[int], Logits]:
        """From an empty cache: the same prompt in batches of other sizes moves the logits of this model by 0.6."""
        bench.loaded.cache.clear()
        said, _ = bench.run(policy, max_tokens=3 * window)
        context.decode_one(said[-1], len(bench.loaded.cache))
        return said, context.logits().copy()

    plain, expected = answer(None)
    knowing = bench.knowing(plain)
    for policy in (knowing, Adaptive(bench.loaded.costs)):
        drafted, logits = answer(policy)
        if bench.check(drafted, plain):
            assert np.abs(logits - expected).max() < WRONG / 2
    assert 100 < knowing.accepted < knowing.drafted - 50
    bench.loaded.close()
