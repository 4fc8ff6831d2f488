"""Models of any repository on the shelf: looked up, checked, fetched, gone on with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.library.hub import COMMIT, REPOSITORY, LoopbackHub
from tests.library.test_shelf import SLOW, Program

from inglenook.core.settings import ALLOW_NETWORK
from inglenook.library.added import Added
from inglenook.library.catalogue import GPT_OSS_20B, CatalogueFile, Entry
from inglenook.library.remote.downloads import State
from inglenook.library.shelf_events import Arrived, Offer, Offered, ShelfFailed, ShelfStatus

KEY = f"{REPOSITORY}/mine.gguf"


@pytest.fixture
def entry(hub: LoopbackHub) -> Entry:
    """The catalogue's one model."""
    return dataclasses.replace(GPT_OSS_20B, repository=REPOSITORY, files=(CatalogueFile("known.gguf", 10, "0" * 64),))


@pytest.fixture
def mine(hub: LoopbackHub, demo_gguf: Path) -> bytes:
    """A model that is in the repository, and not in the catalogue."""
    data = demo_gguf.read_bytes()
    hub.files.clear()
    hub.add("mine.gguf", data)
    return data


def shelf(folder: Path, hub: LoopbackHub, entry: Entry) -> Program:
    program = Program(folder, hub, (entry,), [])
    program.shelf.start()
    return program


def offered(status: ShelfStatus) -> Offer | None:
    return next((offer for offer in status.offers if offer.entry.key == KEY), None)


def test_looked_up_checked_and_fetched(tmp_path: Path, hub: LoopbackHub, entry: Entry, mine: bytes) -> None:
    program = shelf(tmp_path, hub, entry)
    program.shelf.find(f"https://hf.co/{REPOSITORY}")
    assert program.until(Offered).keys == (KEY,)
    offer = offered(program.shelf.status())
    assert offer is not None
    assert (offer.entry.revision, offer.entry.licence, offer.path) == (COMMIT, "apache-2.0", None)
    assert offer.fit.plan is not None  # before anything is fetched
    assert program.shelf.status().finding == ""
    assert not hub.requests("store")
    program.shelf.get(KEY)
    arrived = program.until(Arrived)
    assert arrived.path == program.folder / REPOSITORY / "mine.gguf"
    assert arrived.path.read_bytes() == mine
    assert [found.path for found in program.looked().here] == [arrived.path]
    program.shelf.close()


def test_the_same_again_is_the_same_offer(tmp_path: Path, hub: LoopbackHub, entry: Entry, mine: bytes) -> None:
    program = shelf(tmp_path, hub, entry)
    for _ in range(2):
        before = len(program.heard)
        program.shelf.find(REPOSITORY)
        assert program.until(Offered, after=before).keys == (KEY,)
    assert [offer.entry.key for offer in program.shelf.status().offers] == [KEY, entry.key]
    program.shelf.close()


def test_what_is_no_gpt_oss_is_not_fetched(tmp_path: Path, hub: LoopbackHub, entry: Entry, mine: bytes) -> None:
    hub.add("mine.gguf", mine.replace(b"gpt-oss", b"llama-x"))
    program = shelf(tmp_path, hub, entry)
    program.shelf.find(REPOSITORY)
    program.until(Offered)
    program.shelf.get(KEY)
    assert "llama-x" in program.until(ShelfFailed).error.text()
    assert not list(tmp_path.rglob("*.gguf*"))
    assert Added(program.folder).read() == []
    program.shelf.close()


@pytest.mark.parametrize("address", ["nonsense", "https://evil.example/a/b", "owner/other"])
def test_an_address_of_nothing(tmp_path: Path, hub: LoopbackHub, entry: Entry, address: str) -> None:
    program = shelf(tmp_path, hub, entry)
    program.shelf.find(address)
    program.until(ShelfFailed)
    assert program.shelf.status().finding == ""
    assert [offer.entry.key for offer in program.shelf.status().offers] == [entry.key]
    program.shelf.close()


def test_nothing_is_asked_while_the_network_is_forbidden(
    tmp_path: Path, hub: LoopbackHub, entry: Entry, mine: bytes
) -> None:
    program = shelf(tmp_path, hub, entry)
    program.settings.set(ALLOW_NETWORK, False)
    program.shelf.find(REPOSITORY)
    assert "switched off" in program.until(ShelfFailed).error.text()
    assert not hub.seen
    program.shelf.close()


def test_it_goes_on_after_a_restart_and_is_forgotten_when_it_is_neither_here_nor_coming(
    tmp_path: Path, hub: LoopbackHub, entry: Entry, mine: bytes
) -> None:
    hub.always = SLOW
    first = shelf(tmp_path, hub, entry)
    first.shelf.find(REPOSITORY)
    first.until(Offered)
    first.shelf.get(KEY)
    first.until(ShelfStatus, lambda s: (o := offered(s)) is not None and o.download is not None and o.download.done > 0)
    first.shelf.close()
    hub.always = None
    second = shelf(tmp_path, hub, entry)
    again = offered(second.shelf.status())
    assert again is not None
    assert (again.entry.layers, again.entry.experts) == (4, 4)
    assert second.until(Arrived).path.read_bytes() == mine
    second.shelf.close()
    third = shelf(tmp_path, hub, entry)
    third.looked()
    assert [one.key for one in Added(third.folder).read()] == [KEY]
    third.shelf.close()
    (third.folder / REPOSITORY / "mine.gguf").unlink()
    fourth = shelf(tmp_path, hub, entry)
    fourth.looked()
    assert Added(fourth.folder).read() == []
    fourth.shelf.close()


def test_a_paused_one_stays_paused_and_known(tmp_path: Path, hub: LoopbackHub, entry: Entry, mine: bytes) -> None:
    hub.always = SLOW
    first = shelf(tmp_path, hub, entry)
    first.shelf.find(REPOSITORY)
    first.until(Offered)
    first.shelf.get(KEY)
    first.until(ShelfStatus, lambda s: (o := offered(s)) is not None and o.download is not None)
    first.shelf.pause(KEY)
    paused = lambda s: (o := offered(s)) is not None and o.download is not None and o.download.state is State.PAUSED  # noqa: E731
    first.until(ShelfStatus, paused)
    first.shelf.close()
    second = shelf(tmp_path, hub, entry)
    second.until(ShelfStatus, paused)
    second.shelf.close()


def test_what_has_begun_goes_on_when_the_repository_has_moved_on(
    tmp_path: Path, hub: LoopbackHub, entry: Entry, mine: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.always = SLOW
    program = shelf(tmp_path, hub, entry)
    program.shelf.find(REPOSITORY)
    program.until(Offered)
    program.shelf.get(KEY)
    program.until(ShelfStatus, lambda s: (o := offered(s)) is not None and o.download is not None)
    monkeypatch.setattr("tests.library.hub.COMMIT", "f" * 40)
    before = len(program.heard)
    program.shelf.find(REPOSITORY)
    assert program.until(Offered, after=before).keys == (KEY,)
    now = offered(program.shelf.status())
    assert now is not None
    assert now.entry.revision == COMMIT
    assert now.download is not None
    program.shelf.close()
