"""The engine's queue: what each client asked for, which is next, what is cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from inglenook.engine.outbox import Outbox
from inglenook.engine.protocol import Ahead, Bench, Count, Inject, Load, Run


@dataclass(eq=False, slots=True)
class ClientLine:
    """A connected client: where reports to it go, when it was last served, and whether it spares the battery."""

    outbox: Outbox
    turn: int = 0
    spares: bool = False


@dataclass(eq=False, slots=True)
class Job:
    """A command with its client. `cancelled` and `injection` are set by any thread, for the one that works on it."""

    client: ClientLine
    command: Run | Load | Ahead | Count | Bench
    arrived: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    injection: Inject | None = None


class Schedule:
    """Jobs of all clients; safe for any thread. One job runs at a time, counts are served in between.

    Work ahead is done while there is nothing else, and is cancelled by any other job.
    """

    def __init__(self, interrupt: Callable[[bool], None]) -> None:
        """`interrupt(True)` is called when the running job is cancelled, `interrupt(False)` before the next one."""
        self._interrupt = interrupt
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        self._counts: list[Job] = []
        self._ahead: list[Job] = []
        self._current: Job | None = None
        self._turns = 0
        self._busy = False
        self.has_counts = False  # read without the lock, between tokens

    def add(self, job: Job) -> None:
        """Queues a job."""
        with self._changed:
            if isinstance(job.command, Count):
                self._counts.append(job)
                self.has_counts = True
            elif isinstance(job.command, Ahead):
                self._ahead.append(job)
            else:
                self._jobs.append(job)
                if self._current is not None and isinstance(self._current.command, Ahead):
                    self._stop(self._current)
            self._changed.notify_all()

    def next(self) -> Job:
        """Waits for work: counts, then the oldest job of the client that was served longest ago, then work ahead."""
        with self._changed:
            self._current = None
            self._busy = False
            while not (self._jobs or self._counts or self._ahead):
                self._changed.wait()
            self._busy = True
            if self._counts:
                return self._take_count()
            if self._jobs:
                job = min(self._jobs, key=lambda j: j.client.turn)
                self._jobs.remove(job)
                self._turns += 1
                job.client.turn = self._turns
            else:
                job = self._ahead.pop(0)
            self._interrupt(False)
            self._current = job
            return job

    def wait_busy(self) -> None:
        """Waits until there is work, or something that was taken is being done."""
        with self._changed:
            self._changed.wait_for(lambda: self._busy or self._jobs or self._counts or self._ahead)

    def next_count(self) -> Job | None:
        """A count to serve while a job runs."""
        with self._changed:
            return self._take_count() if self._counts else None

    def _take_count(self) -> Job:
        job = self._counts.pop(0)
        self.has_counts = bool(self._counts)
        return job

    def cancel(self, client: ClientLine, number: int | None = None) -> list[Job]:
        """Cancels `client`'s job, or all its jobs; those that had not begun are returned and gone."""

        def meant(job: Job) -> bool:
            return job.client is client and number in (None, job.command.id)

        with self._changed:
            waiting = [j for j in (*self._jobs, *self._ahead, *self._counts) if meant(j)]
            self._jobs = [j for j in self._jobs if not meant(j)]
            self._ahead = [j for j in self._ahead if not meant(j)]
            self._counts = [j for j in self._counts if not meant(j)]
            self.has_counts = bool(self._counts)
            if self._current is not None and meant(self._current):
                self._stop(self._current)
            return waiting

    def inject(self, client: ClientLine, command: Inject) -> None:
        """Hands it to `client`'s generation, if that is the running job."""
        with self._changed:
            job = self._current
            if job is not None and job.client is client and job.command.id == command.id:
                job.injection = command

    def _stop(self, job: Job) -> None:
        job.cancelled = True
        self._interrupt(True)
