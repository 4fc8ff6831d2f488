"""Which jobs keep the machine awake."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from inglenook import bootstrap, long_jobs
from inglenook.chat.events import AnswerEnded, AnswerWaiting, ApprovalAsked, ChatEvent, ChatsChanged, Waiting
from inglenook.core.awake import Awake
from inglenook.core.conversation import StoredMessage
from inglenook.core.messages import Message, Role
from inglenook.library.events import ModelState, ModelStatus
from inglenook.library.files import transfers
from inglenook.library.making import conversions
from inglenook.library.making.demo import demo_checkpoint
from inglenook.library.remote.downloads import DownloadStatus, State
from inglenook.library.shelf_events import Removed, ShelfEvent, ShelfStatus, Transferred

WAITS = AnswerWaiting("a", "m", Waiting.READING)
ENDS = AnswerEnded("a", StoredMessage("m", "a", None, Message(Role.ASSISTANT, ())))
ASKS = ApprovalAsked("a", "m", "c", "functions.add_note", "{}")


class Held:
    """The machine, as far as the jobs go."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Held:
        self.count += 1
        return self

    def end(self) -> None:
        self.count -= 1


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def awake(held: Held) -> Awake:
    """It begins when the test says so, by `settle`."""
    return Awake(lambda: True, held, delay=0.0)


def settle(awake: Awake) -> None:
    if awake._timer is not None:
        awake._timer.join()


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([ChatsChanged(())], 0),
        ([WAITS], 1),
        ([WAITS, WAITS], 1),
        ([WAITS, ENDS], 0),
        ([WAITS, ASKS], 0),
        ([WAITS, ASKS, WAITS], 1),
        ([WAITS, AnswerWaiting("b", "n", Waiting.QUEUED), ENDS], 1),
    ],
)
def test_answers(events: list[ChatEvent], expected: int, awake: Awake, held: Held):
    listen = long_jobs.of_chat(awake)
    for event in events:
        listen(event)
        settle(awake)
    assert held.count == expected
    awake.close()
    assert held.count == 0


@pytest.mark.parametrize("state", State)
def test_downloads(state: State, awake: Awake, held: Held):
    listen = long_jobs.of_downloads(awake)
    for now in (State.RUNNING, state):
        listen(DownloadStatus("d", "", now, 0, 1, ()))
        settle(awake)
    assert held.count == (state is State.RUNNING)
    awake.close()


@pytest.mark.parametrize("state", ModelState)
def test_models(state: ModelState, awake: Awake, held: Held):
    listen = long_jobs.of_model(awake)
    for now in (ModelState.PREPARING, state):
        listen(ModelStatus(now))
        settle(awake)
    assert held.count == (state is ModelState.PREPARING)
    awake.close()


@pytest.mark.parametrize("stage", [*transfers.Stage, None])
def test_copying_and_moving(stage: transfers.Stage | None, awake: Awake, held: Held):
    listen = long_jobs.of_shelf(awake)
    for now in (transfers.Stage.COPYING, stage):
        job = now and transfers.TransferStatus(transfers.What.MOVE, now, Path("a"), "a")
        listen(ShelfStatus(transfer=job))
        listen(Removed("another"))
        settle(awake)
    assert held.count == (stage in transfers.RUNNING)
    awake.close()


@pytest.mark.parametrize("stage", [*conversions.Stage, None])
def test_conversions(stage: conversions.Stage | None, awake: Awake, held: Held):
    listen = long_jobs.of_shelf(awake)
    for now in (conversions.Stage.WRITING, stage):
        listen(ShelfStatus(conversion=now and conversions.ConversionStatus(now, Path("a"), "a")))
        settle(awake)
    assert held.count == (stage in conversions.RUNNING)
    awake.close()


def test_the_programs_shelf_is_listened_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, awake: Awake, held: Held):
    """Copying, in the program as it is put together, and not after its end."""
    monkeypatch.setenv("INGLENOOK_HOME", str(tmp_path))
    monkeypatch.setattr(bootstrap.logs, "start", lambda *_: None)  # this process's own stay as they are
    monkeypatch.setattr(bootstrap.i18n, "install", lambda *_: None)
    source = tmp_path / "stick" / "small"
    shutil.copytree(demo_checkpoint(), source)
    services = bootstrap.Services()
    services.__dict__["awake"] = awake
    busy: list[int] = []
    done = threading.Event()

    def hear(event: ShelfEvent) -> None:
        if isinstance(event, ShelfStatus) and event.transfer is not None:
            settle(awake)
            busy.append(held.count)
        if isinstance(event, Transferred):
            done.set()

    services.shelf.subscribe(hear)
    services.shelf.import_model(source)
    assert done.wait(60)
    assert max(busy) == 1
    assert held.count == 0
    services.close()
