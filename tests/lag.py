"""How long the machine itself keeps a program waiting, so that a promise of half a second is judged by the program."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

_EVERY = 0.1


class Lag:
    """A thread that does no more than to wake up and put a byte on the disk, again and again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._most = 0.0
        self._due = time.monotonic() + _EVERY
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def seconds(self) -> float:
        """The longest that this took, or takes just now, beyond its time: milliseconds where nothing else runs."""
        return max(self._most, time.monotonic() - self._due)

    def close(self) -> None:
        """Where the program goes on."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        with tempfile.TemporaryFile(dir=self._folder) as file:
            while not self._closed.wait(max(0.0, self._due - time.monotonic())):
                file.write(b"x")
                file.flush()
                os.fsync(file.fileno())
                self._most = self.seconds()
                self._due = time.monotonic() + _EVERY


def due(shown: list[list[str]]) -> int:
    """What of lines of time, length and lag must be on the disk when the last of them was the last: half a second."""
    lag = max(float(lag) for _, _, lag in shown)
    killed = float(shown[-1][0])
    return max((int(length) for at, length, _ in shown if float(at) <= killed - 0.5 - 2 * lag), default=0)
