"""On battery the engine computes with half its threads, from one moment to the next and without a reload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engine.conftest import wait_until
from tests.engine.test_engine import GREEDY, finished, ids_of, long_answer, until

from inglenook.core.events import Loading, StopReason, Tokens
from inglenook.core.inference import ModelSpec
from inglenook.engine import supervise
from inglenook.engine.client import EngineClient
from inglenook.engine.llama.threads import get_threads
from inglenook.engine.loaded import Loaded


@pytest.mark.parametrize(("all_of_them", "half"), [(1, 1), (2, 1), (5, 3), (8, 4)])
def test_half_of_the_threads(all_of_them: int, half: int, random_spec: ModelSpec):
    spec = replace(random_spec, n_ctx=512, threads=all_of_them)
    loaded = Loaded((spec, 0, 0), lambda _: True)
    assert loaded.plan.threads == all_of_them
    assert get_threads(loaded.context) == (all_of_them, all_of_them)
    loaded.spare(True)
    assert get_threads(loaded.context) == (half, half)
    loaded.spare(False)
    assert get_threads(loaded.context) == (all_of_them, all_of_them)
    loaded.close()


def test_in_the_middle_of_an_answer(
    make_client: Callable[..., EngineClient], random_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The engine tells it in its log."""
    monkeypatch.setattr(supervise, "POWER_SECONDS", 0.0)
    on_battery = [False]
    client = make_client(spares=lambda: on_battery[0])
    spec = replace(random_spec, threads=2)
    whole = finished(list(client.generate(long_answer(spec, sampling=GREEDY, max_tokens=3)))).reason
    assert whole is StopReason.LENGTH
    running = [client.generate(long_answer(spec)) for _ in range(20)]
    until(running[0], Tokens)
    assert changes(tmp_path) == []
    on_battery[0] = True
    wait_until(lambda: changes(tmp_path) == ["1 threads"])
    on_battery[0] = False
    wait_until(lambda: changes(tmp_path) == ["1 threads", "2 threads"])
    for one in running:
        one.cancel()
    events = list(client.generate(long_answer(spec, sampling=GREEDY, max_tokens=30)))
    assert not any(isinstance(e, Loading) for e in events)
    assert len(ids_of(events)) == 30


def test_each_client_for_itself(make_client: Callable[..., EngineClient], random_spec: ModelSpec, tmp_path: Path):
    spec = replace(random_spec, threads=2)
    sparing, other = make_client(spares=lambda: True), make_client()
    for client in (sparing, other, sparing):
        assert finished(list(client.generate(long_answer(spec, max_tokens=2)))).reason is StopReason.LENGTH
    assert changes(tmp_path) == ["1 threads", "2 threads", "1 threads"]


def changes(folder: Path) -> list[str]:
    lines = (folder / "logs" / "engine.log").read_text("utf-8").splitlines()
    return [line.rpartition(" computes with ")[2] for line in lines if " computes with " in line]
