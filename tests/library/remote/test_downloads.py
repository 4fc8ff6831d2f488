"""The downloads of the program: pause, resume, cancel, a second program, a full disk, a new start."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tests.library.fetching import Client, Window, some_bytes
from tests.library.hub import Fault, LoopbackHub

from inglenook.core.errors import UserError
from inglenook.library.locks import FileLock
from inglenook.library.remote import downloads as module
from inglenook.library.remote.downloads import State
from inglenook.library.remote.hub import RemoteFile
from inglenook.library.remote.jobs import Job, JobFolder, target_of

SLOW = Fault(drip=(20_000, 0.01))


@pytest.fixture
def open_window(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Window]]:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.02)
    windows: list[Window] = []

    def make() -> Window:
        windows.append(Window(client))
        return windows[-1]

    yield make
    for window in windows:
        window.downloads.close()


Open = Callable[[], Window]


def test_several_files_come_in_their_order_as_one(open_window: Open, hub: LoopbackHub) -> None:
    files = (hub.add("config.json", b"{}", small=True), hub.add("a.safetensors", some_bytes(500_000)))
    window = open_window()
    id_ = window.downloads.add("A model", tuple(replace(f, digest="") for f in files))
    status = window.state(State.FINISHED)
    assert status.title == "A model"
    assert [p.read_bytes() for p in status.paths] == [hub.files[f.name] for f in files]
    assert status.paths[1] == window.models / "owner" / "model" / "a.safetensors"
    done = [s.done for s in window.heard]
    assert done == sorted(done)
    assert done[-1] == status.total == 500_002
    assert window.downloads.statuses() == [window.heard[-1]]
    assert [s.id for s in window.downloads.statuses()] == [id_]


def test_a_second_request_for_the_same_is_the_same(open_window: Open, hub: LoopbackHub, file: RemoteFile) -> None:
    window = open_window()
    hub.faults.append(SLOW)
    ids = {window.downloads.add("A model", (file,)) for _ in range(3)}
    window.state(State.FINISHED)
    assert len(ids) == 1
    window.downloads.add("A model", (file,))
    window.state(State.FINISHED, len(window.heard) - 1)
    assert len(hub.requests()) == 1


def test_pause_holds_over_a_new_start_and_resume_goes_on(open_window: Open, hub: LoopbackHub, file: RemoteFile) -> None:
    window = open_window()
    hub.faults.append(SLOW)
    id_ = window.downloads.add("A model", (file,))
    window.until(lambda s: s.done > 300_000)
    window.downloads.pause(id_)
    paused = window.downloads.statuses()[0]
    assert paused.state is State.PAUSED
    window.downloads.close()
    assert window.heard[-1] == paused
    again = open_window()
    again.downloads.start()
    (status,) = again.downloads.statuses()
    assert (status.state, status.title) == (State.PAUSED, "A model")
    assert 0 < status.done <= file.size
    asked = len(hub.seen)
    again.downloads.resume(id_)
    again.state(State.FINISHED)
    assert len(hub.seen) == asked + 2
    assert hub.requests()[-1].headers["Range"] == f"bytes={status.done}-"


def test_pause_and_resume_in_one_breath(open_window: Open, hub: LoopbackHub, file: RemoteFile) -> None:
    window = open_window()
    hub.faults.append(SLOW)
    id_ = window.downloads.add("A model", (file,))
    window.until(lambda s: s.done > 300_000)
    for _ in range(3):
        window.downloads.pause(id_)
        window.downloads.resume(id_)
    status = window.state(State.FINISHED)
    assert status.paths[0].read_bytes() == hub.files[file.name]
    assert not [s for s in window.heard if s.state is State.ELSEWHERE]
    done = [s.done for s in window.heard]
    assert done == sorted(done)


def test_a_new_start_goes_on_without_being_asked(open_window: Open, hub: LoopbackHub, file: RemoteFile) -> None:
    window = open_window()
    hub.faults.append(SLOW)
    window.downloads.add("A model", (file,))
    window.until(lambda s: s.done > 300_000)
    window.downloads.close()
    again = open_window()
    again.downloads.start()
    assert again.state(State.FINISHED).paths[0].read_bytes() == hub.files[file.name]
    assert hub.requests()[-1].headers["Range"] != "bytes=0-"
    third = open_window()
    third.downloads.start()
    assert third.downloads.statuses() == []


def test_cancel_leaves_nothing(open_window: Open, hub: LoopbackHub, file: RemoteFile) -> None:
    window = open_window()
    hub.faults.append(SLOW)
    id_ = window.downloads.add("A model", (file,))
    window.until(lambda s: s.done > 300_000)
    window.downloads.cancel(id_)
    window.downloads.close()
    assert window.heard[-1].state is State.CANCELLED
    left = {p.name for p in window.models.rglob("*") if p.is_file()}
    assert left == {".model.gguf.lock"}
    window.downloads.resume(id_)
    assert window.downloads.statuses()[0].state is State.CANCELLED
    window.downloads.add("A model", (file,))
    window.state(State.FINISHED)


def test_cancel_of_a_paused_one_leaves_nothing(open_window: Open, hub: LoopbackHub, file: RemoteFile) -> None:
    window = open_window()
    hub.faults.append(SLOW)
    id_ = window.downloads.add("A model", (file,))
    window.until(lambda s: s.done > 300_000)
    window.downloads.pause(id_)
    window.downloads.close()
    window.downloads.cancel(id_)
    assert {p.name for p in window.models.rglob("*") if p.is_file()} == {".model.gguf.lock"}


def test_a_failure_is_told_and_resume_tries_again(open_window: Open, hub: LoopbackHub, file: RemoteFile) -> None:
    window = open_window()
    hub.always = Fault(html=True)
    id_ = window.downloads.add("A model", (file,))
    failed = window.state(State.FAILED)
    assert failed.reason is not None
    assert "web page" in failed.reason.text()
    assert window.state(State.WAITING).reason is not None
    hub.always = None
    window.downloads.resume(id_)
    window.state(State.FINISHED)


def test_with_the_switch_off_nothing_starts_and_with_it_on_start_goes_on(
    open_window: Open, client: Client, hub: LoopbackHub, file: RemoteFile
) -> None:
    window = open_window()
    client.allowed = False
    window.downloads.add("A model", (file,))
    failed = window.state(State.FAILED)
    assert failed.reason is not None
    assert "switched off" in failed.reason.text()
    assert not hub.seen
    client.allowed = True
    window.downloads.close()
    window.downloads.start()
    window.state(State.FINISHED)


def test_it_waits_for_room_and_goes_on_by_itself(
    open_window: Open, hub: LoopbackHub, file: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = open_window()
    free = [1_000_000]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, free[0]))
    window.downloads.add("A model", (file,))
    status = window.state(State.NO_ROOM)
    assert status.reason is not None
    assert "more are needed" in status.reason.text()
    assert not hub.seen
    free[0] = 10**9
    window.state(State.FINISHED)


def test_a_file_that_another_program_fetches_is_waited_for(
    open_window: Open, client: Client, hub: LoopbackHub, file: RemoteFile
) -> None:
    hub.faults.append(SLOW)
    one, other = open_window(), open_window()
    one.downloads.add("A model", (file,))
    one.until(lambda s: s.done > 100_000)
    other.downloads.add("A model", (file,))
    other.state(State.ELSEWHERE)
    one.state(State.FINISHED)
    other.state(State.FINISHED)
    assert len(hub.requests()) == 1


def test_cancel_takes_nothing_from_another_program(open_window: Open, hub: LoopbackHub, file: RemoteFile) -> None:
    hub.faults.append(SLOW)
    one, other = open_window(), open_window()
    one.downloads.add("A model", (file,))
    one.until(lambda s: s.done > 100_000)
    id_ = other.downloads.add("A model", (file,))
    other.state(State.ELSEWHERE)
    other.downloads.cancel(id_)
    other.downloads.close()
    assert one.state(State.FINISHED).paths[0].read_bytes() == hub.files[file.name]
    assert len(hub.requests()) == 1


def test_what_came_wrong_twice_waits_for_the_user(open_window: Open, hub: LoopbackHub, file: RemoteFile) -> None:
    """A start of the program does not fetch it again, and again."""
    hub.always = Fault(flip=1000)
    window = open_window()
    id_ = window.downloads.add("A model", (file,))
    reason = window.state(State.FAILED).reason
    assert reason is not None
    assert "came twice with wrong bytes" in reason.text()
    window.downloads.close()
    asked = len(hub.seen)
    later = open_window()
    later.downloads.start()
    later.state(State.PAUSED)
    hub.always = None
    later.downloads.resume(id_)
    later.state(State.FINISHED)
    assert len(hub.seen) == asked + 2


@pytest.mark.parametrize("wrong", [{"size": "12"}, {"size": None}, {"name": 5}, {"size": True}])
def test_a_damaged_job_does_not_hold_up_the_others(
    open_window: Open, hub: LoopbackHub, file: RemoteFile, wrong: dict[str, object]
) -> None:
    window = open_window()
    folder = window.models / ".downloads"
    JobFolder(folder).write(Job("A model", (file,)))
    damaged = {"title": "Another", "files": [{**asdict(file), **wrong}]}
    (folder / "0000.json").write_text(json.dumps(damaged), "utf-8")
    window.downloads.start()
    window.state(State.FINISHED)


def test_a_disk_that_is_gone_is_told(open_window: Open, file: RemoteFile) -> None:
    window = open_window()
    window.models.write_text("a file in its place")
    with pytest.raises(UserError, match="cannot be used"):
        window.downloads.add("A model", (file,))


UNSAFE = ["../x", "a/../../x", "/etc/x", "a//b", "", ".", "a\\b", "C:x", "nul", "con.gguf", "a.", "a ", ".lock", "a\nb"]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_leads_elsewhere_is_refused(
    open_window: Open, hub: LoopbackHub, file: RemoteFile, name: str
) -> None:
    with pytest.raises(UserError, match="not safe"):
        open_window().downloads.add("A model", (replace(file, name=name),))
    assert not hub.seen


def test_a_name_with_folders_goes_into_folders(tmp_path: Path, file: RemoteFile) -> None:
    assert target_of(tmp_path, replace(file, name="original/model.safetensors")) == (
        tmp_path / "owner" / "model" / "original" / "model.safetensors"
    )


def test_damaged_jobs_are_left_out(open_window: Open, file: RemoteFile) -> None:
    folder = JobFolder(open_window().models / ".downloads")
    good = Job("A model", (file,), paused=True)
    folder.write(good)
    (open_window().models / ".downloads" / "a.json").write_text("{")
    (open_window().models / ".downloads" / "b.json").write_text('{"title": "x", "files": [{"name": "y"}]}')
    (open_window().models / ".downloads" / "c.json").write_text("[" * 100_000)
    folder.write(Job("Evil", (replace(file, name="../x"),)))
    assert good in folder.read()
    window = open_window()
    window.downloads.start()
    assert [s.title for s in window.downloads.statuses()] == ["A model"]


def test_what_a_killed_program_left_of_a_job_goes_with_a_later_start(tmp_path: Path, file: RemoteFile) -> None:
    folder = JobFolder(tmp_path)
    job = Job("A model", (file,))
    folder.write(job)
    old, young = tmp_path / "0123.tmp", tmp_path / "4567.tmp"
    for left in (old, young):
        left.write_text("{")
    os.utime(old, (time.time() - 90, time.time() - 90))
    assert folder.read() == [job]
    assert not old.exists()
    assert young.exists()


def test_a_lock_is_for_one(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.try_acquire()
    assert not other.try_acquire()
    one.release()
    assert other.try_acquire()
    other.release()
