"""Which program streams a message, and whether that program still runs.

A message found in state STREAMING was left by a killed program, or is being written by another that runs now.
Each open store holds a lock on a small file of its own beside the database; the system drops the lock when the
program ends, however it ends. Process ids would not do: they are reused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path

from inglenook.core.conversation import new_id
from inglenook.core.locks import try_lock

_YOUNG_SECONDS = 60.0


class Owner:
    """The claim of this program (strictly: of this store) to the messages that it streams. `token` names it in rows."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.token = new_id()
        self._file = _lock_file(database, self.token)
        self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        if not _locks(self._descriptor):
            self.release()
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), self._file)

    def is_dead(self, token: str) -> bool:
        """Whether the program of that token has ended. Removes its lock file if it has."""
        if token == self.token:
            return False
        file = _lock_file(self._database, token)
        try:
            descriptor = os.open(file, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            dead = _locks(descriptor)
        finally:
            os.close(descriptor)
        if dead:
            with contextlib.suppress(OSError):
                file.unlink()
        return dead

    def sweep(self) -> None:
        """Removes the lock files of dead programs."""
        start = _lock_file(self._database, "").name
        for file in self._database.parent.iterdir():
            # A program that starts this moment has made its file and not locked it yet: leave what is young.
            if file.name.startswith(start) and _age_seconds(file) > _YOUNG_SECONDS:
                self.is_dead(file.name.removeprefix(start))

    def release(self) -> None:
        """Ends the claim."""
        os.close(self._descriptor)
        with contextlib.suppress(OSError):
            self._file.unlink()


def _age_seconds(file: Path) -> float:
    try:
        return time.time() - file.stat().st_mtime
    except OSError:
        return 0.0


def _lock_file(database: Path, token: str) -> Path:
    return database.with_name(f"{database.name}-owner-{token}")


def _locks(descriptor: int) -> bool:
    """Takes the lock; False also where files cannot be locked, so that nobody is taken for dead."""
    try:
        return try_lock(descriptor)
    except OSError:
        return False
