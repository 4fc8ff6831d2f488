"""How a download goes, as a value, and the meter that makes it: rate and time left, and never a step backwards."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from inglenook.core.errors import ErrorInfo
from inglenook.core.i18n import N_, tr

_WINDOW_SECONDS = 8.0
_REPORT_SECONDS = 0.1


def speed(rate: float) -> str:
    """Bytes a second, for people, wherever a rate is shown: finer than sizes are, since a network may be slow."""
    if rate >= 999.5e6:
        return tr(N_("{rate} GB a second"), rate=f"{rate / 1e9:.1f}")
    return tr(N_("{rate} MB a second"), rate=f"{rate / 1e6:.0f}" if rate >= 9.95e6 else f"{max(rate / 1e6, 0.1):.1f}")


class Step(StrEnum):
    """What a download does."""

    CHECKING = "checking"  # what is on the disk
    FETCHING = "fetching"
    WAITING = "waiting"  # for a network or a server; `reason` and `wait_seconds` say more
    FETCHING_AGAIN = "fetching again"  # the bytes were wrong; `done` stands still until the second copy has caught up
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes `done` of `total` (never fewer than in an earlier report of the same run), bytes a second, seconds left.

    `rate` is 0 and `seconds_left` None while neither is known. `checked` counts bytes read from the disk in CHECKING.
    """

    step: Step
    done: int
    total: int
    rate: float = 0.0
    seconds_left: float | None = None
    checked: int = 0
    wait_seconds: float = 0.0
    reason: ErrorInfo | None = None


class Meter:
    """Turns positions into reports, at most ten a second where nothing but the position changes."""

    def __init__(
        self, total: int, report: Callable[[Progress], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._report = report
        self._clock = clock
        self._most = 0
        self._position = 0
        self._again = False
        self._marks: deque[tuple[float, int]] = deque()  # when and how many bytes came, within the window
        self._reported_at = float("-inf")

    def start(self, position: int) -> None:
        """A connection begins to deliver at `position`: what came before does not count for the rate."""
        self._position = position
        self._marks.clear()
        self._marks.append((self._clock(), position))
        self._tell(Step.FETCHING)

    def again(self) -> None:
        """All begins anew, since the bytes were wrong."""
        self._again = True

    def at(self, position: int) -> None:
        """So much is there."""
        now = self._clock()
        self._position = position
        if now - self._reported_at < _REPORT_SECONDS:
            return
        self._marks.append((now, position))
        while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW_SECONDS:
            self._marks.popleft()
        self._tell(Step.FETCHING)

    def checking(self, checked: int) -> None:
        """So much was read from the disk."""
        if self._clock() - self._reported_at >= _REPORT_SECONDS:
            self._tell(Step.CHECKING, checked=checked)

    def waiting(self, seconds: float, reason: ErrorInfo) -> None:
        """Nothing happens for so long."""
        self._tell(Step.WAITING, wait_seconds=seconds, reason=reason)

    def finished(self) -> None:
        """The file is there, verified."""
        self._position = self._total
        self._tell(Step.FINISHED)

    def _tell(self, step: Step, checked: int = 0, wait_seconds: float = 0.0, reason: ErrorInfo | None = None) -> None:
        self._reported_at = self._clock()
        self._most = max(self._most, self._position)
        if step is Step.FETCHING and self._again:
            step = Step.FETCHING_AGAIN
        rate = self._rate() if step in (Step.FETCHING, Step.FETCHING_AGAIN) else 0.0
        left = (self._total - self._position) / rate if rate > 0 else None
        self._report(Progress(step, self._most, self._total, rate, left, checked, wait_seconds, reason))

    def _rate(self) -> float:
        if len(self._marks) < 2:
            return 0.0
        (began, first), (ended, last) = self._marks[0], self._marks[-1]
        return (last - first) / (ended - began) if ended > began else 0.0
