"""What a copy or a move has put on the disk, noted before it does: so that the next start cleans up after a kill.

Until all is copied and right, a kill undoes it: what is there of the copies is removed. From then on (`placing`) a kill
is followed by the rest: copies get their names, and of a move the originals go. The originals of a move go only when
everything is in its new place. A drive that is not there makes it wait.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from inglenook.library.files.checkpoints import CONFIG
from inglenook.library.files.placing import LOCK, place
from inglenook.library.locks import FileLock
from inglenook.library.written import write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Note:
    """Files that get names: each `temporary` one becomes the `target` of its number, and the `originals` go then.

    `old` is the first file of a model that moves, "" for one that is copied. Where a move only renames, the temporary
    files are the originals.
    """

    id: str
    title: str
    size: int
    temporary: tuple[str, ...]
    targets: tuple[str, ...]
    sizes: tuple[int, ...]
    originals: tuple[str, ...] = ()
    old: str = ""
    placing: bool = False

    def is_placed(self) -> bool:
        """Whether every file has its name, and its size. OSError."""
        return all(
            Path(target).exists() and Path(target).stat().st_size == size
            for target, size in zip(self.targets, self.sizes, strict=True)
        )


def new_id() -> str:
    """A name that nothing has."""
    return secrets.token_hex(6)


class Journal:
    """The notes in `folder`. `moved` is told of a move when it is as good as done: the note."""

    def __init__(self, folder: Path, moved: Callable[[Note], None]) -> None:
        self._folder = folder
        self._moved = moved
        self._held: dict[str, FileLock] = {}

    def begin(self, note: Note) -> None:
        """Keeps `note`, for this program alone to deal with as long as it lives. OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._gate():
            lock = FileLock(self._folder / f"{note.id}.lock")
            lock.try_acquire()
            self._held[note.id] = lock
            self._write(note)

    def place(self, note: Note) -> bool:
        """Gives the files their names. False if an original is still there, since a program has it open.

        The next start then tries again. OSError if that cannot be; all is as it was then. FileExistsError is one of
        those: other names may be free.
        """
        note = replace(note, placing=True)
        self._write(note)
        renamed: list[tuple[Path, Path]] = []
        try:
            self._rename(note, renamed)
        except OSError:
            while renamed:
                temporary, target = renamed.pop()
                target.replace(temporary)
            self._write(replace(note, placing=False))
            raise
        done = self._remove_originals(note)
        if done:
            self._end(note)
        else:
            self._held.pop(note.id).release()
        return done

    def give_up(self, note: Note) -> None:
        """Removes what there is of the copies, if it was not placed.

        Never raises: what cannot be removed now is at the next start.
        """
        if note.id not in self._held:
            return
        try:
            if self._undo(note):
                self._end(note)
        except OSError as error:
            log.warning("what was copied of %s is removed at the next start: %s", note.title, error)
        if note.id in self._held:
            self._held.pop(note.id).release()

    def recover(self) -> None:
        """Deals with all notes whose program has ended."""
        if self._folder.is_dir():
            with self._gate():
                self._recover()

    def _gate(self) -> FileLock:
        """Held while a note begins, or is looked for: in between it has a lock and is no note yet."""
        return FileLock(self._folder / "gate")

    def _recover(self) -> None:
        for left in self._folder.glob("*.lock"):  # a kill before there was a note
            if left.stem not in self._held and not left.with_suffix(".json").exists():
                left.with_suffix(".tmp").unlink(missing_ok=True)
                left.unlink()
        for file in sorted(self._folder.glob("*.json")):
            lock = FileLock(file.with_suffix(".lock"))
            if file.stem in self._held or not lock.try_acquire():
                continue
            try:
                note = _read(file)
                if note is None:  # its program has just ended it
                    file.unlink(missing_ok=True)
                    file.with_suffix(".lock").unlink(missing_ok=True)
                elif self._finish(note) if note.placing else self._undo(note):
                    self._held[note.id] = lock
                    self._end(note)
            except OSError as error:
                log.warning("%s waits: %s", file, error)
            finally:
                lock.release()

    def _finish(self, note: Note) -> bool:
        self._rename(note, [])
        return self._remove_originals(note)

    def _rename(self, note: Note, renamed: list[tuple[Path, Path]]) -> None:
        """What is not renamed yet; afterwards every file has its name, or OSError."""
        for temporary, target in zip(map(Path, note.temporary), map(Path, note.targets), strict=True):
            if temporary.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                place(temporary, target, self._folder / LOCK.name)
                renamed.append((temporary, target))
        if not note.is_placed():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), note.targets[0])
        if note.old:
            self._moved(note)

    def _remove_originals(self, note: Note) -> bool:
        done = True
        for original in map(Path, note.originals):
            try:
                original.unlink(missing_ok=True)
            except OSError as error:  # Windows, while an engine has it open
                log.warning("%s stays for now: %s", original, error)
                done = False
        if Path(note.old).name == CONFIG:  # a checkpoint's folder was its own
            _remove_empty(Path(note.old).parent, note)
        return done

    def _undo(self, note: Note) -> bool:
        there = True
        for temporary in map(Path, note.temporary):
            if str(temporary) not in note.originals:
                there = there and temporary.parent.is_dir()
                temporary.unlink(missing_ok=True)
        return there

    def _write(self, note: Note) -> None:
        write_json(self._folder / f"{note.id}.json", asdict(note))

    def _end(self, note: Note) -> None:
        for suffix in (".json", ".tmp"):
            (self._folder / f"{note.id}{suffix}").unlink(missing_ok=True)
        if note.id in self._held:
            self._held.pop(note.id).release()
        with suppress(OSError):
            (self._folder / f"{note.id}.lock").unlink(missing_ok=True)


def _remove_empty(folder: Path, note: Note) -> None:
    """The folder of a checkpoint that has gone, unless something else is in it."""
    with suppress(OSError):
        for original in map(Path, note.originals):
            original.with_name(f".{original.name}.verified").unlink(missing_ok=True)
        folder.rmdir()


def _read(file: Path) -> Note | None:
    try:
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
        names = ("temporary", "targets", "sizes", "originals")
        return Note(**{**found, **{name: tuple(found[name]) for name in names}})
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
