"""Downloads that were begun before an update of the program changed what the catalogue pins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engine import random_model
from tests.library.fetching import some_bytes
from tests.library.hub import COMMIT, REPOSITORY, LoopbackHub
from tests.library.test_shelf import SLOW, Program

from inglenook.library.catalogue import GPT_OSS_20B, CatalogueFile, Entry, Format
from inglenook.library.remote.download import lock_of
from inglenook.library.remote.downloads import State
from inglenook.library.remote.jobs import Job, JobFolder
from inglenook.library.shelf_events import Arrived, ShelfFailed, ShelfStatus

NEWER = "f" * 40
NAME = GPT_OSS_20B.files[0].name
Start = Callable[[Entry], Program]


def pinned(hub: LoopbackHub, revision: str, *names: str) -> Entry:
    files = tuple(CatalogueFile(name, len(hub.files[name]), hub.digest(name)) for name in names or (NAME,))
    return replace(GPT_OSS_20B, repository=REPOSITORY, revision=revision, files=files)


@pytest.fixture
def old(hub: LoopbackHub, tmp_path: Path) -> Entry:
    """The catalogue's model, as an earlier version of the program had it."""
    hub.add(NAME, random_model.write(tmp_path / "made.gguf").read_bytes() + bytes(1 << 20))
    return pinned(hub, COMMIT)


@pytest.fixture
def start(tmp_path: Path, hub: LoopbackHub) -> Iterator[Start]:
    programs: list[Program] = []

    def make(entry: Entry) -> Program:
        programs.append(Program(tmp_path, hub, (entry,), []))
        return programs[-1]

    yield make
    for program in programs:
        program.shelf.close()
        program.settings.flush()


def begun(start: Start, hub: LoopbackHub, entry: Entry, *, paused: bool = False) -> Path:
    """The folder of a program that was ended while it fetched `entry`."""
    hub.always = SLOW
    program = start(entry)
    program.shelf.get(entry.key)
    program.offer(lambda o: o.download is not None and o.download.done > 500_000)
    if paused:
        program.shelf.pause(entry.key)
        program.state(State.PAUSED)
    program.shelf.close()
    hub.always, hub.sent = None, 0
    hub.seen.clear()
    return program.folder


def updated(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, more: int = 1000) -> Entry:
    """What the next version of the program pins."""
    monkeypatch.setattr("tests.library.hub.COMMIT", NEWER)
    hub.files[NAME] = hub.files[NAME] + bytes(more)
    return pinned(hub, NEWER)


def left(folder: Path) -> list[str]:
    """Kept downloads, and what has arrived of them."""
    return [p.name for p in folder.rglob("*") if p.suffix in (".json", ".part", ".wrong")]


def test_the_newer_version_is_fetched_in_place_of_the_old(
    start: Start, hub: LoopbackHub, old: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(start, hub, old)
    new = updated(hub, monkeypatch)
    program = start(new)
    program.shelf.start()
    assert program.until(Arrived).path.read_bytes() == hub.files[NAME]
    assert {seen.path.split("/")[4] for seen in hub.requests("hub")} == {NEWER}
    assert program.looked().recommended.path is not None
    program.shelf.close()
    assert left(program.folder) == []


def test_a_paused_one_stays_paused_and_nothing_of_the_old_is_left(
    start: Start, hub: LoopbackHub, old: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(start, hub, old, paused=True)
    new = updated(hub, monkeypatch)
    program = start(new)
    program.shelf.start()
    download = program.state(State.PAUSED).download
    assert download is not None
    assert (download.done, download.total) == (0, new.size)
    assert [name for name in left(program.folder) if not name.endswith(".paused.json")] == []
    assert not hub.seen
    program.shelf.get(new.key)
    assert program.until(Arrived).path.read_bytes() == hub.files[NAME]


def test_what_has_the_same_bytes_goes_on_where_it_was(
    start: Start, hub: LoopbackHub, old: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(start, hub, old)
    new = updated(hub, monkeypatch, more=0)
    assert new.revision != old.revision
    program = start(new)
    program.shelf.start()
    program.until(Arrived)
    assert hub.sent < new.size - 400_000


def test_another_hash_of_the_same_revision(start: Start, hub: LoopbackHub, old: Entry) -> None:
    """A catalogue that was wrong and was put right: the id of the download is the same."""
    wrong = replace(old, files=(replace(old.files[0], size=old.size + 7, digest="0" * 64),))
    JobFolder(start(old).folder / ".downloads").write(Job("wrong", wrong.remote()))
    program = start(old)
    program.shelf.start()
    assert program.until(Arrived).path.read_bytes() == hub.files[NAME]
    program.shelf.close()
    assert left(program.folder) == []


def test_parts_of_an_old_set_make_room_for_the_new(
    start: Start, hub: LoopbackHub, old: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf")
    hub.files = {names[0]: hub.files[NAME][:200_000], names[1]: hub.files[NAME]}
    folder = begun(start, hub, pinned(hub, COMMIT, *names))
    assert (folder / REPOSITORY / names[0]).exists()
    monkeypatch.setattr("tests.library.hub.COMMIT", NEWER)
    hub.files = {name: some_bytes(len(data)) for name, data in hub.files.items()}
    program = start(pinned(hub, NEWER, *names))
    program.shelf.start()
    program.until(Arrived)
    for name in names:
        assert (folder / REPOSITORY / name).read_bytes() == hub.files[name]
    program.shelf.close()
    assert left(folder) == []


def test_what_another_program_still_fetches_is_shown_and_can_be_stopped(
    start: Start, hub: LoopbackHub, old: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun(start, hub, old)
    new = updated(hub, monkeypatch)
    lock = lock_of(folder / REPOSITORY / NAME)
    assert lock.try_acquire()
    program = start(new)
    program.shelf.start()
    program.state(State.ELSEWHERE)
    assert not hub.seen
    before = len(program.heard)
    program.shelf.pause(new.key)
    program.state(State.PAUSED, before)
    lock.release()
    program.shelf.get(new.key)
    assert program.until(Arrived).path.read_bytes() == hub.files[NAME]
    program.shelf.close()
    assert left(folder) == []


def test_where_the_disk_lets_nothing_be_replaced_it_is_shown(
    start: Start, hub: LoopbackHub, old: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(start, hub, old, paused=True)

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(JobFolder, "write", refuse)
    program = start(updated(hub, monkeypatch))
    program.shelf.start()
    program.state(State.PAUSED)


def test_what_cannot_be_looked_at_keeps_no_download_from_going_on(
    start: Start, hub: LoopbackHub, old: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(start, hub, old)

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("inglenook.library.shelf.usage_of", refuse)
    program = start(old)
    program.shelf.start()
    program.state(State.FINISHED)
    program.until(ShelfFailed)


def test_what_nobody_offers_is_shown_while_it_is_fetched(start: Start, hub: LoopbackHub, old: Entry) -> None:
    begun(start, hub, old)
    hub.always = SLOW
    program = start(GPT_OSS_20B)
    program.shelf.start()
    key = f"{REPOSITORY}/{NAME}"
    program.until(ShelfStatus, lambda s: any(o.entry.key == key and o.download is not None for o in s.offers))
    offer = program.shelf.status().offer(key)
    assert (offer.entry.title, offer.entry.format) == ("gpt-oss-20b", Format.GGUF)
    before = len(program.heard)
    program.shelf.cancel(key)
    program.until(ShelfStatus, lambda s: s.offer(key).download is None, before)
    program.shelf.close()
    assert left(program.folder) == []


def test_a_whole_model_of_an_older_version_is_not_taken_for_the_new_one(
    start: Start, hub: LoopbackHub, old: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = start(old)
    program.shelf.get(old.key)
    path = program.until(Arrived).path
    data = path.read_bytes()
    JobFolder(program.folder / ".downloads").write(Job("was killed before it could forget it", old.remote()))
    program.shelf.close()
    again = start(updated(hub, monkeypatch))
    again.shelf.start()
    status = again.looked()
    assert status.recommended.path is None
    assert status.recommended.download is None
    assert [(one.path, one.title) for one in status.here] == [(path, path.stem)]
    assert path.read_bytes() == data
    assert left(again.folder) == []
