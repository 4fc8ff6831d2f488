"""The model in use, with the real engine and the real demo model."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inglenook.core.errors import UserError
from inglenook.core.inference import Cancelled, GenerateRequest
from inglenook.core.paths import Paths
from inglenook.core.prompt import Text
from inglenook.core.settings import MODEL_FILE, Settings
from inglenook.engine.client import EngineClient
from inglenook.library.events import ModelState, ModelStatus
from inglenook.library.service import ModelService


class Heard:
    """Listens, and waits for what is to come."""

    def __init__(self, models: ModelService) -> None:
        self.statuses: list[ModelStatus] = []
        self._more = threading.Condition()
        models.subscribe(self._take)

    def _take(self, status: ModelStatus) -> None:
        with self._more:
            self.statuses.append(status)
            self._more.notify_all()

    def until(self, state: ModelState, after: int = 0) -> ModelStatus:
        """The first status of that state from the one numbered `after` on."""

        def found() -> ModelStatus | None:
            return next((s for s in self.statuses[after:] if s.state is state), None)

        with self._more:
            assert self._more.wait_for(lambda: found() is not None, 60), self.statuses
        status = found()
        assert status is not None
        return status


Make = Callable[..., ModelService]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(*(tmp_path / name for name in ("data", "config", "cache", "logs", "run")))
    made.create()
    return made


@pytest.fixture
def engine(paths: Paths) -> Iterator[EngineClient]:
    client = EngineClient(paths.runtime, paths.logs)
    yield client
    client.close()


@pytest.fixture
def make(engine: EngineClient, paths: Paths) -> Iterator[Make]:
    made: list[ModelService] = []

    def service(only: Path | None = None) -> ModelService:
        made.append(ModelService(engine, Settings(paths.settings), paths, only))
        return made[-1]

    yield service
    for models in made:
        models.close()


def test_first_start_converts_the_demo_loads_it_and_says_so(make: Make, paths: Paths) -> None:
    models = make()
    heard = Heard(models)
    models.start()
    ready = heard.until(ModelState.READY)
    states = list(dict.fromkeys(s.state for s in heard.statuses))
    assert states == [ModelState.PREPARING, ModelState.LOADING, ModelState.READY]
    assert ready.is_demo
    assert ready.info is not None
    assert ready.spec == models.spec(lambda: False)
    assert Path(ready.info.spec.path).is_relative_to(paths.cache)


def test_a_model_that_nobody_uses_sleeps_and_comes_back(paths: Paths) -> None:
    engine = EngineClient(paths.runtime, paths.logs, sleep_after=lambda: 0.3)
    models = ModelService(engine, Settings(paths.settings), paths)
    heard = Heard(models)
    models.start()
    asleep = heard.until(ModelState.ASLEEP)
    assert asleep.spec is not None
    before = len(heard.statuses)
    for _ in engine.generate(GenerateRequest(asleep.spec, (Text("Hello"),), max_tokens=1)):
        pass
    heard.until(ModelState.READY, before)
    models.close()
    engine.close()


def test_spec_prepares_what_nobody_started(make: Make) -> None:
    assert Path(make().spec(lambda: False).path).exists()


def test_spec_can_be_cancelled_while_preparing(make: Make) -> None:
    models = make()
    with pytest.raises(Cancelled):
        models.spec(lambda: True)


@pytest.mark.parametrize("content", [None, b"", b"this is no model", b"GGUF\x03\0\0\0"])
def test_a_bad_file_fails_with_advice_and_the_demo_still_works(
    make: Make, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "bad.gguf"
    if content is not None:
        file.write_bytes(content)
    models = make()
    heard = Heard(models)
    models.use_file(file)
    failed = heard.until(ModelState.FAILED)
    assert failed.error is not None
    assert "bad.gguf" in failed.error.text()
    models.use_demo()
    assert heard.until(ModelState.READY).is_demo


def test_a_message_after_a_failure_tries_again_and_fails_again(make: Make, tmp_path: Path) -> None:
    models = make()
    heard = Heard(models)
    models.use_file(tmp_path / "missing.gguf")
    heard.until(ModelState.FAILED)
    before = len(heard.statuses)
    assert models.spec(lambda: False).path == str(tmp_path / "missing.gguf")
    heard.until(ModelState.FAILED, before)


def test_a_demo_that_cannot_be_written_says_so(make: Make, paths: Paths) -> None:
    (paths.cache / "demo-model").write_text("in the way")
    models = make()
    heard = Heard(models)
    models.start()
    assert heard.until(ModelState.FAILED).error is not None
    with pytest.raises(UserError, match="demo"):
        models.spec(lambda: False)


def test_a_chosen_file_is_remembered_and_one_for_this_run_is_not(make: Make, demo_gguf: Path, paths: Paths) -> None:
    models = make(demo_gguf)
    assert models.spec(lambda: False).path == str(demo_gguf)
    assert Settings(paths.settings).get(MODEL_FILE) == ""
    models.use_file(demo_gguf)
    models.spec(lambda: False)
    models.close()
    models._settings.flush()
    assert make().spec(lambda: False).path == str(demo_gguf)


def test_a_crash_of_the_engine_is_said_and_mended_by_the_next_request(make: Make, engine: EngineClient) -> None:
    models = make()
    heard = Heard(models)
    models.start()
    heard.until(ModelState.READY)
    before = len(heard.statuses)
    os.kill(engine.status().pid, signal.SIGKILL)
    assert heard.until(ModelState.CRASHED, before).error is not None
    before = len(heard.statuses)
    engine.model_info(models.spec(lambda: False))
    heard.until(ModelState.READY, before)


def test_close_ends_a_running_preparation(make: Make) -> None:
    models = make()
    models.start()
    thread = models._thread
    assert thread is not None
    models.close()
    thread.join(60)
    assert not thread.is_alive()
