"""The engine in tests is the real one: in this process for the cache and tokens, else its own process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.engine import random_model

from inglenook.core.inference import ModelSpec
from inglenook.engine import llama
from inglenook.engine.client import EngineClient


@pytest.fixture(scope="session")
def random_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with random weights."""
    return random_model.write(tmp_path_factory.mktemp("random") / "random.gguf")


@pytest.fixture(scope="session")
def random_spec(random_gguf: Path) -> ModelSpec:
    return ModelSpec(str(random_gguf))


@pytest.fixture(scope="session")
def random_llama(random_gguf: Path) -> Iterator[llama.Model]:
    """The random model in this process."""
    llama.start()
    model = llama.Model(random_gguf)
    yield model
    model.close()


@pytest.fixture
def make_client(tmp_path: Path) -> Iterator[Callable[..., EngineClient]]:
    """Makes clients of one engine; all are closed, and the engine's process is gone, when the test ends."""
    clients: list[EngineClient] = []

    def make(**options: float) -> EngineClient:
        clients.append(EngineClient(tmp_path / "run", tmp_path / "logs", **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
    wait_until(lambda: not engines(tmp_path))


@pytest.fixture
def client(make_client: Callable[..., EngineClient]) -> EngineClient:
    return make_client()


def engines(folder: Path) -> list[psutil.Process]:
    """Engine processes whose socket is below `folder`."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        running = process.info["status"] != psutil.STATUS_ZOMBIE
        if running and "inglenook.engine" in command and any(str(folder) in part for part in command):
            found.append(process)
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> float:
    """Waits for `condition` and returns how long it took; fails after `seconds`, which no machine takes."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not happen"
        time.sleep(0.01)
    return time.monotonic() - started
