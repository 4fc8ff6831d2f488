"""A file that is arriving: its bytes in NAME.part, and in NAME.part.log what is known to be right of them.

Each line of the log gives a length and the hash of the file up to there. So after a crash or a kill the part is read
once, compared line by line, and cut where it stops agreeing: what is left was received, byte for byte, and the hash of
the whole goes on from there. NAME itself appears by a rename, on disk and verified; never before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_READ_BYTES = 1 << 20
_LOG_BYTES = 8 << 20
_LOG_SECONDS = 1.0


class Hash(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Takes more bytes."""

    def hexdigest(self) -> str:
        """The hash so far."""

    def copy(self) -> Hash:
        """Another of the same state."""


def new_hash(digest: str, size: int) -> Hash:
    """The hash that `digest` is of: sha256, or git's of a blob of `size` bytes (sha1 with a prefix)."""
    if len(digest) == 64:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def hash_of(file: Path, digest: str, checked: Callable[[int], None]) -> str:
    """The hash of a whole file, of the kind of `digest`. `checked` hears how many bytes were read, and may raise."""
    hasher = new_hash(digest, file.stat().st_size)
    with file.open("rb", buffering=0) as f:
        done = 0
        while data := f.read(_READ_BYTES):
            hasher.update(data)
            done += len(data)
            checked(done)
    return hasher.hexdigest()


class PartFile:
    """The part of `target`, which will have `size` bytes and the hash `digest`. Any method may raise OSError."""

    def __init__(self, target: Path, size: int, digest: str) -> None:
        self._target = target
        self._size = size
        self._digest = digest
        self.file = target.with_name(target.name + ".part")
        self._log_file = target.with_name(target.name + ".part.log")
        self.position = 0
        self._hash = new_hash(digest, size)
        self._logged = size  # nothing is noted before `open` has checked what is there
        self._logged_at = 0.0
        self._descriptor = -1

    def open(self, checked: Callable[[int], None]) -> None:
        """Makes the part, or checks the one that is there; `position` is then what is right of it. May take a while.

        `checked` hears how many bytes were read, and may raise to stop it.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        marks, clean = self._marks()
        good: list[tuple[int, str]] = []
        for end, digest in marks:
            state = self._hash.copy()
            if not self._read_to(end, state, checked) or state.hexdigest() != digest:
                clean = False
                break
            self._hash, self.position = state, end
            good.append((end, digest))
        os.ftruncate(self._descriptor, self.position)
        os.lseek(self._descriptor, self.position, os.SEEK_SET)
        if not clean:
            self._rewrite(good)
        self._logged, self._logged_at = self.position, time.monotonic()

    def write(self, data: bytes) -> None:
        """Appends. After an OSError (a full disk), `position` is what fitted, and that is right."""
        view = memoryview(data)
        while view:
            count = os.write(self._descriptor, view)
            self._hash.update(view[:count])
            self.position += count
            view = view[count:]
        if self.position - self._logged >= _LOG_BYTES or time.monotonic() - self._logged_at >= _LOG_SECONDS:
            self.log()

    def log(self) -> None:
        """Notes what has arrived. Without fsync: lines and bytes that did not reach the disk are found by `open`."""
        if self.position > self._logged:
            line = json.dumps({"end": self.position, "hash": self._hash.hexdigest()}) + "\n"
            with self._log_file.open("a", encoding="utf-8") as f:
                f.write(line)
            self._logged = self.position
        self._logged_at = time.monotonic()

    def finish(self) -> bool:
        """If all is there and its hash is right: makes it `target`, on disk, and returns True."""
        if self.position != self._size or self._hash.hexdigest() != self._digest:
            return False
        os.fsync(self._descriptor)
        self._close()
        self.file.replace(self._target)
        sync_folder(self._target.parent)
        self._log_file.unlink(missing_ok=True)
        return True

    def set_aside(self) -> Path:
        """Moves a part whose bytes are wrong out of the way, over an earlier one."""
        self._close()
        aside = self.file.with_name(self._target.name + ".wrong")
        self._log_file.unlink(missing_ok=True)
        self.file.replace(aside)
        return aside

    def close(self) -> None:
        """Notes what has arrived, and closes. A disk too full for the note costs what came since the last one."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                self.log()
            self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _marks(self) -> tuple[list[tuple[int, str]], bool]:
        """The log's lines, and whether it is as it should be: of this file, in order, undamaged."""
        try:
            lines = self._log_file.read_text("utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return [], False
        marks: list[tuple[int, str]] = []
        for number, text in enumerate(lines):
            try:
                line = json.loads(text)
                if number == 0:
                    if line != self._header():
                        return [], False
                    continue
                end, digest = int(line["end"]), str(line["hash"])
            except (ValueError, KeyError, TypeError):
                return marks, False
            if not (marks[-1][0] if marks else 0) < end <= self._size:
                return marks, False
            marks.append((end, digest))
        return marks, bool(lines)

    def _header(self) -> dict[str, object]:
        return {"size": self._size, "digest": self._digest}

    def _rewrite(self, marks: list[tuple[int, str]]) -> None:
        lines = [self._header(), *({"end": end, "hash": digest} for end, digest in marks)]
        temporary = self._log_file.with_name(self._log_file.name + ".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        temporary.replace(self._log_file)

    def _read_to(self, end: int, state: Hash, checked: Callable[[int], None]) -> bool:
        at = self.position
        os.lseek(self._descriptor, at, os.SEEK_SET)
        while at < end:
            data = os.read(self._descriptor, min(_READ_BYTES, end - at))
            if not data:
                return False
            state.update(data)
            at += len(data)
            checked(at)
        return True


def bytes_noted(target: Path) -> int:
    """How much of `target` has arrived by the log of its part (which another program may be writing); 0 if none has."""
    try:
        last = target.with_name(target.name + ".part.log").read_text("utf-8").splitlines()[-1]
        return max(int(json.loads(last).get("end", 0)), 0)
    except (OSError, ValueError, IndexError, AttributeError, TypeError):
        return 0


def remove_part(target: Path) -> None:
    """Removes all that has arrived of `target`, and a wrong part that was set aside."""
    for suffix in (".part", ".part.log", ".part.log.tmp", ".wrong"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Has the names in `folder` on the disk, where the system can be asked for that. OSError."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
