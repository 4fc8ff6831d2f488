"""Stopping what another thread is doing on the network, at once, and waiting that can be cut short."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Stopped(Exception):  # noqa: N818 - an event rather than an error: somebody paused or cancelled
    """The work was told to stop."""


class Control:
    """A flag that one thread raises and another obeys. `Stopped` comes out of whatever the other is doing."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._interrupt: Callable[[], None] | None = None

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Tells it to stop, and breaks what it waits for. From any thread, any number of times."""
        self._stop.set()
        with self._lock:
            if self._interrupt is not None:
                self._interrupt()

    def check(self) -> None:
        """Raises `Stopped` if told to stop."""
        if self._stop.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Waits, or raises `Stopped` as soon as told to stop."""
        if self._stop.wait(seconds):
            raise Stopped

    def interrupt_with(self, interrupt: Callable[[], None] | None) -> None:
        """What `stop` shall call to break a wait (None: nothing). Called at once if told to stop already."""
        with self._lock:
            self._interrupt = interrupt
            if interrupt is not None and self._stop.is_set():
                interrupt()
