"""Models on offer and here: from a loopback Hub, with the real downloads, settings and files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.engine import random_model
from tests.library.fetching import SOON
from tests.library.hub import COMMIT, REPOSITORY, Fault, LoopbackHub
from tests.ui.doubles import MemoryModels

from inglenook.core import fitting
from inglenook.core.errors import UserError
from inglenook.core.memory import Machine, Plan, published
from inglenook.core.settings import ALLOW_NETWORK, HUB_ADDRESS, MODEL_FILE, Settings
from inglenook.library.catalogue import GPT_OSS_20B, GPT_OSS_20B_ORIGINAL, CatalogueFile, Entry
from inglenook.library.files.found import Found, Place
from inglenook.library.remote.downloads import Downloads, State
from inglenook.library.remote.hub import Hub
from inglenook.library.remote.network import Network
from inglenook.library.remote.traffic import Traffic
from inglenook.library.service import ModelService
from inglenook.library.shelf import Shelf
from inglenook.library.shelf_events import (
    OWN,
    Arrived,
    Offer,
    Removed,
    Restored,
    ShelfEvent,
    ShelfFailed,
    ShelfStatus,
    TrafficRead,
    Transferred,
)

E = TypeVar("E")
SLOW = Fault(drip=(20_000, 0.01))
MACHINE = Machine(24_000_000_000, 32_000_000_000, 8)


def estimate(entry: Entry) -> Plan:
    return fitting.estimate(published(entry.layers, entry.experts), MACHINE)


class Program:
    """One start of the program."""

    def __init__(self, folder: Path, hub: LoopbackHub, entries: tuple[Entry, ...], others: list[Place]) -> None:
        self.folder = folder / "models"
        self.settings = Settings(folder / "settings.json")
        self.settings.set(HUB_ADDRESS, hub.endpoint)
        self.models = MemoryModels()
        traffic = Traffic(folder / "network.jsonl")
        self.network = Network(traffic, lambda: self.settings.get(ALLOW_NETWORK))

        def ask() -> Hub:
            return Hub(self.network, self.settings.get(HUB_ADDRESS))

        service: Any = self.models  # ModelService as far as a shelf uses it
        assert all(hasattr(ModelService, name) for name in ("answering", "use_file"))
        self.shelf = Shelf(
            service, Downloads(self.folder, ask, SOON), traffic, self.settings, self.folder, estimate,
            lambda: others, entries,
        )  # fmt: skip
        self.heard: list[ShelfEvent] = []
        self._more = threading.Condition()
        self.shelf.subscribe(self._take)

    def _take(self, event: ShelfEvent) -> None:
        with self._more:
            self.heard.append(event)
            self._more.notify_all()

    def until(self, kind: type[E], right: Callable[[E], bool] = lambda _: True, after: int = 0) -> E:
        def found() -> E | None:
            return next((e for e in self.heard[after:] if isinstance(e, kind) and right(e)), None)

        with self._more:
            assert self._more.wait_for(lambda: found() is not None, 60), self.heard[-3:]
        event = found()
        assert event is not None
        return event

    def offer(self, right: Callable[[Offer], bool], after: int = 0) -> Offer:
        """The recommended model, as soon as it is so."""
        return self.until(ShelfStatus, lambda s: right(s.recommended), after).recommended

    def state(self, state: State, after: int = 0) -> Offer:
        return self.offer(lambda o: o.download is not None and o.download.state is state, after)

    def looked(self) -> ShelfStatus:
        """What there is, after looking."""
        before = len(self.heard)
        self.shelf.refresh()
        self.until(ShelfStatus, lambda s: s.looking, before)
        return self.until(ShelfStatus, lambda s: not s.looking, before + 1)


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    return random_model.write(tmp_path / "made.gguf").read_bytes() + bytes(1 << 20)


@pytest.fixture
def entry(hub: LoopbackHub, data: bytes) -> Entry:
    file = hub.add(GPT_OSS_20B.files[0].name, data)
    return replace(
        GPT_OSS_20B,
        repository=REPOSITORY,
        revision=COMMIT,
        files=(CatalogueFile(file.name, file.size, file.digest),),
    )


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path, hub: LoopbackHub, entry: Entry) -> Iterator[Start]:
    programs: list[Program] = []

    def make(others: list[Place] | None = None) -> Program:
        programs.append(Program(tmp_path, hub, (entry, GPT_OSS_20B_ORIGINAL), others or []))
        return programs[-1]

    yield make
    for program in programs:
        program.shelf.close()
        program.settings.flush()


def test_one_button_fetches_the_model_and_chooses_it(start: Start, data: bytes, entry: Entry) -> None:
    program = start()
    program.shelf.get(entry.key)
    arrived = program.until(Arrived)
    assert arrived == Arrived("gpt-oss-20b", program.folder / REPOSITORY / entry.files[0].name, used=True)
    assert arrived.path.read_bytes() == data
    assert program.models.calls == [("use_file", arrived.path)]
    assert program.shelf.status().recommended.path == arrived.path
    assert program.shelf.status().recommended.download is None
    assert [one.title for one in program.shelf.status().here] == ["gpt-oss-20b"]
    assert program.shelf.status().source == "127.0.0.1"


def test_a_model_that_was_chosen_stays_chosen(start: Start, entry: Entry) -> None:
    program = start()
    program.models.choice = "/models/another.gguf"
    program.shelf.get(entry.key)
    assert not program.until(Arrived).used
    assert program.models.calls == []


def test_a_download_goes_on_after_a_new_start_without_being_asked(
    start: Start, hub: LoopbackHub, entry: Entry, data: bytes
) -> None:
    hub.always = SLOW
    program = start()
    program.shelf.get(entry.key)
    program.offer(lambda o: o.download is not None and o.download.done > 500_000)
    program.shelf.close()
    hub.always, hub.sent = None, 0
    again = start()
    again.shelf.start()
    assert again.until(Arrived).used
    assert hub.sent < len(data) - 400_000  # what had arrived was not fetched again


def test_a_paused_one_waits_after_a_new_start(start: Start, hub: LoopbackHub, entry: Entry) -> None:
    hub.always = SLOW
    program = start()
    program.shelf.get(entry.key)
    program.state(State.RUNNING)
    program.shelf.pause(entry.key)
    program.state(State.PAUSED)
    program.shelf.close()
    hub.always = None
    again = start()
    again.shelf.start()
    again.state(State.PAUSED)
    asked = len(hub.seen)
    again.looked()
    assert len(hub.seen) == asked
    again.shelf.get(entry.key)
    again.until(Arrived)


def test_cancel_removes_what_arrived(start: Start, hub: LoopbackHub, entry: Entry) -> None:
    hub.always = SLOW
    program = start()
    program.shelf.get(entry.key)
    program.offer(lambda o: o.download is not None and o.download.done > 100_000)
    before = len(program.heard)
    program.shelf.cancel(entry.key)
    program.offer(lambda o: o.download is None, before)
    program.shelf.close()
    assert not [p for p in program.folder.rglob("*") if p.suffix == ".part"]


def test_the_switch_forbids_and_going_on_needs_no_asking(start: Start, hub: LoopbackHub, entry: Entry) -> None:
    program = start()
    program.settings.set(ALLOW_NETWORK, False)
    program.shelf.get(entry.key)
    failed = program.state(State.FAILED).download
    assert failed is not None
    assert failed.reason is not None
    assert "switched off" in failed.reason.text()
    assert hub.seen == []
    program.shelf.read_traffic()
    assert program.until(TrafficRead).requests == ()
    program.settings.set(ALLOW_NETWORK, True)
    program.until(Arrived)
    before = len(program.heard)
    program.shelf.read_traffic()
    requests = program.until(TrafficRead, after=before).requests
    assert {one.host for one in requests} == {"127.0.0.1", "localhost"}
    assert sum(one.received for one in requests) >= entry.size


def test_switched_off_in_the_middle(start: Start, hub: LoopbackHub, entry: Entry) -> None:
    hub.always = SLOW
    program = start()
    program.shelf.get(entry.key)
    program.offer(lambda o: o.download is not None and o.download.done > 100_000)
    program.settings.set(ALLOW_NETWORK, False)
    download = program.state(State.FAILED).download
    assert download is not None
    assert download.reason is not None
    assert "switched off" in download.reason.text()


def test_delete_undo_and_really_gone(start: Start, entry: Entry, data: bytes) -> None:
    program = start()
    program.shelf.get(entry.key)
    path = program.until(Arrived).path
    (model,) = program.shelf.status().here
    before = len(program.heard)
    program.shelf.delete(model)
    assert program.until(Removed).title == "gpt-oss-20b"
    assert not path.exists()
    assert program.shelf.status().here == ()
    assert program.shelf.status().recommended.path is None
    program.shelf.undo_delete()
    program.until(ShelfStatus, lambda s: s.here == (model,), before + 3)
    assert path.read_bytes() == data
    program.shelf.delete(model)
    program.until(Removed, after=len(program.heard))
    program.shelf.close()
    assert not [p for p in program.folder.rglob("*") if p.is_file() and p.stat().st_size > 1_000_000]


def test_what_is_in_use_or_of_another_program_is_not_deleted(start: Start, tmp_path: Path, data: bytes) -> None:
    theirs = tmp_path / "theirs" / "m.gguf"
    theirs.parent.mkdir()
    theirs.write_bytes(data)
    program = start([Place("LM Studio", theirs.parent)])
    (model,) = program.looked().here
    assert (model.owner, model.path) == ("LM Studio", theirs)
    program.shelf.delete(model)
    assert "LM Studio" not in program.until(ShelfFailed).error.text()
    program.settings.set(MODEL_FILE, str(theirs))
    before = len(program.heard)
    program.shelf.delete(model)
    assert "in use" in program.until(ShelfFailed, after=before).error.text()
    assert theirs.exists()


def test_a_chosen_file_that_is_gone_is_told(start: Start, tmp_path: Path) -> None:
    program = start()
    program.settings.set(MODEL_FILE, str(tmp_path / "stick" / "m.gguf"))
    (model,) = program.looked().here
    assert model.problem is not None
    assert "On a drive that is not connected" in model.problem.text()
    assert program.shelf.status().chosen == str(model.path)


def test_memory_and_disk_are_told_before_anything_is_fetched(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    program = start()
    program.shelf.start()
    offer = program.offer(lambda o: o.fit.plan is not None)
    assert offer.fit.plan is not None
    assert 12e9 < offer.fit.plan.total < 17e9
    assert program.shelf.status().free > 0

    def refuse(_: Entry) -> Plan:
        raise UserError("Too big.")

    monkeypatch.setattr(program.shelf, "_estimate", refuse)
    before = len(program.heard)
    program.shelf.refresh()
    refused = program.offer(lambda o: o.fit.refusal is not None, before)
    assert refused.fit.plan is None


def test_a_folder_that_cannot_be_made_is_told_and_the_next_wish_is_heard(start: Start, entry: Entry) -> None:
    program = start()
    program.folder.parent.mkdir(exist_ok=True)
    program.folder.write_text("in the way")
    program.shelf.get(entry.key)
    program.until(ShelfFailed)
    program.folder.unlink()
    program.shelf.get(entry.key)
    program.until(Arrived)


def test_own_files_say_so(start: Start, data: bytes) -> None:
    program = start()
    path = program.folder / "made" / "mine.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    assert program.looked().here == (Found(path, OWN, "mine", len(data), (path,)),)


def test_models_that_chats_remember_are_listed_and_one_whose_drive_is_away_says_so(
    start: Start, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "stick").mkdir()
    here, away = tmp_path / "stick" / "here.gguf", tmp_path / "away" / "m.gguf"
    here.write_bytes(data)
    program = start()
    program.shelf.remember(frozenset({str(here), str(away), "demo"}))
    found = {one.path: one for one in program.looked().here}
    assert set(found) == {here, away}
    assert found[here].problem is None
    problem = found[away].problem
    assert problem is not None
    assert "On a drive that is not connected" in problem.text()


def test_the_first_model_from_a_stick_is_used_and_its_download_is_given_up(
    start: Start, hub: LoopbackHub, entry: Entry, tmp_path: Path, data: bytes
) -> None:
    hub.always = SLOW
    program = start()
    program.shelf.get(entry.key)
    program.offer(lambda o: o.download is not None and o.download.done > 100_000)
    program.shelf.pause(entry.key)
    program.state(State.PAUSED)
    stick = tmp_path / "stick"
    stick.mkdir()
    (stick / "some name.gguf").write_bytes(data)
    program.shelf.import_model(stick)
    told = program.until(Transferred)
    assert told.used
    assert told.status.published == entry.files[0].name
    path = told.status.path
    assert path is not None
    assert program.models.calls == [("use_file", path)]
    offer = program.offer(lambda o: o.download is None and o.path == path)
    assert offer.path == program.folder / REPOSITORY / entry.files[0].name
    assert program.shelf.status().transfer is None
    assert not [p for p in program.folder.rglob("*") if p.suffix in (".part", ".json")]


def test_a_moved_model_is_still_ours_still_chosen_and_known_to_its_chats(
    start: Start, tmp_path: Path, data: bytes
) -> None:
    program = start()
    drive = tmp_path / "drive"
    drive.mkdir()
    old = program.folder / "Imported" / "m.gguf"
    old.parent.mkdir(parents=True)
    old.write_bytes(data)
    (model,) = program.looked().here
    program.settings.set(MODEL_FILE, str(old))
    program.shelf.remember(frozenset({str(old)}))
    program.shelf.move(model, drive)
    told = program.until(Transferred)
    assert told.used
    assert program.models.calls == [("use_file", drive / "m.gguf")]
    program.settings.set(MODEL_FILE, str(drive / "m.gguf"))  # as the real use_file does
    (there,) = program.looked().here
    assert (there.owner, there.path, there.title) == (OWN, drive / "m.gguf", "m")
    drive.rename(tmp_path / "pulled")
    (away,) = program.looked().here
    assert away.problem is not None
    assert "drive that is not connected" in away.problem.text()
    assert (away.owner, away.path) == (OWN, drive / "m.gguf")
    (tmp_path / "pulled").rename(drive)
    program.settings.set(MODEL_FILE, "")
    program.shelf.remember(frozenset())
    before = len(program.heard)
    program.shelf.delete(there)
    program.until(Removed, after=before)
    assert not there.path.exists()
    assert program.shelf.status().here == ()
    program.shelf.undo_delete()
    assert program.until(Restored, after=before).path == there.path
    assert program.shelf.status().here == (there,)
    program.shelf.close()
    assert start().looked().here == (there,)


def test_another_programs_model_is_copied_and_not_moved_or_deleted(start: Start, tmp_path: Path, data: bytes) -> None:
    theirs = tmp_path / "theirs" / "m.gguf"
    theirs.parent.mkdir()
    theirs.write_bytes(data + b"x")
    program = start([Place("LM Studio", theirs.parent)])
    (model,) = program.looked().here
    (tmp_path / "elsewhere").mkdir()
    program.shelf.move(model, tmp_path / "elsewhere")
    assert "LM Studio" in program.until(ShelfFailed).error.text()
    before = len(program.heard)
    program.shelf.delete(replace(model, owner=OWN))  # whatever somebody says of it
    assert "another program" in program.until(ShelfFailed, after=before).error.text()
    program.shelf.import_model(theirs)
    program.until(Transferred)
    assert {one.owner for one in program.shelf.status().here} == {OWN, "LM Studio"}
    assert theirs.exists()


def test_what_cannot_be_copied_is_shown_until_it_is_dismissed(start: Start, tmp_path: Path) -> None:
    program = start()
    program.shelf.import_model(tmp_path / "no.gguf")
    status = program.until(ShelfStatus, lambda s: s.transfer is not None and s.transfer.error is not None)
    assert status.transfer is not None
    assert "is not there" in status.transfer.text()
    before = len(program.heard)
    program.shelf.cancel_transfer()
    program.until(ShelfStatus, lambda s: s.transfer is None, before)


def test_a_second_window_does_not_empty_the_bin_of_the_first(start: Start, data: bytes) -> None:
    first = start()
    path = first.folder / "m.gguf"
    path.parent.mkdir()
    path.write_bytes(data)
    (model,) = first.looked().here
    first.shelf.delete(model)
    first.until(Removed)
    second = start()
    second.shelf.start()
    second.looked()
    second.shelf.undo_delete()
    assert "nothing to bring back" in second.until(ShelfFailed).error.text()
    first.shelf.undo_delete()
    first.until(Restored)
    assert path.read_bytes() == data


def test_what_the_folder_takes(start: Start, data: bytes) -> None:
    program = start()
    folder = program.folder / "a"
    folder.mkdir(parents=True)
    for name in ("kept.gguf", "deleted.gguf"):
        (folder / name).write_bytes(data)
    (folder / "x.gguf.part").write_bytes(bytes(1000))
    (folder / "y.gguf.wrong").write_bytes(bytes(500))
    model = next(one for one in program.looked().here if one.title == "deleted")
    program.shelf.delete(model)
    program.until(Removed)
    usage = program.looked().usage
    assert (usage.binned, usage.unfinished) == (len(data), 1500)
    assert 2 * len(data) + 1500 <= usage.own < 2 * len(data) + 5000


def test_a_choice_of_another_program_is_seen(start: Start, tmp_path: Path) -> None:
    program = start()
    program.settings.flush()
    command = Settings(tmp_path / "settings.json")
    command.set(MODEL_FILE, "/models/x.gguf")
    command.flush()
    program.shelf.refresh()
    program.until(ShelfStatus, lambda s: s.chosen == "/models/x.gguf")


def test_a_model_on_a_drive_that_will_not_come_back_can_be_forgotten(start: Start, tmp_path: Path, data: bytes) -> None:
    program = start()
    drive = tmp_path / "drive"
    drive.mkdir()
    file = program.folder / "m.gguf"
    file.parent.mkdir()
    file.write_bytes(data)
    (model,) = program.looked().here
    program.shelf.move(model, drive)
    program.until(Transferred)
    drive.rename(tmp_path / "pulled")
    (away,) = program.looked().here
    program.shelf.delete(away)
    program.until(Removed)
    assert program.shelf.status().here == ()
    program.shelf.undo_delete()
    program.until(Restored)
    assert program.shelf.status().here == (away,)
    (tmp_path / "pulled").rename(drive)
    assert program.looked().here[0].problem is None
