"""Telling how far a conversion is: a bar for people, JSON lines for programs, at most ten times a second."""

from __future__ import annotations

import json
import shutil
import sys
import time
from abc import ABC, abstractmethod
from typing import TextIO

_INTERVAL = 0.1  # seconds
_CLEAR = "\r\x1b[K"  # the terminal's line


class Progress(ABC):
    """Where the program's progress goes; `total` is the size of the file in bytes, set when it is known."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._started = time.monotonic()
        self._last = 0.0
        self._phase = ""
        self.total = 0

    def report(self, phase: str, tensor: str, done: int) -> None:
        """Tells of `done` bytes; a new phase is always told, within one only now and then."""
        now = time.monotonic()
        if phase != self._phase or now - self._last >= _INTERVAL:
            self._phase, self._last = phase, now
            self.show(phase, tensor, done)

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    @abstractmethod
    def show(self, phase: str, tensor: str, done: int) -> None:
        """Tells it now."""

    def clear(self) -> None:  # noqa: B027  # nothing is on show, unless a kind of progress says otherwise
        """Takes away what is on show, before an error message."""

    @abstractmethod
    def finish(self, file: str) -> None:
        """Tells that `file` is complete."""


class JsonProgress(Progress):
    """One JSON object a line."""

    def show(self, phase: str, tensor: str, done: int) -> None:
        """See `Progress`."""
        self._line({"phase": phase, "tensor": tensor, "bytes_done": done, "bytes_total": self.total})

    def finish(self, file: str) -> None:
        """See `Progress`."""
        size = {"bytes": self.total, "bytes_done": self.total, "bytes_total": self.total}
        self._line({"phase": "done", "file": file, **size, "seconds": round(self.seconds(), 3)})

    def _line(self, values: dict[str, str | int | float]) -> None:
        self._stream.write(json.dumps(values) + "\n")
        self._stream.flush()


class TextProgress(Progress):
    """A bar with rate and time left on a terminal; a summary at the end in any case."""

    def show(self, phase: str, tensor: str, done: int) -> None:
        """See `Progress`."""
        if not self._stream.isatty():
            return
        if phase == "write":
            rate = done / max(self.seconds(), 1e-9)
            left = round((self.total - done) / max(rate, 1.0))
            text = f"{done / self.total:4.0%}  {done / 1e9:.2f} of {self.total / 1e9:.2f} GB  {rate / 1e6:.0f} MB/s  "
            text += f"{left // 60}:{left % 60:02d} left  {tensor}"
        else:
            text = {"plan": "Reading the checkpoint", "sync": "Waiting for the disk"}[phase] + " ..."
        self._stream.write(_CLEAR + text[: max(shutil.get_terminal_size().columns - 1, 20)])
        self._stream.flush()

    def finish(self, file: str) -> None:
        """See `Progress`."""
        self.clear()
        seconds = self.seconds()
        rate = self.total / 1e6 / max(seconds, 1e-9)
        self._stream.write(f"{file}: {self.total / 1e6:,.1f} MB in {seconds:.1f} s ({rate:.0f} MB/s)\n")
        self._stream.flush()

    def clear(self) -> None:
        """See `Progress`."""
        if self._stream.isatty():
            self._stream.write(_CLEAR)
            self._stream.flush()


def make_progress(style: str) -> Progress:
    """For the style "json" or "text", on standard output."""
    return JsonProgress(sys.stdout) if style == "json" else TextProgress(sys.stdout)
