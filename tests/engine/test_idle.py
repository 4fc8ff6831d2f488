"""What is not used leaves the memory: the engine after a while, a vocabulary once the model itself is there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engine.conftest import engines, wait_until
from tests.engine.test_engine import GREEDY, PROMPT, ids_of, long_answer

from inglenook.core.inference import EngineStatus, ModelSpec
from inglenook.engine import llama, supervise
from inglenook.engine.client import EngineClient
from inglenook.engine.outbox import Outbox
from inglenook.engine.protocol import Count, Load
from inglenook.engine.runner import Runner
from inglenook.engine.schedule import ClientLine, Job


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's share")
def test_the_memory_is_free_after_a_while_and_the_model_comes_back(
    make_client: Callable[..., EngineClient],
    demo_gguf: Path,
    tmp_path: Path,
):
    patience = [0.0]
    client = make_client(sleep_after=lambda: patience[0])
    request = long_answer(ModelSpec(str(demo_gguf), n_ctx=4096), sampling=GREEDY, max_tokens=20)
    first = ids_of(list(client.generate(request)))
    (engine,) = engines(tmp_path)
    plan = client.model_info(request.model).plan
    assert plan is not None
    assert engine.memory_full_info().pss > plan.total
    patience[0] = 0.1
    assert client.count(request.model, PROMPT) == client.count(request.model, PROMPT)
    wait_until(lambda: not engines(tmp_path))
    patience[0] = 0.0
    assert ids_of(list(client.generate(request))) == first


def test_a_vocabulary_alone_leaves_too(
    make_client: Callable[..., EngineClient], random_spec: ModelSpec, tmp_path: Path
):
    client = make_client(sleep_after=lambda: 0.1)
    for _ in range(2):
        assert client.count(random_spec, PROMPT) == 28
        wait_until(lambda: not engines(tmp_path))


def test_a_setting_that_changes_meanwhile_counts(
    make_client: Callable[..., EngineClient], random_spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervise, "LOOK_SECONDS", 0.2)
    patience = [2.0]
    client = make_client(sleep_after=lambda: patience[0])
    assert client.count(random_spec, PROMPT) == 28
    patience[0] = 0.0  # never
    time.sleep(3.0)
    assert len(engines(tmp_path)) == 1
    patience[0] = 0.1
    wait_until(lambda: not engines(tmp_path))


class Silent(Outbox):
    """Sends nothing."""

    def __init__(self) -> None:
        pass

    def put(self, message: object) -> None:
        """Nobody hears it."""


def test_a_vocabulary_is_freed_when_a_model_is_loaded(random_llama: llama.Model, random_spec: ModelSpec):
    told: list[EngineStatus] = []
    runner, client, spec = Runner(told.append), ClientLine(Silent()), replace(random_spec, n_ctx=512)
    for _ in range(2):
        runner._count(Job(client, Count(1, spec, (PROMPT,))))
        vocabulary = runner._vocabulary
        assert vocabulary is not None
        assert vocabulary.model.handle
        load = Job(client, Load(2, spec))
        runner._work(load)
        assert told[-1].model is not None
        assert runner._vocabulary is None
        assert not vocabulary.model.handle
        runner._count(Job(client, Count(3, spec, (PROMPT,))))
        assert runner._vocabulary is None, "the loaded model has one"
        runner._unload()
