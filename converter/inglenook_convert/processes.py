"""Processes that make the pieces of a file, each on a processor of its own.

Threads would do, but for Python's lock: numpy gives it back for every operation, and these are so short that two
threads hand it to and fro and come to less than one of them alone (measured: 0.73 GB/s by two, 0.98 by one).

What they make comes through memory that is shared, and that has no name that could be left behind.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from inglenook_convert.errors import ConvertError
from inglenook_convert.pipeline import thread_count
from inglenook_convert.plan import PlannedTensor
from inglenook_convert.reader import ShardReader
from inglenook_convert.stages import Piece, pieces, produce

if TYPE_CHECKING:
    from ctypes import Array, c_ubyte

_WORTHWHILE = 16 << 20  # bytes; less than this is made sooner than a process begins
_KEPT = 256 << 20  # bytes
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_EACH = 6  # pieces under way for a process: one being made, and enough that neither it nor the disk has to wait


@contextmanager
def produced(tensors: Sequence[PlannedTensor], memory: int) -> Iterator[Iterator[tuple[Piece, memoryview]]]:
    """The pieces of `tensors` in order, each with its data, which are there until the next one is asked for.

    Takes about `memory` bytes, or what three pieces need. The iterator raises `ConvertError`.
    """
    if sum(tensor.nbytes for tensor in tensors) < _WORTHWHILE:
        with ShardReader() as reader:
            yield ((piece, produce(piece, reader).data) for piece in pieces(tensors))
    else:
        with _Producers(tensors, memory) as producers:
            yield producers.in_order()


class _Producers:
    """One process for each processor. A context manager: once it is left, none of them is there."""

    def __init__(self, tensors: Sequence[PlannedTensor], memory: int) -> None:
        self._tensors = tuple(tensors)
        self._slot = max((piece.nbytes for piece in pieces(self._tensors)), default=1)
        most = max((piece.memory for piece in pieces(self._tensors)), default=1)
        self._slots = max(3, min(_EACH * thread_count(), memory // most))
        self._count = max(1, min(thread_count(), self._slots // 2))
        self._context = multiprocessing.get_context("spawn")  # a copy of a process with threads may hang
        self._workers: dict[Connection, int] = {}  # with the pieces that they have to make
        self._processes: list[Any] = []
        self._done: dict[int, BaseException | None] = {}

    def __enter__(self) -> _Producers:
        self._shared: Array[c_ubyte] = self._context.RawArray("B", self._slots * self._slot)
        with _interrupts_held():
            for _ in range(self._count):
                ours, theirs = self._context.Pipe()
                given = (theirs, self._shared, self._slot, self._tensors)
                # Daemons, because a signal may come before `__exit__` is bound to be called.
                process = self._context.Process(target=_serve, args=given, daemon=True)
                process.start()
                theirs.close()
                self._processes.append(process)
                self._workers[ours] = 0
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for connection in self._workers:
            connection.close()
        for process in self._processes:
            if error is not None:
                process.kill()
            process.join()

    def in_order(self) -> Iterator[tuple[Piece, memoryview]]:
        """See `produced`. Raises what making a piece raised, and `ConvertError` if a process was ended."""
        memory = memoryview(self._shared).cast("B")
        free = list(range(self._slots))
        under_way: deque[tuple[Piece, int]] = deque()
        number = {id(tensor): i for i, tensor in enumerate(self._tensors)}
        coming = iter(pieces(self._tensors))
        while True:
            while free and (piece := next(coming, None)) is not None:
                slot = free.pop()
                least = min(self._workers, key=self._workers.__getitem__)
                self._send(least, (slot, number[id(piece.tensor)], piece.first, piece.count))
                under_way.append((piece, slot))
            if not under_way:
                return
            piece, slot = under_way.popleft()
            while slot not in self._done:
                self._receive()
            error = self._done.pop(slot)
            if error is not None:
                raise error
            yield piece, memory[slot * self._slot :][: piece.nbytes]
            free.append(slot)

    def _send(self, worker: Connection, job: tuple[int, int, int, int]) -> None:
        try:
            worker.send(job)
        except OSError:
            raise _ended() from None
        self._workers[worker] += 1

    def _receive(self) -> None:
        for worker in wait(list(self._workers)):
            assert isinstance(worker, Connection)
            try:
                slot, error = worker.recv()
            except (EOFError, OSError):
                raise _ended() from None
            self._workers[worker] -= 1
            self._done[slot] = error


def _serve(connection: Connection, shared: Array[c_ubyte], slot_bytes: int, tensors: Sequence[PlannedTensor]) -> None:
    """What a process does, until nobody is at the other end."""
    _keep_memory()
    memory = np.frombuffer(memoryview(shared).cast("B"), np.uint8).reshape(-1, slot_bytes)
    with ShardReader() as reader:
        while True:
            try:
                slot, tensor, first, count = connection.recv()
            except (EOFError, OSError):
                return
            piece = Piece(tensors[tensor], first, count)
            error: Exception | None = None
            try:
                produce(piece, reader, memory[slot, : piece.nbytes])
            except Exception as raised:
                error = raised
            try:
                connection.send((slot, error))
            except OSError:
                return


def _keep_memory() -> None:
    """Has the C library keep what is freed for the next piece, where it can be told so (glibc).

    To get fresh pages for every array took a quarter of the system's time in a conversion.
    """
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT // 4)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT)


def _ended() -> ConvertError:
    return ConvertError(
        "A process of the converter was ended, perhaps because memory ran out. Close other programs, and try again."
    )


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C goes to all processes of a terminal. Those begun meanwhile never get it, and we do after that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
