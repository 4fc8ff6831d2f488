"""Threads that work ahead of the one that uses their results: so reading, computing and writing overlap.

The thread that owns the `Workers` may be stopped by a signal at any moment; all that it waits for are `SimpleQueue`s,
which stay usable then (a lock that is taken in Python code might never be given back).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

_MOST_THREADS = 8  # more would only wait for the disk, or for each other


def thread_count() -> int:
    """One for each processor that we may use, and at least two, since a thread that reads computes nothing."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(2, allowed), _MOST_THREADS)


class Workers(Generic[Job, Result]):
    """`count` threads that do `work` on jobs. A context manager: once it is left, however, no thread is at work."""

    def __init__(self, work: Callable[[Job], Result], count: int) -> None:
        self._work = work
        self._todo: SimpleQueue[tuple[int, Job] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[int, Result | None, BaseException | None]] = SimpleQueue()
        # Daemons, because a signal may come before `__exit__` is bound to be called.
        self._threads = [Thread(target=self._run, name=f"worker {i}", daemon=True) for i in range(count)]
        self._early: dict[int, tuple[Result | None, BaseException | None]] = {}
        self._submitted = self._taken = 0

    def __enter__(self) -> Workers[Job, Result]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            while True:
                self._todo.get_nowait()
        except Empty:
            pass
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, job: Job) -> None:
        """Has `job` done by the next thread that is free."""
        self._todo.put((self._submitted, job))
        self._submitted += 1

    def take(self) -> Result:
        """Waits for the oldest job whose result was not taken yet; its result. Raises what `work` raised for it."""
        assert self._taken < self._submitted, "no job is left to wait for"
        while self._taken not in self._early:
            number, result, error = self._done.get()
            self._early[number] = (result, error)
        result, error = self._early.pop(self._taken)
        self._taken += 1
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # None only if that is what `work` returns

    def _run(self) -> None:
        while (task := self._todo.get()) is not None:
            number, job = task
            try:
                self._done.put((number, self._work(job), None))
            except BaseException as error:  # raised again where the result is taken
                self._done.put((number, None, error))
