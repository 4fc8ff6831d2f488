"""Locks between programs: a file that one of them at a time holds. The system frees it when its holder ends."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType

from inglenook.core.locks import try_lock

_POLL_SECONDS = 0.02


class FileLock:
    """A lock on `file`, which is made for it and stays there: removing it would let two programs hold two files.

    `with FileLock(file):` waits for it; `try_acquire` does not. Not for use by two threads through one object.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Takes the lock if nobody has it. OSError if the file cannot be made."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        if try_lock(descriptor):
            self._descriptor = descriptor
            return True
        os.close(descriptor)
        return False

    def release(self) -> None:
        """Gives it back. Harmless if it is not held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> FileLock:
        while not self.try_acquire():
            time.sleep(_POLL_SECONDS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
