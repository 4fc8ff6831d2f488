"""Work ahead: a prompt that is likely to come is evaluated before it is asked for, and is in nobody's way."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from tests.engine.conftest import wait_until
from tests.engine.test_engine import GREEDY, finished, ids_of, until

from inglenook.core.events import Finished, Prefill, StopReason
from inglenook.core.inference import EngineState, GenerateRequest, ModelSpec
from inglenook.core.prompt import Segment, Special, Text
from inglenook.engine.client import EngineClient


def message(role: str, text: str) -> tuple[Segment, ...]:
    return Special("<|start|>"), Text(role), Special("<|message|>"), Text(text), Special("<|end|>")


BEGIN: tuple[Segment, ...] = (Special("<|start|>"), Text("assistant"))
FIRST = message("system", "Be brief. " * 30) + message("user", "What is a lamp? " * 10)
HISTORY = FIRST + message("assistant", "A thing that gives light. " * 12)
SECOND = HISTORY + message("user", "And a candle?")


def ask(client: EngineClient, spec: ModelSpec, prompt: tuple[Segment, ...], count: int) -> tuple[list[int], Finished]:
    request = GenerateRequest(spec, prompt + BEGIN, GREEDY, max_tokens=count, ignore_stop=True)
    events = list(client.generate(request))
    return ids_of(events), finished(events)


def test_second_turn_evaluates_the_question_alone(
    client: EngineClient, make_client: Callable[..., EngineClient], random_spec: ModelSpec, tmp_path: Path
):
    ask(client, random_spec, FIRST, 700)  # long, so that the windows' layers forget the prompt
    ahead = finished(list(client.prefill(random_spec, HISTORY)))
    assert ahead.reason is StopReason.STOP
    assert ahead.stats.cached_tokens == client.count(random_spec, FIRST + BEGIN)  # as far as the reasoning
    answer, end = ask(client, random_spec, SECOND, 40)
    assert end.stats.cached_tokens == client.count(random_spec, HISTORY)
    other = EngineClient(tmp_path / "other", tmp_path / "logs")
    fresh, fresh_end = ask(other, random_spec, SECOND, 40)
    other.close()
    assert fresh_end.stats.cached_tokens == 0
    assert answer == fresh


def test_what_is_there_is_not_evaluated_again(client: EngineClient, random_spec: ModelSpec):
    ask(client, random_spec, SECOND, 1)
    events = list(client.prefill(random_spec, HISTORY))
    assert finished(events).reason is StopReason.STOP
    assert not any(isinstance(e, Prefill) for e in events)
    _, end = ask(client, random_spec, SECOND, 1)
    assert end.stats.cached_tokens == end.stats.prompt_tokens - 1  # nor was it thrown away


def test_a_request_does_not_wait_for_it(client: EngineClient, random_spec: ModelSpec):
    ask(client, random_spec, FIRST, 1)
    long = HISTORY + message("user", "word " * 700)
    ahead = client.prefill(random_spec, long)
    seen = until(ahead, Prefill)
    assert isinstance(seen[-1], Prefill)
    _, end = ask(client, random_spec, FIRST, 1)
    assert end.reason is StopReason.LENGTH
    rest = [*seen, *ahead]
    assert finished(rest).reason is StopReason.CANCELLED
    done = max(e.done for e in rest if isinstance(e, Prefill))
    assert done < client.count(random_spec, long)


def test_what_is_broken_off_loses_little(client: EngineClient, random_spec: ModelSpec) -> None:
    """It is evaluated in smaller pieces than what somebody waits for."""
    ask(client, random_spec, FIRST, 1)
    done = [
        e.done for e in client.prefill(random_spec, HISTORY + message("user", "word " * 700)) if isinstance(e, Prefill)
    ]
    assert max(after - before for before, after in pairwise(done)) <= 64


def test_it_never_loads_a_model(client: EngineClient, random_spec: ModelSpec):
    assert finished(list(client.prefill(random_spec, HISTORY))).reason is StopReason.CANCELLED
    assert client.status().state is not EngineState.READY
    ask(client, random_spec, FIRST, 1)
    other = ModelSpec(random_spec.path, n_ctx=512)
    assert finished(list(client.prefill(other, HISTORY))).reason is StopReason.CANCELLED
    assert client.status().model is not None
    assert client.status().model.spec == random_spec


def test_a_prompt_that_does_not_fit_changes_nothing(client: EngineClient, random_gguf: Path):
    spec = ModelSpec(str(random_gguf), n_ctx=512)
    ask(client, spec, FIRST, 1)
    end = finished(list(client.prefill(spec, message("user", "word " * 600))))
    assert end.reason is StopReason.CONTEXT
    _, again = ask(client, spec, FIRST, 1)
    assert again.stats.cached_tokens == again.stats.prompt_tokens - 1


@pytest.mark.parametrize("cancel", [True, False])
def test_it_ends_with_its_client(
    client: EngineClient, make_client: Callable[..., EngineClient], random_spec: ModelSpec, *, cancel: bool
):
    ask(client, random_spec, FIRST, 1)
    second = make_client()
    ahead = second.prefill(random_spec, message("user", "word " * 700))
    until(ahead, Prefill)
    if cancel:
        ahead.cancel()
        assert finished(list(ahead)).reason is StopReason.CANCELLED
    else:
        second.close()
    wait_until(lambda: ask(client, random_spec, FIRST, 1)[1].reason is StopReason.LENGTH)


def test_boundaries_of_a_long_history_can_be_returned_to(client: EngineClient, random_spec: ModelSpec):
    """Evaluated in one go, as after a restart; then an early message is edited."""
    turns = [message("user", f"Question {i}. " + "more " * 30) + message("assistant", "word " * 60) for i in range(16)]
    history = tuple(segment for turn in turns for segment in turn)
    ask(client, random_spec, history, 1)
    kept = tuple(segment for turn in turns[:8] for segment in turn)
    _, end = ask(client, random_spec, kept + message("user", "Another one"), 1)
    longest = 512  # tokens between places to return to
    assert client.count(random_spec, kept) - end.stats.cached_tokens <= longest
    assert end.stats.cached_tokens > 0
