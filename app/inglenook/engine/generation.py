"""What a consumer holds of a running request, and what waits for an answer: fed by the inference thread."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.events import EngineEvent, Finished
from inglenook.core.inference import Counts
from inglenook.core.prompt import Segment

ATTENTIVE_SECONDS = 0.5 if sys.platform == "win32" else None
"""Between two waits: on Windows a thread hears of Ctrl-C only there."""


class Requests(Protocol):
    """Where a generation's wishes go: the supervisor."""

    def cancel(self, number: int) -> None:
        """Asks it to end."""

    def inject(self, number: int, segments: Sequence[Segment], after: int) -> None:
        """Hands it tokens to go on with."""


class EngineGeneration:
    """Implements `core.inference.Generation`."""

    def __init__(self, number: int, requests: Requests) -> None:
        self.number = number
        self._requests = requests
        self._events: queue.SimpleQueue[EngineEvent] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._cancelled = False

    def __iter__(self) -> Iterator[EngineEvent]:
        while True:
            try:
                event = self._events.get(timeout=ATTENTIVE_SECONDS)
            except queue.Empty:
                continue
            yield event
            if isinstance(event, Finished):
                return

    def cancel(self) -> None:
        """See `Generation.cancel`."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
        self._requests.cancel(self.number)

    def inject(self, segments: Sequence[Segment], after: int) -> None:
        """See `Generation.inject`."""
        self._requests.inject(self.number, segments, after)

    def feed(self, event: EngineEvent) -> None:
        """The inference thread's news."""
        self._events.put(event)


class Reply:
    """One answer that a caller waits for."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._done = threading.Event()
        self._value: float | Counts = 0.0
        self._error: ErrorInfo | None = None

    def set(self, value: float | Counts, error: ErrorInfo | None) -> None:
        """The inference thread's news."""
        self._value, self._error = value, error
        self._done.set()

    def wait(self) -> float | Counts:
        """The answer. Raises `UserError`."""
        while not self._done.wait(ATTENTIVE_SECONDS):
            pass
        if self._error is not None:
            raise UserError.of(self._error)
        return self._value
