"""Checkpoints on the shelf: copied here, never used as they are, moved, deleted, brought back, converted."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.library.hub import COMMIT, REPOSITORY, LoopbackHub
from tests.library.test_shelf import Program, Start

from inglenook.core.settings import MODEL_FILE
from inglenook.library.catalogue import GPT_OSS_20B, GPT_OSS_20B_ORIGINAL, CatalogueFile
from inglenook.library.files.found import HUGGING_FACE, Place
from inglenook.library.making.demo import demo_checkpoint
from inglenook.library.shelf_events import OWN, Arrived, Removed, Restored, ShelfStatus, Transferred


@pytest.fixture
def start(tmp_path: Path, hub: LoopbackHub) -> Iterator[Start]:
    """The checkpoint that the catalogue has is the demo model's."""
    files = [
        CatalogueFile(file.name, file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest())
        for file in sorted(demo_checkpoint().iterdir())
    ]
    entry = replace(GPT_OSS_20B_ORIGINAL, repository=REPOSITORY, revision=COMMIT, files=tuple(files))
    programs: list[Program] = []

    def make(others: list[Place] | None = None) -> Program:
        programs.append(Program(tmp_path, hub, (GPT_OSS_20B, entry), others or []))
        return programs[-1]

    yield make
    for program in programs:
        program.shelf.close()
        program.settings.flush()


def test_from_a_stick_to_a_model(start: Start, tmp_path: Path) -> None:
    program, drive = start(), tmp_path / "drive"
    shutil.copytree(demo_checkpoint(), tmp_path / "stick" / "small")
    drive.mkdir()
    program.shelf.import_model(tmp_path / "stick")
    told = program.until(Transferred)
    assert not told.used  # it is to be converted first
    assert program.models.calls == []
    assert program.settings.get(MODEL_FILE) == ""
    home = program.folder / REPOSITORY
    (one,) = program.shelf.status().checkpoints
    assert (one.place, one.owner, one.title) == (home, OWN, "gpt-oss-20b, as OpenAI published it")
    assert program.shelf.status().here == ()
    program.shelf.move(one, drive)
    program.until(Transferred, lambda event: event.status.place == drive / home.name)
    (moved,) = program.looked().checkpoints
    assert (moved.place, moved.owner, moved.title) == (drive / home.name, OWN, one.title)
    offer = program.shelf.status().offer(GPT_OSS_20B_ORIGINAL.key)
    assert offer.path == moved.place
    drive.rename(tmp_path / "pulled")
    (away,) = program.looked().checkpoints
    assert away.problem is not None
    assert "not connected" in away.problem.text()
    (tmp_path / "pulled").rename(drive)
    program.shelf.delete(moved)
    program.until(Removed)
    assert program.shelf.status().checkpoints == ()
    assert not list(moved.place.glob("*.safetensors"))
    (binned,) = program.shelf.status().usage.bin
    assert (binned.title, binned.size, binned.ours) == (moved.title, moved.size, True)
    program.shelf.undo_delete(binned.id)
    program.until(Restored)
    assert program.shelf.status().checkpoints == (moved,)
    program.shelf.convert(moved.place)
    program.until(Arrived)
    (made,) = program.shelf.status().here
    assert made.path.is_relative_to(program.folder / "Converted")


def test_those_of_the_hubs_cache_are_listed_and_can_be_copied(start: Start, tmp_path: Path) -> None:
    cache = tmp_path / "hub"
    theirs = cache / "models--somebody--mine" / "snapshots" / COMMIT
    shutil.copytree(demo_checkpoint(), theirs)
    (theirs / "tokenizer_config.json").write_text("{}")
    program = start([Place(HUGGING_FACE, cache)])
    (one,) = program.looked().checkpoints
    assert (one.owner, one.title, one.place) == (HUGGING_FACE, "mine", theirs)
    program.shelf.import_model(one.path)
    told = program.until(Transferred)
    assert told.status.place == program.folder / "Imported" / "mine"
    assert [found.owner for found in program.shelf.status().checkpoints] == [OWN, HUGGING_FACE]
    assert theirs.exists()


def test_one_that_is_being_fetched_is_not_among_them(start: Start) -> None:
    program = start()
    home = program.folder / REPOSITORY
    shutil.copytree(demo_checkpoint(), home)
    (home / "model-00002.safetensors.part").touch()
    assert program.looked().checkpoints == ()
    (home / "model-00002.safetensors.part").unlink()
    assert len(program.looked().checkpoints) == 1
    status: ShelfStatus = program.shelf.status()
    assert status.offer(GPT_OSS_20B_ORIGINAL.key).path == home
