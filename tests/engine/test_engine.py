"""The engine process through its client: generating, cancelling, sharing, queueing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from tests.engine.conftest import engines, wait_until

from inglenook.core.errors import UserError
from inglenook.core.events import EngineEvent, Finished, Loading, Prefill, Queued, StopReason, Tokens
from inglenook.core.inference import (
    Counts,
    EngineState,
    EngineStatus,
    GenerateRequest,
    Generation,
    ModelSpec,
    Sampling,
)
from inglenook.core.prompt import Ids, Special, Text
from inglenook.engine import llama
from inglenook.engine.client import EngineClient
from inglenook.engine.tokens import Tokenizer

GREEDY = Sampling(0.0)
PROMPT = (Special("<|start|>"), Text("user"), Special("<|message|>"), Text("Hello there"), Special("<|end|>"),
          Special("<|start|>"), Text("assistant"))  # fmt: skip


def ids_of(events: list[EngineEvent]) -> list[int]:
    return [i for event in events if isinstance(event, Tokens) for i in event.ids]


def finished(events: list[EngineEvent]) -> Finished:
    """The end event, after a check that it is one and the last."""
    assert [isinstance(e, Finished) for e in events] == [False] * (len(events) - 1) + [True]
    end = events[-1]
    assert isinstance(end, Finished)
    return end


def long_answer(spec: ModelSpec, **options: object) -> GenerateRequest:
    return GenerateRequest(spec, PROMPT, ignore_stop=True, **options)  # type: ignore[arg-type]


def until(generation: Generation, kind: type) -> list[EngineEvent]:
    """Reads events up to the first of `kind`."""
    seen: list[EngineEvent] = []
    for event in generation:
        seen.append(event)
        if isinstance(event, kind):
            break
    return seen


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    """For what does not depend on what the engine did before."""
    folder = tmp_path_factory.mktemp("shared")
    client = EngineClient(folder / "run", folder / "logs")
    yield client
    client.close()
    wait_until(lambda: not engines(folder))


def test_greedy_equals_plain_calls(client: EngineClient, random_spec: ModelSpec, random_llama: llama.Model):
    events = list(client.generate(long_answer(random_spec, sampling=GREEDY, max_tokens=150)))
    context = llama.Context(random_llama, 4096, 1)
    prompt = Tokenizer(random_llama).tokenize(PROMPT)
    context.decode(prompt, 0)
    plain = []
    for position in range(len(prompt), len(prompt) + 150):
        plain.append(int(context.logits().argmax()))
        context.decode_one(plain[-1], position)
    context.close()
    assert ids_of(events) == plain
    end = finished(events)
    assert end.reason is StopReason.LENGTH
    assert (end.stats.prompt_tokens, end.stats.cached_tokens, end.stats.output_tokens) == (len(prompt), 0, 150)
    pieces = [p for e in events if isinstance(e, Tokens) for p in e.pieces]
    assert pieces == [random_llama.piece(i) for i in plain]


def test_order_of_events(client: EngineClient, random_spec: ModelSpec):
    events = list(client.generate(long_answer(random_spec, max_tokens=20)))
    kinds = [type(e) for e in events]
    assert [k for i, k in enumerate(kinds) if i == 0 or kinds[i - 1] is not k] == [Loading, Prefill, Tokens, Finished]
    fractions = [e.fraction for e in events if isinstance(e, Loading)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    again = list(client.generate(long_answer(random_spec, max_tokens=20)))
    assert not [e for e in again if isinstance(e, Loading)]  # it is loaded
    assert finished(again).stats.cached_tokens == finished(again).stats.prompt_tokens - 1


def test_prefill_tells_its_progress(client: EngineClient, random_spec: ModelSpec):
    prompt = (Ids(tuple(i % 256 for i in range(1500))),)
    events = list(client.generate(GenerateRequest(random_spec, prompt, max_tokens=1)))
    done = [e.done for e in events if isinstance(e, Prefill)]
    assert done == [0, 512, 1024, 1500]
    assert {(e.total, e.cached) for e in events if isinstance(e, Prefill)} == {(1500, 0)}


def test_second_turn_evaluates_only_what_is_new(client: EngineClient, random_spec: ModelSpec):
    """The history with the reasoning dropped, after an answer longer than what the window's cache can give back."""
    first = Text("A question of some length. " * 20)
    turn = (Special("<|start|>"), first, Special("<|end|>"), Special("<|start|>"), Text("assistant"))
    for _ in client.generate(GenerateRequest(random_spec, turn, max_tokens=1500, ignore_stop=True)):
        pass
    second = (*turn, Special("<|message|>"), Text("Final."), Special("<|end|>"), Special("<|start|>"), Text("Next"))
    stats = finished(list(client.generate(GenerateRequest(random_spec, second, max_tokens=1)))).stats
    assert stats.cached_tokens == client.count(random_spec, turn)


@pytest.mark.parametrize(("words", "pieces"), [(100, 1), (500, 2)])
def test_what_fits_a_batch_is_evaluated_at_once(
    client: EngineClient, random_spec: ModelSpec, words: int, pieces: int
) -> None:
    """While somebody waits for it; a batch more is cut where its last message starts."""
    first = (Special("<|start|>"), Ids((65,) * 300), Special("<|end|>"), Special("<|start|>"))
    for _ in client.generate(GenerateRequest(random_spec, first, max_tokens=1)):
        pass
    answer = (Ids((66,) * words), Special("<|end|>"), Special("<|start|>"))
    second = (*first, *answer, Ids((67,) * 40), Special("<|end|>"), Special("<|start|>"))
    events = list(client.generate(GenerateRequest(random_spec, second, max_tokens=1)))
    done = [e.done for e in events if isinstance(e, Prefill)]
    assert done == [0, *([words + 1] if pieces == 2 else []), words + 44]


def test_edit_of_the_last_message_goes_back_to_its_start(client: EngineClient, random_spec: ModelSpec):
    head = (Special("<|start|>"), Text("system " * 100), Special("<|end|>"))
    for question in ("First question, " * 60, "Quite another one."):
        turn = (
            *head,
            Special("<|start|>"),
            Text(question),
            Special("<|end|>"),
            Special("<|start|>"),
            Text("assistant"),
        )
        request = GenerateRequest(random_spec, turn, max_tokens=800, ignore_stop=True)
        stats = finished(list(client.generate(request))).stats
    assert stats.cached_tokens == client.count(random_spec, head)


def test_stop_token_ends_and_is_told(shared: EngineClient, random_spec: ModelSpec, random_llama: llama.Model):
    for seed in range(30):  # a random model says <|return|> now and then
        events = list(shared.generate(GenerateRequest(random_spec, PROMPT, Sampling(seed=seed), max_tokens=3000)))
        if finished(events).reason is StopReason.STOP:
            break
    ids = ids_of(events)
    assert ids[-1] in random_llama.stops
    assert random_llama.stops.isdisjoint(ids[:-1])


def test_seed_repeats(client: EngineClient, random_spec: ModelSpec):
    def run(seed: int | None) -> list[int]:
        sampling = Sampling(seed=seed)
        return ids_of(list(client.generate(long_answer(random_spec, sampling=sampling, max_tokens=60))))

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_full_context_ends(shared: EngineClient, random_gguf: Path):
    spec = ModelSpec(str(random_gguf), n_ctx=256)
    end = finished(list(shared.generate(long_answer(spec))))
    assert end.reason is StopReason.CONTEXT
    assert end.stats.prompt_tokens + end.stats.output_tokens == 256
    tight = finished(list(shared.generate(long_answer(spec, max_tokens=256 - end.stats.prompt_tokens))))
    assert tight.reason is StopReason.LENGTH


def test_prompt_longer_than_the_context_is_told(shared: EngineClient, random_gguf: Path):
    spec = ModelSpec(str(random_gguf), n_ctx=256)
    end = finished(list(shared.generate(GenerateRequest(spec, (Ids((1,) * 300),)))))
    assert end.reason is StopReason.FAILED
    assert end.error is not None
    assert "300" in end.error.text()
    assert finished(list(shared.generate(long_answer(spec, max_tokens=3)))).reason is StopReason.LENGTH


def test_empty_prompt_and_unknown_special_are_told(shared: EngineClient, random_spec: ModelSpec):
    for segments in ((), (Special("<|nonsense|>"),)):
        assert finished(list(shared.generate(GenerateRequest(random_spec, segments)))).reason is StopReason.FAILED


def test_cancel_in_decode(shared: EngineClient, random_spec: ModelSpec):
    generation = shared.generate(long_answer(random_spec))
    until(generation, Tokens)
    generation.cancel()
    generation.cancel()
    rest = list(generation)
    assert finished(rest).reason is StopReason.CANCELLED
    assert finished(list(shared.generate(long_answer(random_spec, max_tokens=3)))).reason is StopReason.LENGTH


def test_cancel_in_prefill_keeps_what_was_evaluated(client: EngineClient, random_spec: ModelSpec):
    prompt = (Ids(tuple(i * 7 % 256 for i in range(8000))),)
    request = GenerateRequest(random_spec, prompt, GREEDY, max_tokens=20, ignore_stop=True)
    generation = client.generate(request)
    for event in generation:
        if isinstance(event, Prefill) and event.done >= 1024:
            break
    generation.cancel()
    rest = list(generation)
    assert finished(rest).reason is StopReason.CANCELLED
    assert not ids_of(rest)
    resumed = list(client.generate(request))
    assert 1024 <= finished(resumed).stats.cached_tokens < 8000
    other = (Ids((9,) * 2000),)
    finished(list(client.generate(GenerateRequest(random_spec, other, max_tokens=1))))
    fresh = list(client.generate(request))
    assert finished(fresh).stats.cached_tokens == 0
    assert ids_of(resumed) == ids_of(fresh)


def test_cancel_in_load(shared: EngineClient, tmp_path: Path):
    """At once, so that it arrives before or in the load; either way it ends as cancelled and a later load works."""
    from tests.engine import random_model

    spec = ModelSpec(str(random_model.write(tmp_path / "other.gguf", 1)))
    for _ in range(5):
        generation = shared.load(spec)
        generation.cancel()
        events = list(generation)
        assert finished(events).reason is StopReason.CANCELLED
    assert finished(list(shared.load(spec))).reason is StopReason.STOP


def test_cancel_of_a_queued_request(shared: EngineClient, random_spec: ModelSpec):
    running = shared.generate(long_answer(random_spec))
    until(running, Tokens)
    queued = shared.generate(long_answer(random_spec))
    queued.cancel()
    assert [type(e) for e in queued] == [Queued, Finished]
    running.cancel()
    assert finished(list(running)).reason is StopReason.CANCELLED


def test_two_clients_share_one_engine_in_turn(
    make_client: Callable[[], EngineClient], random_spec: ModelSpec, tmp_path: Path
):
    a, b = make_client(), make_client()
    first = a.generate(long_answer(random_spec))
    until(first, Tokens)
    second = b.generate(long_answer(random_spec, max_tokens=5))
    again = a.generate(long_answer(random_spec, max_tokens=5))
    wait_until(lambda: b.status().pid != 0)
    assert len(engines(tmp_path)) == 1
    assert a.status().pid == b.status().pid == engines(tmp_path)[0].pid
    first.cancel()
    assert finished(list(first)).reason is StopReason.CANCELLED
    assert finished(list(second)).reason is StopReason.LENGTH
    assert finished(list(again)).reason is StopReason.LENGTH


def test_one_turn_each(make_client: Callable[[], EngineClient], random_spec: ModelSpec):
    """A client with ten requests does not keep another waiting for all of them."""
    a, b = make_client(), make_client()
    b.model_info(random_spec)
    running = a.generate(long_answer(random_spec))
    until(running, Tokens)
    many = [a.generate(long_answer(random_spec, max_tokens=150)) for _ in range(10)]
    one = b.generate(long_answer(random_spec, max_tokens=1))
    b.count(random_spec, PROMPT)  # b's commands have arrived
    running.cancel()
    list(one)
    many[-1].cancel()
    assert finished(list(many[-1])).reason is StopReason.CANCELLED  # it had not run when b's was done
    for generation in many:
        generation.cancel()


def test_count_during_a_generation(shared: EngineClient, random_spec: ModelSpec):
    generation = shared.generate(long_answer(random_spec))
    until(generation, Tokens)
    assert shared.count(random_spec, PROMPT) == 28
    generation.cancel()
    assert finished(list(generation)).reason is StopReason.CANCELLED


def test_count_without_a_loaded_model(client: EngineClient, random_spec: ModelSpec):
    assert client.count(random_spec, PROMPT) == 28
    assert client.status().model is None
    with pytest.raises(UserError, match="not exist"):
        client.count(ModelSpec("/nowhere.gguf"), PROMPT)
    with pytest.raises(UserError, match="nonsense"):
        client.count(random_spec, (Special("<|nonsense|>"),))


def test_counts_of_many_texts_with_the_vocabulary_and_the_window(client: EngineClient, random_spec: ModelSpec):
    texts = (PROMPT, (), (Text("a"),))
    unloaded = client.counts(random_spec, texts)
    assert client.status().model is None
    info = client.model_info(random_spec)
    assert client.counts(random_spec, texts) == unloaded
    assert unloaded == Counts((28, 0, 1), info.vocabulary, info.n_ctx)
    assert client.counts(replace(random_spec, n_ctx=512), ()).n_ctx == 512


def test_large_prompt_does_not_block_the_sender(shared: EngineClient, random_spec: ModelSpec):
    running = shared.generate(long_answer(random_spec))
    until(running, Tokens)
    queued = shared.generate(GenerateRequest(random_spec, (Text("word " * 120_000),)))
    assert shared.count(random_spec, PROMPT) == 28  # the engine has read it and still answers, and streams
    assert isinstance(next(iter(running)), Tokens)
    running.cancel()
    list(running)
    assert finished(list(queued)).reason is StopReason.FAILED  # longer than the context


def test_status_is_told(client: EngineClient, random_spec: ModelSpec):
    heard: list[EngineStatus] = []
    broken: list[int] = []

    def bad(_: EngineStatus) -> None:
        broken.append(1)
        raise RuntimeError("a listener's bug")

    client.subscribe(bad)
    end = client.subscribe(heard.append)
    info = client.model_info(random_spec)
    states = [s.state for s in heard]
    assert [a for a, b in pairwise([*states, None]) if a is not b] == [
        EngineState.STARTING, EngineState.OFF, EngineState.LOADING, EngineState.READY]  # fmt: skip
    assert client.status() == EngineStatus(EngineState.READY, info, 1.0, pid=client.status().pid)
    assert broken
    assert info.name == "Random"
    assert dict(info.specials)["<|call|>"] == 265
    assert len(info.vocabulary) == 64
    end()
    count = len(heard)
    client.unload()
    wait_until(lambda: client.status().state is EngineState.OFF)
    assert len(heard) == count


def test_models_are_loaded_in_turn(make_client: Callable[[], EngineClient], random_gguf: Path):
    a, b = make_client(), make_client()
    small, large = ModelSpec(str(random_gguf), n_ctx=512), ModelSpec(str(random_gguf), n_ctx=1024)
    assert a.model_info(small).n_ctx == 512
    assert b.model_info(large).n_ctx == 1024
    assert finished(list(a.generate(long_answer(small)))).stats.output_tokens == 512 - 28
    assert b.model_info(large).n_ctx == 1024


def test_a_file_that_was_written_anew_is_loaded_anew(shared: EngineClient, tmp_path: Path):
    from tests.engine import random_model

    path = tmp_path / "model.gguf"
    request = long_answer(ModelSpec(str(random_model.write(path, 1))), sampling=GREEDY, max_tokens=30)
    first = ids_of(list(shared.generate(request)))
    random_model.write(tmp_path / "new.gguf", 2).replace(path)
    assert ids_of(list(shared.generate(request))) != first


def test_the_client_imports_neither_llama_cpp_nor_numpy():
    code = "import sys, inglenook.engine.client; print({'llama_cpp', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_engine_that_nobody_uses_is_left_and_comes_back(
    make_client: Callable[..., EngineClient], random_spec: ModelSpec, tmp_path: Path
):
    patience = [0.0]
    client = make_client(sleep_after=lambda: patience[0])
    states: list[EngineState] = []
    client.subscribe(lambda status: states.append(status.state))
    request = GenerateRequest(random_spec, PROMPT, GREEDY, max_tokens=5, ignore_stop=True)
    patience[0] = 0.5
    first = ids_of(list(client.generate(request)))
    wait_until(lambda: not engines(tmp_path))
    wait_until(lambda: states[-1] is EngineState.OFF)  # told once it has been left
    assert ids_of(list(client.generate(request))) == first


def test_an_engine_in_use_is_not_left(make_client: Callable[..., EngineClient], random_spec: ModelSpec):
    client = make_client(sleep_after=lambda: 0.05)
    assert finished(list(client.generate(long_answer(random_spec, max_tokens=1200)))).reason is StopReason.LENGTH


def test_one_that_another_uses_stays(make_client: Callable[..., EngineClient], random_spec: ModelSpec, tmp_path: Path):
    stays, sleeps = make_client(), make_client(sleep_after=lambda: 0.1)
    stays.model_info(random_spec)
    sleeps.model_info(random_spec)
    wait_until(lambda: sleeps.status().state is EngineState.OFF)
    assert finished(list(stays.generate(long_answer(random_spec, max_tokens=3)))).reason is StopReason.LENGTH
    assert len(engines(tmp_path)) == 1
