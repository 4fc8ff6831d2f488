"""The downloads of the program: start, pause, resume, cancel; going on by themselves when the program starts again.

Each runs on a thread of its own and tells the listeners how it goes as a `DownloadStatus`.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.i18n import N_
from inglenook.library.control import Control, Stopped
from inglenook.library.progress import Progress, Step
from inglenook.library.remote.answers import TryLater
from inglenook.library.remote.download import Busy, Download, Retry, WrongBytes, lock_of
from inglenook.library.remote.hub import Hub, RemoteFile
from inglenook.library.remote.jobs import Job, JobFolder, target_of
from inglenook.library.remote.network import Lost
from inglenook.library.remote.part import bytes_noted, remove_part
from inglenook.library.remote.room import DiskFull, disk_full, is_full, takes

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0  # between looks at a disk that was full, or at a file that another program fetches


class State(StrEnum):
    """Where a download stands."""

    RUNNING = "running"
    WAITING = "waiting"  # for the network or a server; `reason` says which
    NO_ROOM = "no room"  # goes on when there is
    ELSEWHERE = "elsewhere"  # another program fetches it
    PAUSED = "paused"
    FAILED = "failed"  # `reason` says what to do; `resume` tries again, and so does the next start of the program
    FINISHED = "finished"
    CANCELLED = "cancelled"


_ENDED = (State.FINISHED, State.CANCELLED)
_STILL = (*_ENDED, State.PAUSED, State.FAILED)


@dataclass(frozen=True, slots=True)
class DownloadStatus:
    """A download, for people. Bytes `done` of `total` never become fewer while the program runs.

    `paths` are the files in the order of the job: where they will be, or are when it is FINISHED.
    """

    id: str
    title: str
    state: State
    done: int
    total: int
    paths: tuple[Path, ...]
    rate: float = 0.0
    seconds_left: float | None = None
    step: Step | None = None
    reason: ErrorInfo | None = None


class _Watching(Control):
    """A control that calls `look` once a second while it is asked or waits; `look` may stop it."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self._look = look
        self._next = 0.0

    def check(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _LOOK_SECONDS
            self._look()
        super().check()

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            super().wait(min(left, _LOOK_SECONDS))
            self.check()
        self.check()


class Downloads:
    """All downloads into the folder `models`. `hub` makes the Hub to ask, with the mirror and token of the moment."""

    def __init__(self, models: Path, hub: Callable[[], Hub], retry: Retry | None = None) -> None:
        self._models = models
        self.hub = hub
        self._retry = retry
        self._folder = JobFolder(models / ".downloads")
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._running: dict[str, tuple[Control, threading.Thread]] = {}
        self._statuses: dict[str, DownloadStatus] = {}
        self._listeners: list[Callable[[DownloadStatus], None]] = []

    def start(self) -> None:
        """Goes on with all that is not paused: at the start of the program, and when the network is allowed again."""
        with self._lock:
            for job in self._folder.read():
                try:
                    self._take(self._jobs.get(job.id, job))
                except UserError as error:
                    log.warning("the download %s is not taken up: %s", job.id, error)

    def add(self, title: str, files: tuple[RemoteFile, ...]) -> str:
        """Fetches `files`; returns the id of the download, which is the old one if it was asked for before."""
        job = Job(title, files)
        for file in files:
            target_of(self._models, file)
        with self._lock:
            if job.id not in self._running or self._running[job.id][0].stopped:
                try:
                    self._folder.write(job)
                except OSError as error:
                    raise self._cannot_write(error) from error
                self._take(job)
        return job.id

    def pause(self, id_: str) -> None:
        """Stops it, also for later starts of the program; what has arrived stays."""
        with self._lock:
            if id_ in self._jobs and self._statuses[id_].state not in _ENDED:
                self._jobs[id_] = self._folder.set_paused(self._jobs[id_], True)
                self._update(id_, state=State.PAUSED, rate=0.0, seconds_left=None, reason=None)
                self._stop(id_)

    def resume(self, id_: str) -> None:
        """Goes on after a pause or a failure."""
        with self._lock:
            if id_ in self._jobs and self._statuses[id_].state in (State.PAUSED, State.FAILED):
                self._jobs[id_] = self._folder.set_paused(self._jobs[id_], False)
                self._take(self._jobs[id_])

    def cancel(self, id_: str) -> None:
        """Stops it and removes what has arrived, save files that were complete."""
        with self._lock:
            job = self._jobs.get(id_)
            if job is None or self._statuses[id_].state in _ENDED:
                return
            self._update(id_, state=State.CANCELLED, rate=0.0, seconds_left=None, reason=None)
            try:
                self._folder.remove(job)  # first: who waits for this download sees by it that it is not to go on
            finally:
                thread = self._stop(id_)
            if thread is None:
                self._remove_parts(job)

    def statuses(self) -> list[DownloadStatus]:
        """All downloads of this run of the program, the ended ones too."""
        return list(self._statuses.values())

    def subscribe(self, listener: Callable[[DownloadStatus], None]) -> Callable[[], None]:
        """Calls `listener` at each change, on a worker thread; returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def close(self) -> None:
        """Stops all; the next start of the program goes on."""
        with self._lock:
            threads = [self._stop(id_) for id_ in list(self._running)]
        for thread in threads:
            if thread is not None:
                thread.join(5)

    # -- the threads --

    def _take(self, job: Job) -> None:
        """Makes the status of `job`, and a thread if it shall run and does not."""
        self._jobs[job.id] = job
        old = self._statuses.get(job.id)
        paths = tuple(target_of(self._models, file) for file in job.files)
        here = sum(f.size if p.exists() else _noted(f, p) for f, p in zip(job.files, paths, strict=True))
        done = max(here, old.done if old is not None and old.state is not State.CANCELLED else 0)
        if job.id in self._running and not self._running[job.id][0].stopped:
            return
        state = State.PAUSED if job.paused else State.RUNNING
        self._tell(DownloadStatus(job.id, job.title, state, min(done, job.total), job.total, paths))
        if not job.paused:
            before = self._running[job.id][1] if job.id in self._running else None
            control = _Watching(lambda: self._look(job, control))
            thread = threading.Thread(
                target=self._run, args=(job, control, before), name=f"download {job.id}", daemon=True
            )
            self._running[job.id] = control, thread
            thread.start()

    def _look(self, job: Job, control: Control) -> None:
        """Pauses what another program has paused: one that only waits until this one has fetched it, say."""
        if self._folder.is_paused(job):
            with self._lock:
                if not control.stopped and self._folder.is_paused(job):
                    self.pause(job.id)

    def _stop(self, id_: str) -> threading.Thread | None:
        if id_ not in self._running:
            return None
        control, thread = self._running[id_]
        control.stop()
        return thread

    def _run(self, job: Job, control: Control, before: threading.Thread | None) -> None:
        try:
            if before is not None:
                before.join()
            control.check()
            self._fetch_all(job, control)
            with self._lock:
                control.check()
                self._folder.remove(job)
                self._update(job.id, state=State.FINISHED, done=job.total, rate=0.0, seconds_left=0.0, reason=None)
        except Stopped:
            pass
        except (UserError, OSError) as error:
            if isinstance(error, OSError):
                error = self._cannot_write(error)
            elif isinstance(error, WrongBytes):  # every start of the program would fetch it all again, twice
                with self._lock:
                    self._jobs[job.id] = self._folder.set_paused(job, True)
            self._report(job.id, control, state=State.FAILED, rate=0.0, seconds_left=None, reason=error.info)
        except BaseException:
            reason = UserError(N_("The download stopped by a fault of this program. Its log says more.")).info
            self._report(job.id, control, state=State.FAILED, rate=0.0, seconds_left=None, reason=reason)
            raise
        finally:
            with self._lock:
                if self._running.get(job.id, (None,))[0] is control:
                    del self._running[job.id]
                    if self._statuses[job.id].state is State.CANCELLED:
                        self._remove_parts(job)

    def _cannot_write(self, error: OSError) -> UserError:
        if is_full(error):
            return UserError(N_("The disk of {folder} has no room. Make some, then try again."), folder=self._models)
        return UserError(
            N_("The folder {folder} cannot be used: {reason}. Check that its disk is there and not read-only."),
            folder=self._models,
            reason=error.strerror or error,
        )

    def _fetch_all(self, job: Job, control: Control) -> None:
        done, waited = 0, False
        hub = self.hub()
        for file in job.files:
            target = target_of(self._models, file)
            while True:
                try:
                    if waited:
                        self._cancel_with_others(job, target, control)
                    self._check_room(job)
                    pinned = file if file.digest else self._pinned(hub, job.id, file, control)
                    heard = self._hears(job.id, control, done)
                    Download(hub, pinned, target, control, heard, self._retry).run()
                    break
                except Busy:
                    waited = True
                    self._report(job.id, control, state=State.ELSEWHERE, done=done + _noted(file, target), rate=0.0)
                    control.wait(_LOOK_SECONDS)
                except DiskFull as full:
                    self._wait_for_room(job.id, control, full)
                except OSError as error:
                    if not is_full(error):
                        raise
                    missing = max(job.total - self._statuses[job.id].done, 0)
                    free = shutil.disk_usage(self._models).free
                    self._wait_for_room(job.id, control, disk_full(error, self._models, missing, free))
            done += file.size

    def _cancel_with_others(self, job: Job, target: Path, control: Control) -> None:
        """`Stopped` if the program that was fetching `job` has ended with a cancel, `Busy` while it goes on."""
        lock = lock_of(target)
        if not lock.try_acquire():
            raise Busy
        try:
            brought = all(target_of(self._models, file).exists() for file in job.files)
            cancelled = self._folder.is_gone(job) and not brought
        finally:
            lock.release()
        with self._lock:
            if cancelled and not control.stopped:
                self._update(job.id, state=State.CANCELLED, rate=0.0, seconds_left=None, reason=None)
                control.stop()
        control.check()

    def _pinned(self, hub: Hub, id_: str, file: RemoteFile, control: Control) -> RemoteFile:
        retry, failures = self._retry or Retry(), 0
        while True:
            control.check()
            try:
                return hub.pinned(file, control.check)
            except (Lost, TryLater) as error:
                asked = error.seconds or 0.0 if isinstance(error, TryLater) else 0.0
                reason = UserError(N_("No connection ({reason}). Trying again."), reason=error).info
                self._report(id_, control, state=State.WAITING, reason=reason)
                failures += 1
                hub.network.wait(max(asked, retry.delay(failures)), control)

    def _check_room(self, job: Job) -> None:
        """All files of a job must find room, or it would fail after hours."""
        self._models.mkdir(parents=True, exist_ok=True)
        paths = [(file, target_of(self._models, file)) for file in job.files]
        needed = sum(file.size - _noted(file, path) for file, path in paths if not path.exists())
        free = shutil.disk_usage(self._models).free
        if needed > free:
            raise DiskFull(self._models, needed - free)

    def _wait_for_room(self, id_: str, control: Control, full: DiskFull) -> None:
        free = shutil.disk_usage(self._models).free
        self._report(id_, control, state=State.NO_ROOM, rate=0.0, seconds_left=None, reason=full.info)
        while True:
            control.wait(_LOOK_SECONDS * (5 if full.refused else 1))
            if takes(full.folder) if full.refused else shutil.disk_usage(self._models).free >= free + full.missing:
                return

    def _hears(self, id_: str, control: Control, before: int) -> Callable[[Progress], None]:
        def hear(progress: Progress) -> None:
            self._report(
                id_,
                control,
                state=State.WAITING if progress.step is Step.WAITING else State.RUNNING,
                done=before + progress.done,
                rate=progress.rate,
                seconds_left=self._left(id_, before, progress),
                step=progress.step,
                reason=progress.reason,
            )

        return hear

    def _left(self, id_: str, before: int, progress: Progress) -> float | None:
        """Seconds for this file and those that come after it."""
        if progress.seconds_left is None:
            return None
        after = self._statuses[id_].total - before - progress.total
        return progress.seconds_left + after / progress.rate

    def _report(self, id_: str, control: Control, **changes: object) -> None:
        """Changes a status, unless the thread that says so was stopped."""
        with self._lock:
            if not control.stopped:
                self._update(id_, **changes)

    def _update(self, id_: str, **changes: object) -> None:
        now = self._statuses[id_]
        changed = replace(now, **changes)  # type: ignore[arg-type]  # names and types are those of the callers above
        self._tell(replace(changed, done=min(max(now.done, changed.done), now.total)))

    def _tell(self, status: DownloadStatus) -> None:
        self._statuses[status.id] = status
        for listener in tuple(self._listeners):
            listener(status)

    def _remove_parts(self, job: Job) -> None:
        """Not of a file that another program is fetching: there it goes on."""
        for file in job.files:
            target = target_of(self._models, file)
            lock = lock_of(target)
            if target.parent.is_dir() and lock.try_acquire():
                try:
                    remove_part(target)
                finally:
                    lock.release()


def _noted(file: RemoteFile, target: Path) -> int:
    """How much of `file` has arrived by what was noted, which may be of another file of that name; at most all."""
    return min(bytes_noted(target), file.size)
