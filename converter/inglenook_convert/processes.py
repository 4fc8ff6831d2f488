"""Processes that make the pieces of a file, or look at them, each on a processor of its own.

Threads would do, but for Python's lock: numpy gives it back for every operation, and these are so short that two
threads hand it to and fro and come to less than one of them alone (measured: 0.73 GB/s by two, 0.98 by one).

The pieces come and go through memory that is shared, and that has no name that could be left behind.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from inglenook_convert.errors import ConvertError
from inglenook_convert.pipeline import thread_count
from inglenook_convert.plan import PlannedTensor
from inglenook_convert.reader import ShardReader
from inglenook_convert.stages import Piece, pieces, produce

if TYPE_CHECKING:
    from ctypes import Array, c_ubyte

Result = TypeVar("Result")
Work = Callable[[Piece, ShardReader, NDArray[np.uint8]], Result]
"""Done with a piece and its data, which it may fill; what it returns is pickled."""
Prepare = Callable[[Piece, memoryview], None]

_WORTHWHILE = 16 << 20  # bytes; less than this is made sooner than a process begins
_KEPT = 256 << 20  # bytes
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_EACH = 6  # pieces under way for a process: one being made, and enough that neither it nor the disk has to wait


@contextmanager
def produced(tensors: Sequence[PlannedTensor], memory: int) -> Iterator[Iterator[tuple[Piece, memoryview]]]:
    """The pieces of `tensors` in order, each with its data. See `worked`."""
    with worked(_make, tensors, memory) as made:
        yield ((piece, data) for piece, data, _ in made)


@contextmanager
def worked(
    work: Work[Result], tensors: Sequence[PlannedTensor], memory: int, prepare: Prepare | None = None
) -> Iterator[Iterator[tuple[Piece, memoryview, Result]]]:
    """The pieces of `tensors` in order, with data, which are there until the next one is asked for, and result.

    `work`, a function of a module, is done in other processes. Before that the data are what `prepare` makes of them
    here; without that the first pieces are begun at once. Takes about `memory` bytes, or what three pieces need. The
    iterator raises `ConvertError`, and what `work` and `prepare` raise.
    """
    if sum(tensor.nbytes for tensor in tensors) < _WORTHWHILE:
        with ShardReader() as reader:
            yield _worked_here(work, tensors, reader, prepare)
    else:
        with _Processes(work, tensors, memory, prepare) as processes:
            if prepare is None:
                processes.fill()
            yield processes.in_order()


def _worked_here(
    work: Work[Result], tensors: Sequence[PlannedTensor], reader: ShardReader, prepare: Prepare | None
) -> Iterator[tuple[Piece, memoryview, Result]]:
    for piece in pieces(tensors):
        data = np.empty(piece.nbytes, np.uint8)
        if prepare is not None:
            prepare(piece, data.data)
        yield piece, data.data, work(piece, reader, data)


def _make(piece: Piece, reader: ShardReader, out: NDArray[np.uint8]) -> None:
    produce(piece, reader, out)


class _Processes(Generic[Result]):
    """One for each processor. A context manager: once it is left, none of them is there."""

    def __init__(
        self, work: Work[Result], tensors: Sequence[PlannedTensor], memory: int, prepare: Prepare | None
    ) -> None:
        self._work = work
        self._prepare = prepare
        self._tensors = tuple(tensors)
        self._slot = max((piece.nbytes for piece in pieces(self._tensors)), default=1)
        most = max((piece.memory for piece in pieces(self._tensors)), default=1)
        self._slots = max(3, min(_EACH * thread_count(), memory // most))
        self._count = max(1, min(thread_count(), self._slots // 2))
        self._context = multiprocessing.get_context("spawn")  # a copy of a process with threads may hang
        self._workers: dict[Connection, int] = {}  # with the pieces that they have to do
        self._processes: list[Any] = []
        self._coming = pieces(self._tensors)
        self._number = {id(tensor): i for i, tensor in enumerate(self._tensors)}
        self._free = list(range(self._slots))
        self._under_way: deque[tuple[Piece, int]] = deque()
        self._done: dict[int, tuple[Any, BaseException | None]] = {}

    def __enter__(self) -> _Processes[Result]:
        self._shared: Array[c_ubyte] = self._context.RawArray("B", self._slots * self._slot)
        self._memory = memoryview(self._shared).cast("B")
        with _interrupts_held():
            for _ in range(self._count):
                ours, theirs = self._context.Pipe()
                given = (theirs, self._work, self._shared, self._slot, self._tensors)
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

    def in_order(self) -> Iterator[tuple[Piece, memoryview, Result]]:
        """See `worked`. Raises `ConvertError` also if a process was ended."""
        while True:
            self.fill()
            if not self._under_way:
                return
            piece, slot = self._under_way.popleft()
            while slot not in self._done:
                self._receive()
            result, error = self._done.pop(slot)
            if error is not None:
                raise error
            yield piece, self._data(slot, piece), result
            self._free.append(slot)

    def fill(self) -> None:
        """Has as many pieces under way as there is room for. Raises `ConvertError` if a process was ended."""
        while self._free and (piece := next(self._coming, None)) is not None:
            slot = self._free.pop()
            if self._prepare is not None:
                self._prepare(piece, self._data(slot, piece))
            least = min(self._workers, key=self._workers.__getitem__)
            self._send(least, (slot, self._number[id(piece.tensor)], piece.first, piece.count))
            self._under_way.append((piece, slot))

    def _data(self, slot: int, piece: Piece) -> memoryview:
        return self._memory[slot * self._slot :][: piece.nbytes]

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
                slot, result, error = worker.recv()
            except (EOFError, OSError):
                raise _ended() from None
            self._workers[worker] -= 1
            self._done[slot] = (result, error)


def _serve(
    connection: Connection,
    work: Work[Any],
    shared: Array[c_ubyte],
    slot_bytes: int,
    tensors: Sequence[PlannedTensor],
) -> None:
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
            result: Any = None
            error: Exception | None = None
            try:
                result = work(piece, reader, memory[slot, : piece.nbytes])
            except Exception as raised:
                error = raised
            try:
                connection.send((slot, result, error))
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
