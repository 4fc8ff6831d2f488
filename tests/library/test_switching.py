"""From one model to another, with the real engine: what stays, what comes back, what a conversation waits for."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine import random_model
from tests.library.test_service import Heard
from tests.model_service import model_service

from inglenook.core.errors import UserError
from inglenook.core.inference import DEMO, Cancelled
from inglenook.core.settings import MODEL_FILE
from inglenook.library.events import ModelState, ModelStatus
from inglenook.library.service import ModelService


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, demo_gguf: Path) -> tuple[Path, Path]:
    """A model, and one that cannot be loaded though its header is right."""
    folder = tmp_path_factory.mktemp("models")
    good = Path(shutil.copy(demo_gguf, folder / "good.gguf"))
    return good, random_model.write(folder / "bad.gguf", pre="of-another-time")


@pytest.fixture
def models(tmp_path: Path) -> Iterator[ModelService]:
    with model_service(tmp_path) as models:
        yield models


@pytest.fixture
def heard(models: ModelService) -> Heard:
    """The demo model is ready."""
    heard = Heard(models)
    models.start()
    heard.until(ModelState.READY)
    heard.statuses.clear()
    return heard


def test_a_conversation_of_another_model_gets_it_and_the_choice_stays(
    models: ModelService, heard: Heard, files: tuple[Path, Path]
) -> None:
    told: list[float] = []
    spec = models.spec(lambda: False, str(files[0]), told.append)
    assert spec.path == str(files[0])
    assert models.status().state is ModelState.READY
    assert models.status().name == str(files[0])
    assert told == sorted(told)
    assert told
    assert models.chosen() == DEMO
    assert models.spec(lambda: False).path != str(files[0])  # a new conversation's
    assert models.status().name == DEMO


def test_a_model_that_cannot_be_loaded_leaves_the_old_one_and_says_why(
    models: ModelService, heard: Heard, files: tuple[Path, Path]
) -> None:
    with pytest.raises(UserError):
        models.spec(lambda: False, str(files[1]))
    status = models.status()
    assert status.state is ModelState.READY
    assert status.name == DEMO
    assert status.refused == "bad"
    assert status.error is not None
    assert models.spec(lambda: False, DEMO) == status.spec


def test_so_does_one_that_the_user_chose(models: ModelService, heard: Heard, files: tuple[Path, Path]) -> None:
    models.use_file(files[1])
    status = heard.until(ModelState.READY)
    assert status.refused == "bad"
    assert models.chosen() == DEMO
    models.use_file(files[0])
    heard.statuses.clear()
    assert heard.until(ModelState.READY).refused == ""


def test_a_file_that_is_gone_is_said(models: ModelService, heard: Heard, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        models.spec(lambda: False, str(tmp_path / "gone.gguf"))
    assert models.status().name == DEMO
    assert models.status().state is ModelState.READY


def test_cancelled_before_it_stands_the_old_one_stays(
    models: ModelService, heard: Heard, files: tuple[Path, Path]
) -> None:
    with pytest.raises(Cancelled):
        models.spec(lambda: True, str(files[0]))
    assert models.spec(lambda: False, DEMO).path != str(files[0])
    assert models.status().name == DEMO


def test_cancel_by_the_user_ends_the_wait_of_the_conversation(
    models: ModelService, heard: Heard, files: tuple[Path, Path]
) -> None:
    """From within the first news of the load, so that it is always in time."""

    def cancel(status: ModelStatus) -> None:
        if status.state is ModelState.PREPARING:
            threading.Thread(target=models.cancel).start()
        elif status.state is ModelState.LOADING:
            models.cancel()

    end = models.subscribe(cancel)
    with pytest.raises(Cancelled):
        models.spec(lambda: False, str(files[0]))
    end()
    heard.until(ModelState.READY)
    assert models.status().name == DEMO
    assert models.status().error is None


def test_the_last_of_many_choices_stands(models: ModelService, heard: Heard, files: tuple[Path, Path]) -> None:
    for _ in range(5):
        models.use_file(files[0])
        models.use_file(files[1])
        models.use_demo()
    models.use_file(files[0])
    heard.until(ModelState.READY)
    assert models.status().name == str(files[0])
    assert models._settings.get(MODEL_FILE) == str(files[0])


def test_a_model_for_this_run_answers_every_conversation(
    models: ModelService, files: tuple[Path, Path], tmp_path: Path
) -> None:
    models._only = files[0]
    assert models.answering(DEMO) == str(files[0])
    assert models.spec(lambda: False, DEMO).path == str(files[0])
