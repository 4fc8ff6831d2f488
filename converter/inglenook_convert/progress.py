"""Telling how far the work is: a bar for people, JSON lines for programs, at most ten times a second."""

from __future__ import annotations

import json
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TextIO

_INTERVAL = 0.1  # seconds
_CLEAR = "\r\x1b[K"  # the terminal's line
_WAITING = {"plan": "Reading the checkpoint", "measure": "Measuring disk and processor", "sync": "Waiting for the disk"}


class Progress(ABC):
    """Where the program's progress goes; `total` is the bytes that `phase` has to do, set when they are known."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._started = self._phase_started = time.monotonic()
        self._last = 0.0
        self.phase = ""
        self.total = 0

    def report(self, phase: str, tensor: str, done: int) -> None:
        """Tells of `done` bytes; a new phase is always told, within one only now and then."""
        now = time.monotonic()
        if phase != self.phase:
            self._phase_started = now
        if phase != self.phase or now - self._last >= _INTERVAL:
            self.phase, self._last = phase, now
            self.show(phase, tensor, done)

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def phase_seconds(self) -> float:
        """Since the phase began that was told last."""
        return time.monotonic() - self._phase_started

    @abstractmethod
    def show(self, phase: str, tensor: str, done: int) -> None:
        """Tells it now."""

    def clear(self) -> None:  # noqa: B027  # nothing is on show, unless a kind of progress says otherwise
        """Takes away what is on show, before an error message."""

    @abstractmethod
    def result(self, text: str, values: Mapping[str, object]) -> None:
        """Tells what came out: lines for people, or an object for programs."""


class JsonProgress(Progress):
    """One JSON object a line: phase, tensor, bytes_done and bytes_total, or what came out."""

    def show(self, phase: str, tensor: str, done: int) -> None:
        """See `Progress`."""
        self._line({"phase": phase, "tensor": tensor, "bytes_done": done, "bytes_total": self.total})

    def result(self, text: str, values: Mapping[str, object]) -> None:
        """See `Progress`."""
        self._line({**values, "seconds": round(self.seconds(), 3)})

    def _line(self, values: Mapping[str, object]) -> None:
        self._stream.write(json.dumps(values) + "\n")
        self._stream.flush()


class TextProgress(Progress):
    """A bar with rate and time left on a terminal; what came out in any case."""

    def show(self, phase: str, tensor: str, done: int) -> None:
        """See `Progress`."""
        if not self._stream.isatty():
            return
        if phase in _WAITING:
            text = f"{_WAITING[phase]} ..."
        else:
            rate = done / max(self.phase_seconds(), 1e-9)
            left = round((self.total - done) / max(rate, 1.0))
            full = round(20 * done / max(self.total, 1))
            text = f"{phase} [{'#' * full:.<20}] {done / max(self.total, 1):4.0%}"
            text += f"  {done / 1e9:.2f} of {self.total / 1e9:.2f} GB  "
            if done:
                text += f"{rate / 1e6:.0f} MB/s  {left // 60}:{left % 60:02d} left  "
            text += tensor
        self._stream.write(_CLEAR + text[: max(shutil.get_terminal_size().columns - 1, 20)])
        self._stream.flush()

    def result(self, text: str, values: Mapping[str, object]) -> None:
        """See `Progress`."""
        self.clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """See `Progress`."""
        if self._stream.isatty():
            self._stream.write(_CLEAR)
            self._stream.flush()


def make_progress(style: str) -> Progress:
    """For the style "json" or "text", on standard output."""
    return JsonProgress(sys.stdout) if style == "json" else TextProgress(sys.stdout)
