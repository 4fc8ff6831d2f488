"""A chat service on the real store, with replayed answers or any other engine."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.chat.replay import Chosen, Replay
from tests.chat.support import Bench, Listener, MakeBench

from inglenook.chat.ahead import WorkAhead
from inglenook.chat.service import ChatService
from inglenook.chat.turn import Limits
from inglenook.core.inference import InferenceService, ModelInfo, ModelSource, ModelSpec
from inglenook.core.settings import Settings
from inglenook.core.tools import Tool
from inglenook.engine.client import EngineClient
from inglenook.store.repository import SqliteStore

TODAY = datetime.date(2026, 11, 22)
LIMITS = Limits()


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[MakeBench]:
    made: list[Bench] = []

    def make(
        inference: InferenceService,
        model: ModelSource,
        tools: Sequence[Tool] = (),
        limits: Limits = LIMITS,
        ahead: WorkAhead | None = None,
    ) -> Bench:
        file = tmp_path / "c.sqlite3"
        store = SqliteStore(file)
        settings = Settings(tmp_path / "settings.json")
        service = ChatService(store, inference, model, settings, lambda: TODAY, tools, limits, ahead)
        heard = Listener()
        service.subscribe(heard)
        made.append(Bench(service, store, inference, model, settings, heard, file))
        return made[-1]

    yield make
    for bench in made:
        bench.service.close()
        bench.store.close()


@pytest.fixture
def replay() -> Replay:
    return Replay()


@pytest.fixture
def chosen() -> Chosen:
    return Chosen()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    folder = tmp_path_factory.mktemp("e")
    client = EngineClient(folder / "run", folder / "logs")
    yield client
    client.close()


@pytest.fixture(scope="module")
def info(client: EngineClient, demo_gguf: Path) -> ModelInfo:
    return client.model_info(ModelSpec(str(demo_gguf)))


@pytest.fixture
def bench(make_bench: MakeBench, replay: Replay, chosen: Chosen) -> Bench:
    """With replayed answers."""
    return make_bench(replay, chosen)
