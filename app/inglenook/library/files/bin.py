"""Deleted models: moved aside at once, on their own disk, so that undoing is instant; really gone a little later.

Not the system's bin: 12 GB there would still fill the disk, which is why people delete a model. Each one in the bin
has a lock, held by the program that deleted it as long as that can undo; only what nobody holds is emptied. A command
that ends at once gives it a time instead.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.files.journal import new_id
from inglenook.library.files.placing import LOCK, place
from inglenook.library.locks import FileLock
from inglenook.library.written import write_json

log = logging.getLogger(__name__)

KEEP_SECONDS = 24 * 3600.0
"""How long a command's deletion can be undone."""

_ASIDE = ".deleted"
_BEFORE_NOTE = (".lock", ".tmp")  # what there is of a deletion in the moment before its note
_LEFT_SECONDS = 3600.0  # after which such a moment is taken for a kill


@dataclass(frozen=True, slots=True)
class Deleted:
    """A model and its files; `size` is bytes of all."""

    title: str
    files: tuple[Path, ...]
    size: int = 0


@dataclass(frozen=True, slots=True)
class Binned:
    """A model in the bin. `until`: when it is gone, in seconds since 1970; 0: with the program that deleted it.

    Of those without a time `ours` are what this program deleted; nobody else can bring them back.
    """

    id: str
    title: str
    size: int
    until: float
    ours: bool

    @property
    def can_return(self) -> bool:
        """Whether this program can bring it back."""
        return self.ours or self.until > 0


@dataclass(frozen=True, slots=True)
class _Note:
    """What is in the bin: each file and where it lies aside. `deleted`, `until`: seconds since 1970."""

    id: str
    model: Deleted
    aside: tuple[Path, ...]
    deleted: float
    until: float


class Bin:
    """Holds deleted models of `folder`, and others on the drives where they lay. Any method may raise OSError."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._notes = folder / _ASIDE
        self._clock = clock
        self._mine: tuple[_Note, FileLock] | None = None

    @property
    def holds(self) -> bool:
        """Whether there is something that `restore` brings back at once."""
        return self._mine is not None

    def put(self, model: Deleted, *, keep: bool = False) -> None:
        """Moves the files of `model` aside, all or none. `UserError` for files that are links.

        What was put here before is gone then. With `keep` it can be brought back after this program has ended.
        """
        if any(file.is_symlink() for file in model.files):
            raise UserError(
                N_("{title} belongs to another program. Delete it there, and it is gone here too."), title=model.title
            )
        self.empty()
        now, id_ = self._clock(), new_id()
        aside = tuple(self._aside(file) / f"{id_}-{number}" for number, file in enumerate(model.files))
        note = _Note(id_, model, aside, now, now + KEEP_SECONDS if keep else 0.0)
        self._notes.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._notes / f"{id_}.lock")
        lock.try_acquire()
        self._write(note)
        self._mine = (note, lock)
        try:
            for file, there in zip(model.files, aside, strict=True):
                there.parent.mkdir(exist_ok=True)
                file.replace(there)
        except OSError:
            self.restore()
            raise

    def restore(self, id_: str = "") -> Deleted | None:
        """Brings back what this program deleted last; else what another did that has ended. None: there is nothing.

        With `id_` only what that names.
        """
        if self._mine is not None and id_ in ("", self._mine[0].id):
            note, lock = self._mine
            self._bring_back(note)
            self._mine = None
            self._forget(note, lock)
            return note.model
        free = sorted(self._free(), key=lambda one: -one[0].deleted)
        try:
            for note, lock in free:
                if id_ in ("", note.id) and all(there.exists() for there in note.aside):
                    self._bring_back(note)
                    self._forget(note, lock)
                    return note.model
        finally:
            for _, lock in free:
                lock.release()
        return None

    def empty(self) -> None:
        """Really removes what this program put here."""
        if self._mine is not None:
            note, lock = self._mine
            self._mine = None
            self._remove(note, lock)

    def let_go(self) -> None:
        """At the end of the program: what is kept waits for its time, the rest is gone."""
        if self._mine is not None and self._mine[0].until:
            self._mine[1].release()
            self._mine = None
        self.empty()

    def tidy(self, *, at_once: bool = False) -> int:
        """Really removes what no program can bring back, and what has had its time; `at_once` all that none holds.

        Returns the bytes that were freed. What lies on a drive that is not there waits.
        """
        freed, now = 0, self._clock()
        files = list(self._notes.iterdir()) if self._notes.is_dir() else []
        free = self._free()
        try:
            for note, lock in free:
                if at_once or not now < note.until <= now + KEEP_SECONDS:
                    freed += note.model.size
                    self._remove(note, lock)
        finally:
            for _, lock in free:
                lock.release()
        for file in files:  # looked for before the notes were: what has none now is of an earlier version, or a kill
            note_ = self._notes / f"{file.stem.partition('-')[0]}.json"
            if not note_.exists() and (file.suffix not in _BEFORE_NOTE or now - _time(file) > _LEFT_SECONDS):
                file.unlink(missing_ok=True)
        return freed

    def contents(self) -> tuple[Binned, ...]:
        """All that lies here and can be brought back, by whomever; the last one first."""
        mine = self._mine[0].id if self._mine is not None else ""
        notes = sorted(filter(None, map(_read, self._notes.glob("*.json"))), key=lambda note: -note.deleted)
        return tuple(Binned(n.id, n.model.title, n.model.size, n.until, n.id == mine) for n in notes)

    # -- within --

    def _aside(self, file: Path) -> Path:
        return self._notes if file.is_relative_to(self._folder) else file.parent / ".inglenook-deleted"

    def _free(self) -> list[tuple[_Note, FileLock]]:
        """What no program holds; now held by us."""
        free = []
        for file in self._notes.glob("*.json"):
            lock = FileLock(file.with_suffix(".lock"))
            if (self._mine is not None and file.stem == self._mine[0].id) or not lock.try_acquire():
                continue
            note = _read(file)
            if note is None:
                lock.release()
            else:
                free.append((note, lock))
        return free

    def _bring_back(self, note: _Note) -> None:
        back: list[tuple[Path, Path]] = []
        try:
            for file, there in zip(note.model.files, note.aside, strict=True):
                if there.exists():
                    file.parent.mkdir(parents=True, exist_ok=True)
                    place(there, file, self._folder / LOCK)
                    back.append((file, there))
        except OSError as error:
            for file, there in back:
                file.replace(there)
            if not isinstance(error, FileExistsError):
                raise
            text = N_("Another file is at {path}. Move it away or give it another name, then try again.")
            raise UserError(text, path=file) from error

    def _remove(self, note: _Note, lock: FileLock) -> None:
        if not all(there.parent.is_dir() for there in note.aside):
            log.warning("%s is on a drive that is not there, and stays in the bin", note.model.title)
            lock.release()
            return
        for there in note.aside:
            there.unlink(missing_ok=True)
        self._forget(note, lock)

    def _forget(self, note: _Note, lock: FileLock) -> None:
        (self._notes / f"{note.id}.json").unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            (self._notes / f"{note.id}.lock").unlink(missing_ok=True)
        for folder in {there.parent for there in note.aside}:
            with suppress(OSError):  # not empty
                folder.rmdir()

    def _write(self, note: _Note) -> None:
        text = {
            "title": note.model.title,
            "files": [str(path) for path in note.model.files],
            "size": note.model.size,
            "aside": [str(path) for path in note.aside],
            "deleted": note.deleted,
            "until": note.until,
        }
        write_json(self._notes / f"{note.id}.json", text)


def _time(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _read(file: Path) -> _Note | None:
    try:
        found = json.loads(file.read_text("utf-8"))
        model = Deleted(str(found["title"]), tuple(map(Path, found["files"])), int(found["size"]))
        aside = tuple(map(Path, found["aside"]))
        return _Note(file.stem, model, aside, float(found["deleted"]), float(found["until"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
