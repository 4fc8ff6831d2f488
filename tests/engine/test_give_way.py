"""A request that gives way is put aside for another's turn, at any moment, and goes on as if nothing had been."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.engine.conftest import wait_until
from tests.engine.test_cache import TOLERANCE

from inglenook.core.events import Finished, Prefill, Queued, StopReason, Tokens
from inglenook.core.inference import EngineStatus, GenerateRequest, ModelSpec, Sampling
from inglenook.core.prompt import Ids, Special, Text
from inglenook.engine import llama
from inglenook.engine.client import EngineClient
from inglenook.engine.llama import Context
from inglenook.engine.protocol import Happened, Load, Run
from inglenook.engine.runner import Runner
from inglenook.engine.schedule import ClientLine, Job

GREEDY = Sampling(temperature=0.0)
Act = Callable[[], None]


class Heard:
    """A client's mailbox. `at` has what happens after so many tokens, or pieces of the prompt."""

    def __init__(self, diary: list[object]) -> None:
        self.ids: list[int] = []
        self.events: list[object] = []
        self.diary = diary
        self.at_token: dict[int, Act] = {}
        self.at_piece: dict[int, Act] = {}
        self.pieces = 0

    def put_token(self, _: int, token: int, __: bytes) -> None:
        self.ids.append(token)
        self.diary.append(self)
        self.at_token.pop(len(self.ids), lambda: None)()

    def put(self, report: Happened) -> None:
        self.events.append(report.event)
        if isinstance(report.event, Prefill):
            self.pieces += 1
            self.at_piece.pop(self.pieces, lambda: None)()
        if isinstance(report.event, Finished):
            self.diary.append((self, report.event.reason))

    @property
    def end(self) -> Finished:
        (end,) = (event for event in self.events if isinstance(event, Finished))
        return end


class Bench:
    """A runner in this thread: a test decides what comes when."""

    def __init__(self, spec: ModelSpec) -> None:
        llama.start()
        self.spec = spec
        self.published: list[EngineStatus] = []
        self.runner = Runner(self.published.append)
        self.diary: list[object] = []
        self.lines: dict[Heard, ClientLine] = {}
        self.do(self.heard(), Load(0, spec))

    @property
    def loaded(self) -> Any:
        return self.runner._loaded_now()

    def heard(self) -> Heard:
        heard = Heard(self.diary)
        self.lines[heard] = ClientLine(heard)  # type: ignore[arg-type]
        return heard

    def request(self, seed: int, prompt: int, answer: int, *, gives_way: bool = False) -> GenerateRequest:
        """Of random tokens that begin as a user's message does."""
        ids = tuple(int(i) for i in np.random.default_rng(seed).integers(0, 256, prompt))
        said = (Special("<|start|>"), Text("user"), Ids(ids))
        return GenerateRequest(self.spec, said, GREEDY, answer, ignore_stop=True, gives_way=gives_way)

    def add(self, heard: Heard, command: Run | Load) -> Job:
        job = Job(self.lines[heard], command)
        self.runner.schedule.add(job)
        return job

    def work(self) -> None:
        """All that is queued."""
        while (job := self.runner.schedule.next(0.0)) is not None:
            self.runner._work(job)

    def do(self, heard: Heard, command: Run | Load) -> Heard:
        self.add(heard, command)
        self.work()
        return heard

    def alone(self, request: GenerateRequest) -> list[int]:
        """What it says without anybody else."""
        self.loaded.cache.clear()
        said = self.do(self.heard(), Run(1, request)).ids
        self.loaded.cache.clear()
        self.diary.clear()
        return said


@pytest.fixture(scope="module")
def loaded_bench(random_gguf: Path) -> Iterator[Bench]:
    bench = Bench(ModelSpec(str(random_gguf), n_ctx=4096, threads=1))
    yield bench
    bench.runner._unload()


@pytest.fixture
def bench(loaded_bench: Bench) -> Bench:
    """With an empty diary."""
    loaded_bench.diary.clear()
    return loaded_bench


def check_order(bench: Bench, slow: Heard, *firsts: Heard) -> None:
    """Nothing of `slow` between the first token of each of `firsts` and its end."""
    for first in firsts:
        began, ended = bench.diary.index(first), bench.diary.index((first, StopReason.LENGTH))
        assert slow not in bench.diary[began:ended]
        assert ended < bench.diary.index((slow, StopReason.LENGTH))


@pytest.mark.parametrize("at", [1, 60, 299])
@pytest.mark.parametrize("speculate", [False, True])
def test_put_aside_while_it_writes(bench: Bench, at: int, speculate: bool) -> None:
    """Its state is kept whole, so that it says to the token what it says alone."""
    long = replace(bench.request(1, 200, 300, gives_way=True), speculate=speculate)
    turn = bench.request(2, 700, 20)
    expected, expected_turn = bench.alone(long), bench.alone(turn)
    slow, first = bench.heard(), bench.heard()
    slow.at_token[at] = lambda: bench.add(first, Run(1, turn)) and None
    bench.do(slow, Run(1, long))
    assert slow.ids == expected
    assert first.ids == expected_turn
    check_order(bench, slow, first)
    assert bench.diary.index(first) == at, "it did not wait for another token"
    assert slow.events.count(Queued()) == 1
    assert Queued() not in first.events


def test_one_that_does_not_give_way_is_not_put_aside(bench: Bench) -> None:
    """The control."""
    slow, second = bench.heard(), bench.heard()
    slow.at_token[5] = lambda: bench.add(second, Run(1, bench.request(2, 100, 20))) and None
    bench.do(slow, Run(1, bench.request(1, 200, 100)))
    assert bench.diary.index((slow, StopReason.LENGTH)) < bench.diary.index(second)
    assert Queued() not in slow.events
    assert second.events[0] == Queued()


def test_of_two_that_give_way_the_second_waits(bench: Bench) -> None:
    slow, second = bench.heard(), bench.heard()
    slow.at_token[5] = lambda: bench.add(second, Run(1, bench.request(2, 100, 20, gives_way=True))) and None
    bench.do(slow, Run(1, bench.request(1, 200, 100, gives_way=True)))
    assert bench.diary.index((slow, StopReason.LENGTH)) < bench.diary.index(second)


def test_another_model_waits(bench: Bench, random_gguf: Path) -> None:
    slow, second = bench.heard(), bench.heard()
    other = replace(bench.request(2, 100, 20), model=ModelSpec(str(random_gguf), n_ctx=2048, threads=1))
    slow.at_token[5] = lambda: bench.add(second, Run(1, other)) and None
    bench.do(slow, Run(1, bench.request(1, 200, 100, gives_way=True)))
    assert bench.diary.index((slow, StopReason.LENGTH)) < bench.diary.index(second)
    bench.do(bench.heard(), Load(0, bench.spec))


def test_a_load_of_the_same_model_does_not_wait(bench: Bench) -> None:
    """A window that opens."""
    slow, window = bench.heard(), bench.heard()
    slow.at_token[5] = lambda: bench.add(window, Load(1, bench.spec)) and None
    bench.do(slow, Run(1, bench.request(1, 200, 100, gives_way=True)))
    assert bench.diary.index((window, StopReason.STOP)) == 5
    assert Queued() not in [*slow.events, *window.events]


def test_what_does_not_give_way_is_not_begun_again_without_end(bench: Bench) -> None:
    """An evaluation that is broken off though nobody asked for it is told."""
    turn = bench.heard()
    turn.at_piece[2] = bench.loaded.context.abort
    bench.do(turn, Run(1, bench.request(3, 2500, 30)))
    assert turn.end.reason is StopReason.FAILED
    bench.do(bench.heard(), Load(0, bench.spec))


def test_put_aside_while_it_reads(bench: Bench) -> None:
    """Between two pieces of the prompt, and within one: that is broken off and begun again."""
    long, turn = bench.request(3, 2500, 30, gives_way=True), bench.request(4, 300, 20)
    expected, expected_turn = bench.alone(long), bench.alone(turn)
    slow, first = bench.heard(), bench.heard()
    slow.at_piece[2] = lambda: bench.add(first, Run(1, turn)) and None
    bench.do(slow, Run(1, long))
    check_order(bench, slow, first)
    assert (slow.ids, first.ids) == (expected, expected_turn)


def interrupted(bench: Bench, monkeypatch: pytest.MonkeyPatch, when: int, act: Act) -> list[int]:
    """`act` happens within the `when`th evaluation of several tokens; returns the codes of those that failed."""
    real, codes = Context.decode, list[int]()
    calls = 0

    def decode(context: Context, *arguments: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == when:
            act()
        try:
            real(context, *arguments, **options)
        except llama.DecodeError as error:
            codes.append(error.code)
            raise

    monkeypatch.setattr(Context, "decode", decode)
    return codes


def test_broken_off_while_it_reads(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    long, turn = bench.request(3, 2500, 30, gives_way=True), bench.request(4, 300, 20)
    expected = bench.alone(long)
    slow, first = bench.heard(), bench.heard()
    codes = interrupted(bench, monkeypatch, 3, lambda: bench.add(first, Run(1, turn)) and None)
    bench.do(slow, Run(1, long))
    assert codes == [llama.ABORTED]
    check_order(bench, slow, first)
    assert slow.ids == expected


def right(bench: Bench, request: GenerateRequest, said: list[int]) -> bool:
    """Whether the cache holds the prompt with the answer, and the logits after them are those of a fresh one."""
    cache, context = bench.loaded.cache, bench.loaded.context
    prompt = bench.loaded.vocabulary.tokenizer.tokenize(request.segments)
    whole = [*prompt, *said]
    assert list(cache.tokens) == whole[:-1]  # the last one was not evaluated
    context.decode_one(whole[-1], len(cache))
    logits = context.logits().copy()
    cache.clear()
    for at in range(0, len(whole), 512):
        context.decode(whole[at : at + 512], at)
    fresh = context.logits().copy()
    cache.clear()
    return bool(np.abs(logits - fresh).max() < TOLERANCE)


def test_what_was_not_kept_is_evaluated_again_and_that_gives_way_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no memory to keep it; and while it is evaluated again the next one comes."""
    monkeypatch.setattr(bench.loaded.cache, "_kept_budget", 0)
    long = bench.request(5, 1500, 60, gives_way=True)
    slow, first, second = bench.heard(), bench.heard(), bench.heard()
    slow.at_token[30] = lambda: bench.add(first, Run(1, bench.request(6, 10, 5))) and None
    bench.loaded.cache.clear()
    # Three pieces of its prompt, one of the first's, then those that are evaluated again: in the second one of these.
    codes = interrupted(bench, monkeypatch, 6, lambda: bench.add(second, Run(1, bench.request(7, 10, 5))) and None)
    bench.do(slow, Run(1, long))
    monkeypatch.undo()
    check_order(bench, slow, first, second)
    assert codes == [llama.ABORTED]
    assert len(slow.ids) == 60
    assert right(bench, long, slow.ids)


def test_a_context_that_is_not_brought_back_would_be_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    from inglenook.engine.generating import Generating

    def forgetful(self: Generating, *_: object) -> bool:
        cache = self._loaded.cache
        cache._tokens[:] = self._left or []
        bench.loaded.context.clear()
        return True

    monkeypatch.setattr(Generating, "come_back", forgetful)
    long = replace(bench.request(1, 200, 100, gives_way=True), speculate=False)
    slow, first = bench.heard(), bench.heard()
    slow.at_token[50] = lambda: bench.add(first, Run(1, bench.request(2, 300, 5))) and None
    bench.do(slow, Run(1, long))
    monkeypatch.undo()
    assert not right(bench, long, slow.ids)


def test_cancelled_while_it_is_put_aside(bench: Bench) -> None:
    """It is over for its client at once, and for the engine after the other's turn."""
    slow, first = bench.heard(), bench.heard()
    over: list[Job] = []
    slow.at_token[40] = lambda: bench.add(first, Run(1, bench.request(2, 300, 20))) and None
    first.at_token[3] = lambda: over.extend(bench.runner.schedule.cancel(bench.lines[slow], 1))
    bench.do(slow, Run(1, bench.request(1, 200, 300, gives_way=True)))
    assert [job.command.id for job in over] == [1]
    assert first.end.reason is StopReason.LENGTH
    assert slow.end.reason is StopReason.CANCELLED
    assert len(slow.ids) == 40


def test_the_first_one_is_cancelled(bench: Bench) -> None:
    slow, first = bench.heard(), bench.heard()
    long = bench.request(1, 200, 100, gives_way=True)
    expected = bench.alone(long)
    slow.at_token[40] = lambda: bench.add(first, Run(7, bench.request(2, 300, 200))) and None
    first.at_token[3] = lambda: bench.runner.schedule.cancel(bench.lines[first], 7) and None
    bench.do(slow, Run(1, long))
    assert first.end.reason is StopReason.CANCELLED
    assert slow.ids == expected


def test_its_figures_do_not_count_the_others_time(bench: Bench) -> None:
    slow, first = bench.heard(), bench.heard()
    slow.at_token[10] = lambda: bench.add(first, Run(1, bench.request(2, 1500, 300))) and None
    bench.do(slow, Run(1, bench.request(1, 200, 20, gives_way=True)))
    others = first.end.stats.prefill_s + first.end.stats.decode_s
    assert slow.end.stats.decode_s < others, "of 300 tokens, and of 20"


def test_a_window_beside_a_long_ask(make_client: Callable[..., EngineClient], random_spec: ModelSpec) -> None:
    """The whole way, in two programs' clients."""
    asking, window = make_client(), make_client()
    ids = Ids(tuple(range(200)))
    long = GenerateRequest(random_spec, (ids,), GREEDY, 3000, ignore_stop=True, gives_way=True)
    window.model_info(random_spec)
    running, events = asking.generate(long), list[object]()

    def read() -> None:
        for event in running:
            events.append(event)

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: bool(events) and isinstance(events[-1], Tokens))
    answer = list(window.generate(GenerateRequest(random_spec, (ids,), GREEDY, 20, ignore_stop=True)))
    assert isinstance(answer[-1], Finished)
    assert answer[-1].reason is StopReason.LENGTH
    assert reader.is_alive(), "the long one goes on"
    running.cancel()
    reader.join(60)
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is StopReason.CANCELLED
