"""A Hub that is silent about what is looked up: all else is done meanwhile."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.library.hub import COMMIT, REPOSITORY, Fault, LoopbackHub
from tests.library.test_shelf import SLOW, Program
from tests.library.test_shelf_address import KEY, offered

from inglenook.library.added import Added
from inglenook.library.catalogue import GPT_OSS_20B, CatalogueFile, Entry
from inglenook.library.remote.downloads import State
from inglenook.library.shelf_events import Arrived, Offered, ShelfFailed, ShelfStatus, TrafficRead


class SilentHub(LoopbackHub):
    """Answers what `is_silent` (the place of the request, as in `Fault`) says when `answer` is set, not before."""

    def __init__(self) -> None:
        super().__init__()
        self.is_silent: Callable[[str], bool] = lambda _: False
        self.asked = threading.Event()
        self.answer = threading.Event()

    def fault(self, where: str) -> Fault:
        if self.is_silent(where):
            self.asked.set()
            self.answer.wait(300)
        return super().fault(where)


@pytest.fixture
def hub(demo_gguf: Path) -> Iterator[SilentHub]:
    with SilentHub() as made:
        made.add("known.gguf", demo_gguf.read_bytes())
        made.add("mine.gguf", demo_gguf.read_bytes())
        yield made
        made.answer.set()


@pytest.fixture
def entry(hub: SilentHub) -> Entry:
    """The catalogue's one model, which the Hub has too."""
    file = CatalogueFile("known.gguf", len(hub.files["known.gguf"]), hub.digest("known.gguf"))
    return dataclasses.replace(GPT_OSS_20B, repository=REPOSITORY, revision=COMMIT, files=(file,))


@pytest.fixture
def program(tmp_path: Path, hub: SilentHub, entry: Entry) -> Iterator[Program]:
    made = Program(tmp_path, hub, (entry,), [])
    yield made
    made.shelf.close()


def looking_up() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "look-up"]


def test_other_wishes_are_done_while_the_hub_is_silent_about_an_address(program: Program, hub: SilentHub) -> None:
    key, hub.always, hub.is_silent = GPT_OSS_20B.key, SLOW, lambda where: where == "api"
    program.shelf.get(key)
    program.offer(lambda o: o.download is not None and o.download.done > 0)
    program.shelf.find(REPOSITORY)
    assert hub.asked.wait(60)
    assert program.shelf.status().finding == REPOSITORY
    program.shelf.pause(key)
    program.state(State.PAUSED)
    before = len(program.heard)
    program.shelf.get(key)
    program.state(State.RUNNING, before)
    program.shelf.read_traffic()
    program.until(TrafficRead)
    program.looked()
    before = len(program.heard)
    program.shelf.cancel(key)
    program.offer(lambda o: o.download is None, before)
    assert program.shelf.status().finding == REPOSITORY
    assert not [event for event in program.heard if isinstance(event, Offered | ShelfFailed)]
    hub.answer.set()
    assert KEY in program.until(Offered).keys
    assert program.shelf.status().finding == ""


def test_the_address_that_was_asked_for_last_is_the_one_that_is_answered(program: Program, hub: SilentHub) -> None:
    hub.is_silent = lambda where: where == "api" and len(hub.requests("api") + hub.requests("hub")) == 1
    program.shelf.find(f"{REPOSITORY}/known.gguf")
    assert hub.asked.wait(60)
    program.shelf.find(f"https://hf.co/{REPOSITORY}/blob/main/mine.gguf")
    assert program.until(Offered).keys == (KEY,)
    hub.answer.set()
    program.looked()
    assert len([event for event in program.heard if isinstance(event, Offered | ShelfFailed)]) == 1
    assert program.shelf.status().finding == ""


def test_asking_can_be_stopped(program: Program, hub: SilentHub) -> None:
    hub.is_silent = lambda where: where == "api"
    program.shelf.find(REPOSITORY)
    assert hub.asked.wait(60)
    threads = looking_up()
    before = len(program.heard)
    program.shelf.stop_finding()
    program.until(ShelfStatus, lambda s: s.finding == "", before)
    for thread in threads:  # the server is still silent
        thread.join(60)
        assert not thread.is_alive()
    program.looked()
    assert not [event for event in program.heard if isinstance(event, Offered | ShelfFailed)]


def test_what_is_cancelled_while_its_header_is_looked_at_is_not_fetched(program: Program, hub: SilentHub) -> None:
    program.shelf.find(REPOSITORY)
    program.until(Offered)
    hub.is_silent = lambda where: where == "hub"
    program.shelf.get(KEY)
    assert hub.asked.wait(60)
    before = len(program.heard)
    program.shelf.cancel(KEY)
    program.until(ShelfStatus, lambda s: s.finding == "", before)
    threads = looking_up()
    hub.answer.set()
    for thread in threads:
        thread.join(60)
    program.looked()
    offer = offered(program.shelf.status())
    assert offer is not None
    assert offer.download is None
    assert Added(program.folder).read() == []
    assert not list(program.folder.rglob("mine*"))
    program.shelf.get(KEY)  # it is not forbidden for ever
    program.until(Arrived)


def test_who_pauses_what_has_not_begun_is_told(program: Program, hub: SilentHub) -> None:
    program.shelf.find(REPOSITORY)
    program.until(Offered)
    hub.is_silent = lambda where: where == "hub"
    program.shelf.get(KEY)
    assert hub.asked.wait(60)
    program.shelf.pause(KEY)
    assert "not begun" in program.until(ShelfFailed).error.text()


def test_asking_twice_is_asking_once(program: Program, hub: SilentHub) -> None:
    hub.is_silent = lambda where: where == "api"
    for _ in range(3):
        program.shelf.find(REPOSITORY)
    assert hub.asked.wait(60)
    hub.answer.set()
    program.until(Offered)
    program.looked()
    assert len([event for event in program.heard if isinstance(event, Offered)]) == 1


def test_the_program_ends_while_the_hub_is_silent(program: Program, hub: SilentHub) -> None:
    hub.is_silent = lambda where: where == "api"
    program.shelf.find(REPOSITORY)
    assert hub.asked.wait(60)
    threads = looking_up()
    program.shelf.close()
    assert threads
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not [event for event in program.heard if isinstance(event, Offered | ShelfFailed)]
