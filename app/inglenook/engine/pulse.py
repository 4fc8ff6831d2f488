"""Signs of life: how the thread that owns llama.cpp gets on, and when it must be taken for hung.

The engine tells its clients of each second in which its work got on. A client that hears nothing for a while ends the
engine: then the process stands still, or llama.cpp has not come back for several times the longest micro-batch.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inglenook.core.events import Prefill
from inglenook.core.fitting import BATCH

BEAT_SECONDS = 1.0
SEVERAL = 4  # micro-batches
LEAST = 20.0  # seconds that a micro-batch may take in any case: a machine that swaps is slow, not hung
UNMEASURED = 120.0  # the same where there is nothing to go by: a load from a slow disk, the first batch after it
_NAP = 2.0  # seconds: less is not worth forgiving


class Pulse:
    """One thread tells how its work gets on, another asks whether it still does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()  # when it last got on
        self._limit = math.inf
        self._batch = self._token = 0.0  # the longest of late, in seconds: a full micro-batch; from token to token
        self._read: int | None = 0  # tokens of the prompt; None once it is read

    def begin(self, limit: float = UNMEASURED) -> None:
        """Something without measure begins, or got on."""
        self._at, self._limit, self._read = self._clock(), limit, 0

    def end(self) -> None:
        """There is nothing to do."""
        self._limit = math.inf

    def read(self, event: Prefill) -> None:
        """So much of the prompt is evaluated; a micro-batch follows, or the first token."""
        now = self._clock()
        if self._read is not None and event.done > self._read:
            seconds = (now - self._at) * max(1.0, BATCH / (event.done - self._read))
            self._batch = max(seconds, 0.5 * self._batch)
        is_read = event.done >= event.total
        self._read = None if is_read else event.done
        known = (self._token if is_read else 0.0) or self._batch
        self._at, self._limit = now, max(LEAST, SEVERAL * known) if known else UNMEASURED

    def step(self) -> None:
        """Between two micro-batches, or two tokens."""
        now = self._clock()
        if self._read is None:
            self._token = max(now - self._at, 0.95 * self._token)
            self._limit = max(LEAST, SEVERAL * self._token)
            self._at = now

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Something without measure, or another's work, comes in between."""
        limit, read = self._limit, self._read
        self._at, self._limit = self._clock(), UNMEASURED
        try:
            yield
        finally:
            self._at, self._limit, self._read = self._clock(), limit, read

    def forgive(self) -> None:
        """The time until now does not count: the machine slept."""
        self._at = self._clock()

    def is_well(self) -> bool:
        """Whether the work gets on, as far as anybody can tell."""
        return self._clock() - self._at <= self._limit


def boot_time() -> float:
    """Seconds that go on while the machine sleeps, where those of `time.monotonic` do not."""
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)  # Python's own is another clock there
    if sys.platform != "win32":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()  # on Windows it goes on


class Naps:
    """Notices that the machine slept, or that this process stood still, since it was last asked."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, boot_clock: Callable[[], float] = boot_time
    ) -> None:
        self._clock, self._boot_clock = clock, boot_clock
        self._ahead = boot_clock() - clock()

    def noticed(self, due: float | None = None) -> bool:
        """`due`: when the caller should have been woken at the latest."""
        now = self._clock()
        ahead = self._boot_clock() - now
        slept, self._ahead = ahead - self._ahead, ahead
        return slept > _NAP or (due is not None and now - due > _NAP)
