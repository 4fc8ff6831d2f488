"""A download that one program fetches and another watches: a pause in either is one in both."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.library.fetching import Client, Window
from tests.library.hub import Fault, LoopbackHub

from inglenook.library.remote import downloads as module
from inglenook.library.remote.download import lock_of
from inglenook.library.remote.downloads import State
from inglenook.library.remote.hub import RemoteFile
from inglenook.library.remote.part import bytes_noted

SLOW = Fault(drip=(20_000, 0.05))
SILENT = Fault(drip=(1_000_000, 600.0))
ROOT = Path(__file__).parents[3]


@pytest.fixture
def pair(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Window, Window]]:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.02)
    windows = Window(client), Window(client)
    yield windows
    for window in windows:
        window.downloads.close()


def has_arrived(window: Window, position: int) -> None:
    """Of what falls silent at once, no status tells it."""
    part = window.heard[0].paths[0].with_name("model.gguf.part")
    until = time.monotonic() + 60
    while not part.exists() or part.stat().st_size < position:
        assert time.monotonic() < until
        time.sleep(0.01)


def has_ended(window: Window) -> None:
    """Its threads have."""
    until = time.monotonic() + 60
    while window.downloads._running:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("fault", [SLOW, SILENT], ids=["flowing", "silent"])
@pytest.mark.parametrize("presses", ["watching", "fetching"])
def test_a_pause_in_one_pauses_both(
    pair: tuple[Window, Window], hub: LoopbackHub, file: RemoteFile, fault: Fault, presses: str
) -> None:
    fetching, watching = pair
    hub.faults.append(fault)
    id_ = fetching.downloads.add("A model", (file,))
    has_arrived(fetching, 100_000)
    watching.downloads.start()
    watching.state(State.ELSEWHERE)
    (watching if presses == "watching" else fetching).downloads.pause(id_)
    for window in pair:
        window.state(State.PAUSED)
        has_ended(window)
        assert window.heard[-1].state is State.PAUSED
    assert len(hub.requests()) == 1
    before = len(fetching.heard)
    fetching.downloads.resume(id_)
    assert fetching.state(State.FINISHED, before).paths[0].read_bytes() == hub.files[file.name]
    assert len(hub.requests()) == 2


def test_a_pause_of_another_program_is_kept_for_the_next_start(
    pair: tuple[Window, Window], client: Client, hub: LoopbackHub, file: RemoteFile
) -> None:
    fetching, watching = pair
    hub.faults.append(SLOW)
    fetching.downloads.add("A model", (file,))
    fetching.until(lambda s: s.done > 100_000)
    id_ = watching.downloads.add("A model", (file,))
    watching.downloads.pause(id_)
    fetching.state(State.PAUSED)
    later = Window(client)
    later.downloads.start()
    assert [s.state for s in later.downloads.statuses()] == [State.PAUSED]
    later.downloads.close()


def test_what_the_fetching_one_cancels_the_watching_one_does_not_fetch_anew(
    pair: tuple[Window, Window], hub: LoopbackHub, file: RemoteFile
) -> None:
    fetching, watching = pair
    hub.faults.append(SLOW)
    id_ = fetching.downloads.add("A model", (file,))
    has_arrived(fetching, 100_000)
    watching.downloads.start()
    watching.state(State.ELSEWHERE)
    fetching.downloads.cancel(id_)
    watching.state(State.CANCELLED)
    for window in pair:
        has_ended(window)
        assert window.heard[-1].state is State.CANCELLED
    assert len(hub.requests()) == 1
    assert {path.name for path in fetching.downloads._models.rglob("*") if path.is_file()} == {".model.gguf.lock"}
    before = len(watching.heard)
    watching.downloads.add("A model", (file,))
    watching.state(State.FINISHED, before)


def test_a_program_of_its_own_is_paused_by_a_window_that_watches(
    pair: tuple[Window, Window], client: Client, hub: LoopbackHub, file: RemoteFile
) -> None:
    watching = pair[0]
    hub.always = SLOW
    id_ = watching.downloads.add("A model", (file,))
    watching.until(lambda s: s.done > 100_000)
    watching.downloads.close()
    noted = bytes_noted(watching.heard[-1].paths[0])
    command = [sys.executable, "-m", "tests.library.kill_child", str(client.folder), hub.endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            until = time.monotonic() + 60
            while bytes_noted(watching.heard[-1].paths[0]) <= noted:
                assert time.monotonic() < until
                time.sleep(0.01)
            before = len(watching.heard)
            watching.downloads.start()
            watching.state(State.ELSEWHERE, before)
            asked = len(hub.requests())
            watching.downloads.pause(id_)
            before = len(watching.heard)
            hub.always = None
            has_ended(watching)
            with lock_of(watching.heard[-1].paths[0]):  # the child gives it free within a second
                assert not watching.heard[-1].paths[0].exists()
            watching.downloads.resume(id_)  # takes up what the child has let go of
            watching.state(State.FINISHED, before)
            assert len(hub.requests()) == asked + 1
        finally:
            child.kill()


def test_notes_of_another_file_of_that_name_do_not_make_more_than_all(
    pair: tuple[Window, Window], hub: LoopbackHub, file: RemoteFile
) -> None:
    window = pair[0]
    target = window.downloads._models / "owner" / "model" / file.name
    target.parent.mkdir(parents=True)
    log = target.with_name(target.name + ".part.log")
    for end in (file.size * 5, -5):
        log.write_text(f'{{"size": 1}}\n{{"end": {end}, "hash": ""}}\n', "utf-8")
        window.downloads.add("A model", (file,))
        window.state(State.FINISHED)
        assert all(0 <= s.done <= s.total for s in window.heard)
        target.unlink()
        window.heard.clear()
