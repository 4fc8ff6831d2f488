"""The engine's queue: what each client asked for, which is next, what is cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from inglenook.core.events import Queued
from inglenook.core.inference import ModelSpec
from inglenook.engine.outbox import Outbox
from inglenook.engine.protocol import Ahead, Bench, Count, Happened, Inject, Load, Run


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
    interruptible: bool = False  # while it reads: an evaluation that is broken off can be begun again

    @property
    def gives_way(self) -> bool:
        """Whether others go first, even when it has begun."""
        return isinstance(self.command, Run) and self.command.request.gives_way

    def goes_before(self, running: Job) -> bool:
        """Whether `running` is to be put aside for this one; not where that would take another model."""
        if self.gives_way or not running.gives_way:
            return False
        command = self.command
        if isinstance(command, Run):
            return command.request.model == running.model
        return isinstance(command, Load) and command.model == running.model

    @property
    def model(self) -> ModelSpec:
        """That it needs."""
        return self.command.request.model if isinstance(self.command, Run) else self.command.model


class Schedule:
    """Jobs of all clients; safe for any thread. One job runs at a time, counts are served in between.

    Work ahead is done while there is nothing else, and is cancelled by any other job. A job that gives way is put
    aside for those that do not.
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
        self._aside: Job | None = None
        self.has_counts = False  # read without the lock, between tokens
        self.has_first = False  # the same: somebody waits for whom the running job is to be put aside

    def add(self, job: Job) -> None:
        """Queues a job; its client is told if another's answer goes first."""
        with self._changed:
            if isinstance(job.command, Count):
                self._counts.append(job)
                self.has_counts = True
            elif isinstance(job.command, Ahead):
                self._ahead.append(job)
            else:
                if self._waits(job):  # told here, where nobody can begin it meanwhile
                    job.client.outbox.put(Happened(job.command.id, Queued()))
                self._jobs.append(job)
                current = self._current
                if current is not None and isinstance(current.command, Ahead):
                    self._stop(current)
                elif current is not None and job.goes_before(current):
                    self.has_first = True
                    if current.interruptible:
                        self._interrupt(True)
            self._changed.notify_all()

    def _waits(self, job: Job) -> bool:
        """Whether another's work goes before `job`, which is not queued yet."""
        if isinstance(job.command, Bench):  # it tells no events
            return False
        others = [j for j in (self._current, self._aside, *self._jobs) if j is not None]
        return any(isinstance(other.command, Run | Bench) and not job.goes_before(other) for other in others)

    def next(self, timeout: float | None = None) -> Job | None:
        """Waits for work: counts, then jobs that do not give way, then those that do, then work ahead.

        Of several, the oldest of the client that was served longest ago. None after `timeout` seconds.
        """
        with self._changed:
            self._current = None
            self._busy = False
            if not self._changed.wait_for(self._has_work, timeout):
                return None
            self._busy = True
            if self._counts:
                return self._take_count()
            return self._begin(self._take_job(self._jobs) if self._jobs else self._ahead.pop(0))

    def _has_work(self) -> bool:
        return bool(self._jobs or self._counts or self._ahead)

    def _take_job(self, among: list[Job]) -> Job:
        job = min(among, key=lambda j: (j.gives_way, j.client.turn))
        self._jobs.remove(job)
        self._turns += 1
        job.client.turn = self._turns
        return job

    def _begin(self, job: Job) -> Job:
        self._interrupt(False)
        self._current = job
        self.has_first = any(j.goes_before(job) for j in self._jobs)
        return job

    # -- a job that is put aside --

    def first(self, running: Job) -> Job | None:
        """A job that goes before `running`, which is put aside until `back`; None if there is none."""
        with self._changed:
            waiting = [j for j in self._jobs if j.goes_before(running)]
            if waiting:
                self._aside = running
                return self._begin(self._take_job(waiting))
            self._go_on(running)
            return None

    def go_on(self, running: Job) -> None:
        """Nobody goes before `running` for now."""
        with self._changed:
            self._go_on(running)

    def _go_on(self, running: Job) -> None:
        self.has_first = False
        self._interrupt(running.cancelled)

    def back(self, job: Job) -> None:
        """`job`, which was put aside, is the running one again."""
        with self._changed:
            self._aside = None
            self._begin(job)
            self._interrupt(job.cancelled)

    def interruptible(self, job: Job, wanted: bool) -> None:
        """Whether an evaluation of the running `job` may be broken off for one that goes first."""
        with self._changed:
            job.interruptible = wanted
            self._interrupt(job.cancelled or (wanted and self.has_first))

    def wait_busy(self) -> None:
        """Waits until there is work, or something that was taken is being done."""
        with self._changed:
            self._changed.wait_for(lambda: self._busy or self._has_work())

    def next_count(self) -> Job | None:
        """A count to serve while a job runs."""
        with self._changed:
            return self._take_count() if self._counts else None

    def _take_count(self) -> Job:
        job = self._counts.pop(0)
        self.has_counts = bool(self._counts)
        return job

    def cancel(self, client: ClientLine, number: int | None = None) -> list[Job]:
        """Cancels `client`'s job, or all its jobs; those that do not run now are returned and are over for it."""

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
            if self._aside is not None and meant(self._aside) and not self._aside.cancelled:
                self._aside.cancelled = True
                waiting.append(self._aside)
            return waiting

    def inject(self, client: ClientLine, command: Inject) -> None:
        """Hands it to `client`'s generation, if that runs or is put aside."""
        with self._changed:
            for job in (self._current, self._aside):
                if job is not None and job.client is client and job.command.id == command.id:
                    job.injection = command

    def _stop(self, job: Job) -> None:
        job.cancelled = True
        self._interrupt(True)
