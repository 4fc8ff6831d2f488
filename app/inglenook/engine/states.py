"""Cache states on disk, so that a long chat goes on at once after a restart instead of being evaluated anew.

A file belongs to one name (a conversation's), one model and one version of llama.cpp; it holds the token ids and the
state after them. Files are readable by the user only, checked before they are used, and ignored when anything about
them is odd. The ones used longest ago go first when the budget or the disk runs short.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inglenook.engine.cache import common_prefix
from inglenook.engine.saved_names import SUFFIX, name_of

_log = logging.getLogger(__name__)
FORMAT = 1
BUDGET = 4 << 30  # bytes of all files
SPARE = 5 << 30  # bytes of the disk that are never taken
DAILY = 16 << 30  # bytes written a day at most: disks wear out
SHORTEST = 256  # tokens: fewer are evaluated sooner than read
_GROWN = 4  # a file is written again when there are a quarter more tokens than in it
_MAGIC = b"inglenook state\n"
_PART = ".part"
_ODD = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    OverflowError,
    RecursionError,
)  # of a file that is not as it should be


@dataclass(frozen=True, slots=True)
class Saved:
    """A file with a state after `tokens`."""

    path: Path
    tokens: npt.NDArray[np.int32]
    start: int  # where the state begins in the file
    state_bytes: int
    checksum: int


class States:
    """The files of one model, in a folder of their own below `folder`. Not for several threads."""

    def __init__(
        self, folder: Path, model: str, *, budget: int = BUDGET, spare: int = SPARE, daily: int = DAILY
    ) -> None:
        """`model` says all that a state depends on: weights, vocabulary, cache types, llama.cpp's version."""
        self._all = folder
        self._folder = folder / hashlib.sha256(f"{FORMAT} {model}".encode()).hexdigest()[:16]
        self._budget, self._spare, self._daily = budget, spare, daily
        self._known: dict[Path, tuple[int, Saved]] = {}  # with the file's time of change

    def best(self, prompt: Sequence[int], at_least: int, room: float = math.inf) -> Saved | None:
        """The state of the longest beginning of `prompt`, if it has `at_least` tokens, and `room` bytes at most.

        Only states that are used whole: the sliding windows' part allows no going back.
        """
        found = None
        for saved in self._list():
            length = len(saved.tokens)
            fits = at_least <= length <= len(prompt) and saved.state_bytes <= room
            if fits and common_prefix(saved.tokens, prompt[:length]) == length:
                found, at_least = saved, length + 1
        return found

    def read(self, saved: Saved) -> bytearray | None:
        """The state; None if the file is damaged or gone, and then it is removed."""
        try:
            with saved.path.open("rb") as file:
                file.seek(saved.start)
                state = bytearray(saved.state_bytes)
                whole = file.readinto(state) == saved.state_bytes and not file.read(1)
            if whole and zlib.crc32(state, zlib.crc32(saved.tokens.tobytes())) == saved.checksum:
                os.utime(saved.path)  # used now
                self._known.pop(saved.path, None)
                return state
            _log.warning("a saved state is damaged and is removed")
        except OSError as error:
            _log.warning("a saved state cannot be read: %s", error)
        self._remove(saved.path)
        return None

    def wants(self, conversation: str, tokens: Sequence[int]) -> bool:
        """Whether saving a state after `tokens` is worth what it writes."""
        if len(tokens) < SHORTEST:
            return False
        old = next((s for s in self._list() if s.path.stem == name_of(conversation)), None)
        if old is None:
            return True
        common = common_prefix(old.tokens, tokens)
        return len(tokens) - common > 0 and (common < len(old.tokens) or len(tokens) >= common + common // _GROWN)

    def save(self, conversation: str, tokens: Sequence[int], state: memoryview) -> bool:
        """Writes it in place of an older one of the conversation; False if there is no room. Raises `OSError`."""
        ids = np.asarray(tokens, np.int32)
        header = {"tokens": len(ids), "state": len(state), "crc": zlib.crc32(state, zlib.crc32(ids.tobytes()))}
        text = json.dumps(header).encode()
        needed = len(state) + ids.nbytes + 4096
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._make_room(needed, keep=name_of(conversation)) or not self._may_write(needed):
            return False
        path = self._folder / (name_of(conversation) + SUFFIX)
        part = path.with_suffix(SUFFIX + _PART)
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_MAGIC + len(text).to_bytes(4, "little") + text)
                file.write(ids.tobytes())
                file.write(state)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return True

    # -- what is there --

    def _list(self) -> list[Saved]:
        found = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            try:
                changed = path.stat().st_mtime_ns
                known = self._known.get(path)
                if known is None or known[0] != changed:
                    known = self._known[path] = changed, _read_header(path)
                found.append(known[1])
            except _ODD as error:
                _log.warning("a saved state is not used: %s", error)
                self._remove(path)
        return found

    def _make_room(self, needed: int, keep: str) -> bool:
        """Removes what was used longest ago, of any model, until `needed` bytes fit."""
        files = []
        for path in self._all.glob(f"*/*{SUFFIX}*"):
            with contextlib.suppress(OSError):
                stat = path.stat()
                old_part = path.name.endswith(_PART) and time.time() - stat.st_mtime > 3600
                if old_part or (path.parent == self._folder and path.stem == keep):
                    files.append((0, path, stat.st_size))
                elif not path.name.endswith(_PART):
                    files.append((stat.st_mtime_ns, path, stat.st_size))
        total = sum(size for _, _, size in files)
        free = shutil.disk_usage(self._folder).free - self._spare
        for _, path, size in sorted(files):
            if total + needed <= self._budget and needed <= free:
                break
            self._remove(path)
            total, free = total - size, free + size
        return total + needed <= self._budget and needed <= free

    def _may_write(self, needed: int) -> bool:
        """Counts bytes by day, over all programs of the user."""
        count, today = self._all / "written.json", time.strftime("%Y-%m-%d")
        written = 0
        with contextlib.suppress(*_ODD):
            found = json.loads(count.read_text("utf-8"))
            written = int(found["bytes"]) if found["day"] == today else 0
        if written + needed > self._daily:
            _log.info("no state is saved: %d bytes were written today", written)
            return False
        count.write_text(json.dumps({"day": today, "bytes": written + needed}), "utf-8")
        return True

    def _remove(self, path: Path) -> None:
        self._known.pop(path, None)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _read_header(path: Path) -> Saved:
    """Raises `OSError`, or `ValueError` and its like for what is no such file."""
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError("another kind of file")
        header = json.loads(file.read(min(int.from_bytes(file.read(4), "little"), 4096)))
        count, state_bytes, checksum = (int(header[key]) for key in ("tokens", "state", "crc"))
        start = file.tell() + 4 * count
        if count < 1 or state_bytes < 1 or os.fstat(file.fileno()).st_size != start + state_bytes:
            raise ValueError("of another length than it says")
        return Saved(path, np.frombuffer(file.read(4 * count), np.int32), start, state_bytes, checksum)
