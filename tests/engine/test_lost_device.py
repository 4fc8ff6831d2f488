"""An evaluation that fails, as on a graphics processor that is gone: it is said, and the model is loaded anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engine.test_give_way import Bench

from inglenook.core.events import Loading, StopReason
from inglenook.core.inference import EngineState, ModelSpec
from inglenook.engine import llama
from inglenook.engine.llama import Context
from inglenook.engine.protocol import Run


@pytest.fixture
def bench(random_gguf: Path) -> Iterator[Bench]:
    bench = Bench(ModelSpec(str(random_gguf), n_ctx=4096, threads=1))
    yield bench
    bench.runner._unload()


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, when: int) -> None:
    """The `when`th call fails, as llama.cpp reports a backend's failure."""
    real, calls = getattr(Context, name), 0

    def decode(*arguments: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == when:
            raise llama.DecodeError(-3)
        real(*arguments, **options)

    monkeypatch.setattr(Context, name, decode)


@pytest.mark.parametrize(("name", "when"), [("decode", 1), ("decode_one", 1), ("decode_one", 7)])
def test_it_is_said_and_the_next_try_has_a_model_loaded_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, when: int
) -> None:
    request = bench.request(1, 200, 20)
    expected = bench.alone(request)
    fail_at(monkeypatch, name, when)
    failed = bench.do(bench.heard(), Run(1, request))
    assert failed.end.reason is StopReason.FAILED
    assert failed.end.error is not None
    assert "loaded anew" in failed.end.error.text()
    assert bench.published[-1].state is EngineState.OFF
    again = bench.do(bench.heard(), Run(2, request))
    assert any(isinstance(event, Loading) for event in again.events)
    assert again.ids == expected
    assert bench.published[-1].state is EngineState.READY


def test_what_is_put_aside_meanwhile_fails_too_and_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, first = bench.heard(), bench.heard()

    def come() -> None:
        fail_at(monkeypatch, "decode", 1)
        bench.add(first, Run(1, bench.request(2, 300, 20)))

    slow.at_token[30] = come
    bench.do(slow, Run(1, bench.request(1, 200, 100, gives_way=True)))
    assert first.end.reason is slow.end.reason is StopReason.FAILED
    assert slow.end.error is not None
    assert "loaded anew" in slow.end.error.text()
    assert len(slow.ids) == 30
    again = bench.do(bench.heard(), Run(2, bench.request(1, 200, 20)))
    assert again.end.reason is StopReason.LENGTH
