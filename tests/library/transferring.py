"""Copying and moving in tests: a folder of models, one that is published, a stick."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engine import random_model
from tests.library.hub import COMMIT, REPOSITORY

from inglenook.library.catalogue import GPT_OSS_20B, CatalogueFile, Entry
from inglenook.library.files.found import Found
from inglenook.library.files.moved import Moved
from inglenook.library.files.transfers import Stage, Transfers, TransferStatus

NAME = "published.gguf"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("gguf")
    return random_model.write(folder / "made.gguf").read_bytes() + bytes(3 << 20)


@pytest.fixture
def entry(data: bytes) -> Entry:
    file = CatalogueFile(NAME, len(data), hashlib.sha256(data).hexdigest())
    return replace(GPT_OSS_20B, repository=REPOSITORY, revision=COMMIT, files=(file,))


class Desk:
    """The jobs of one program, and what they said."""

    def __init__(self, models: Path, entry: Entry) -> None:
        self.models = models
        self.moved = Moved(models)
        self.heard: list[TransferStatus | None] = []
        self.at: Callable[[TransferStatus], None] = lambda _: None
        self._more = threading.Condition()
        self.transfers = Transfers(models, self.moved, lambda: (entry,), self._take)

    def _take(self, status: TransferStatus | None) -> None:
        if status is not None:
            self.at(status)
        with self._more:
            self.heard.append(status)
            self._more.notify_all()

    def end(self) -> TransferStatus | None:
        """The last of the job; None if it was cancelled."""
        with self._more:
            assert self._more.wait_for(
                lambda: (
                    bool(self.heard)
                    and (self.heard[-1] is None or self.heard[-1].stage in (Stage.FINISHED, Stage.FAILED))
                ),
                60,
            )
        self.transfers.close()
        return self.heard[-1]

    def brings(self, source: Path) -> TransferStatus:
        self.transfers.start_import(source)
        status = self.end()
        assert status is not None
        return status

    def moves(self, file: Path, folder: Path, owner: str = "Inglenook") -> TransferStatus:
        self.transfers.start_move(Found(file, owner, file.stem, file.stat().st_size, (file,)), folder)
        status = self.end()
        assert status is not None
        return status

    def left(self) -> list[str]:
        """Whatever is among the models beside models, locks and notes of what is right."""
        return [
            str(file.relative_to(self.models))
            for file in self.models.rglob("*")
            if file.is_file() and file.suffix not in (".gguf", ".verified") and not KEPT.fullmatch(file.name)
        ]


KEPT = re.compile(r"\.moved\.(json|lock)|gate|placing|\.moved(-[0-9a-f]{16})?\.tmp")
"""The last ones are left by a kill: they go a minute later."""


@pytest.fixture
def desk(tmp_path: Path, entry: Entry) -> Iterator[Desk]:
    (tmp_path / "models").mkdir()
    desk = Desk(tmp_path / "models", entry)
    yield desk
    desk.transfers.close()


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "stick"
    folder.mkdir()
    return folder


def published(desk: Desk) -> Path:
    return desk.models / REPOSITORY / NAME


def in_place(desk: Desk, data: bytes) -> Path:
    file = desk.models / "Imported" / "m.gguf"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    return file
