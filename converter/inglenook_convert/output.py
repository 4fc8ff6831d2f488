"""What goes into an output file on its way to the disk: in large parts, by a thread of its own, while more is made."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
from collections import deque
from collections.abc import Callable
from io import FileIO
from types import TracebackType

from inglenook_convert.pipeline import Workers

PART = 8 << 20  # bytes that are written at once
_PARTS = 6  # that wait for the disk or are being filled
_FLUSH = 64 << 20  # bytes; so much at a time is sent to the disk

Report = Callable[[str, str, int], None]
"""Called with phase ("write" or "sync"), tensor name and bytes written so far."""


class Output:
    """The file being written.

    Past the system's memory where that can be: a copy of a file that nobody reads soon costs as much time as making its
    contents. Elsewhere what was written is sent to the disk early, so that little is left to wait for at the end.
    """

    def __init__(self, file: FileIO, before: int, report: Report) -> None:
        self.done = 0  # bytes of this file
        self._before = before
        self._report = report
        self._disk = Disk(file)
        self._writer = Workers(self._disk.write, 1)
        self._free = [memoryview(mmap.mmap(-1, PART)) for _ in range(_PARTS)]  # begin with a page, as O_DIRECT asks
        self._busy: deque[memoryview] = deque()
        self._filled = 0  # bytes of the last free part

    def __enter__(self) -> Output:
        self._writer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._disk.give_up()
        self._writer.__exit__(kind, error, at)

    def write(self, data: bytes | memoryview) -> None:
        """Appends `data`. Raises `OSError`, also for data before it that could not be brought to the disk."""
        rest = memoryview(data)
        while rest:
            if not self._free:
                self._wait()
            count = min(len(rest), PART - self._filled)
            self._free[-1][self._filled : self._filled + count] = rest[:count]
            rest = rest[count:]
            self._filled += count
            if self._filled == PART:
                self._hand_over()
        self.done += len(data)

    def pad(self, size: int) -> None:
        """Appends zeros up to `size`."""
        self.write(bytes(size - self.done))

    def report(self, phase: str, tensor: str) -> None:
        """Tells how far all files are."""
        self._report(phase, tensor, self._before + self.done)

    def finish(self) -> None:
        """Waits until all is on the disk."""
        self.report("sync", "")
        if self._filled:
            self._hand_over()
        while self._busy:
            self._wait()
        self._disk.sync()

    def _hand_over(self) -> None:
        part = self._free.pop()
        self._busy.append(part)
        self._writer.submit(part[: self._filled])
        self._filled = 0

    def _wait(self) -> None:
        self._writer.take()
        self._free.insert(0, self._busy.popleft())


class Disk:
    """Appends to a file, and sees to it that the data goes to the disk soon."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._unflushed = 0
        self._is_direct = False
        self._set_direct(True)

    def write(self, part: memoryview) -> None:
        """Appends `part`, which begins with a page of memory; only the last one has less than whole pages."""
        self._unflushed += len(part)
        if len(part) % mmap.PAGESIZE:
            self._set_direct(False)
        while part:
            try:
                part = part[self._append(part) :]
            except OSError as error:
                if error.errno != errno.EINVAL or not self._is_direct:
                    raise
                self._set_direct(False)  # the disk's blocks are larger, or the file system will not after all
            if self._is_direct and len(part) % mmap.PAGESIZE:
                self._set_direct(False)  # written in part: the disk is all but full
        if not self._is_direct and self._unflushed >= _FLUSH:
            self._unflushed = 0
            _sync_data(self._file)

    def _append(self, part: memoryview) -> int:
        return self._file.write(part)

    def sync(self) -> None:
        """Waits until all is on the disk."""
        os.fsync(self._file.fileno())

    def give_up(self) -> None:
        """The disk need not write what nobody wants."""
        with contextlib.suppress(OSError):
            self._file.truncate(0)

    def _set_direct(self, wanted: bool) -> None:
        """Past the system's memory, or through it. Not every file system can do the first."""
        if sys.platform == "linux":
            import fcntl

            with contextlib.suppress(OSError):
                flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
                fcntl.fcntl(self._file, fcntl.F_SETFL, flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT)
                self._is_direct = wanted


def _sync_data(file: FileIO) -> None:
    """Waits until what was written so far is on the disk."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(file.fileno())
    else:
        os.fsync(file.fileno())
