"""From one model to another, with the real engine: what stays, what comes back, what a conversation waits for."""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine import random_model
from tests.library.test_service import Heard
from tests.model_service import model_service

from inglenook.core.errors import UserError
from inglenook.core.events import Finished
from inglenook.core.inference import DEMO, Cancelled
from inglenook.core.settings import MODEL_FILE, Settings
from inglenook.library.events import ModelState, ModelStatus
from inglenook.library.files.found import Found
from inglenook.library.files.moved import Kept, Moved
from inglenook.library.remote.downloads import Downloads
from inglenook.library.remote.traffic import Traffic
from inglenook.library.service import ModelService
from inglenook.library.shelf import Shelf
from inglenook.library.shelf_events import OWN, ShelfFailed, Transferred


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


def test_a_chat_finds_its_model_where_it_was_moved_to(
    models: ModelService, heard: Heard, files: tuple[Path, Path], tmp_path: Path
) -> None:
    """Moved by another program, even: what is said to a chat follows the move."""
    here = Path(shutil.copy(files[0], tmp_path / "here.gguf"))
    there = tmp_path / "there.gguf"
    old = str(here)
    assert models.spec(lambda: False, old).path == old
    here.rename(there)
    Moved(tmp_path / "data" / "models").note(here, Kept("here", (str(there),), 1))
    assert models.spec(lambda: False, old).path == str(there)
    assert models.status().name == models.answering(old) == str(there)
    known = models.known(old)
    assert known is not None
    assert known.path == str(there)


def test_a_choice_of_another_program_is_told_and_changes_nothing_that_is_in_use(
    models: ModelService, heard: Heard, files: tuple[Path, Path], tmp_path: Path
) -> None:
    """`inglenook models use` while a window is open: what is loaded stays; new chats begin with the new choice."""
    file = models._settings.file
    command = Settings(file)
    command.set(MODEL_FILE, str(files[0]))
    command.flush()
    models._settings.look()
    models._settings.flush()
    assert [status.name for status in heard.statuses] == [DEMO]
    assert models.status().state is ModelState.READY
    assert models.answering("") == str(files[0])


def test_the_model_in_use_may_be_moved(models: ModelService, heard: Heard, demo_gguf: Path, tmp_path: Path) -> None:
    """What the engine has open stays readable until it stands at its new place; the choice goes along."""
    folder, there = tmp_path / "data" / "models", tmp_path / "there"
    folder.mkdir()
    there.mkdir()
    here = Path(shutil.copy(demo_gguf, folder / "m.gguf"))
    models.spec(lambda: False, str(here))
    settings = models._settings
    settings.set(MODEL_FILE, str(here))
    shelf = Shelf(
        models, Downloads(folder, None), Traffic(tmp_path / "t"), settings, folder, None, list,  # type: ignore[arg-type]
        moved=models._moved,
    )  # fmt: skip
    ended: queue.SimpleQueue[object] = queue.SimpleQueue()
    shelf.subscribe(lambda event: ended.put(event) if isinstance(event, Transferred | ShelfFailed) else None)
    shelf.move(Found(here, OWN, "m", 1, (here,)), there)
    event = ended.get(timeout=60)
    assert isinstance(event, Transferred)
    assert event.used
    assert models.spec(lambda: False, str(here)).path == str(there / "m.gguf")
    assert settings.get(MODEL_FILE) == str(there / "m.gguf")
    events = list(models._inference.load(models.spec(lambda: False)))
    assert isinstance(events[-1], Finished)
    assert events[-1].error is None
    shelf.close()
