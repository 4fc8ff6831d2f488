"""The output file: written under a temporary name beside the target, synced, and renamed when it is complete.

So an old target stays as it is until then, whatever happens. Temporaries are locked while they are written; those that
nobody holds (their program was killed) are removed by the next run in the same folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType

from inglenook_convert.errors import ConvertError
from inglenook_convert.pipeline import Workers
from inglenook_convert.plan import Plan
from inglenook_convert.processes import produced

SUFFIX = ".inglenook-part"

_MEMORY = 200 << 20  # bytes; of pieces that are being made or wait to be written
_PART = 8 << 20  # bytes that are written at once
_PARTS = 6  # that wait for the disk or are being filled
_FLUSH = 64 << 20  # bytes; so much at a time is sent to the disk

Report = Callable[[str, str, int], None]
"""Called with phase ("write" or "sync"), tensor name and bytes written so far."""


def write_file(target: Path, header: bytes, plan: Plan, report: Report) -> None:
    """Writes one file. See `write_files`."""
    write_files([(target, header, plan)], report)


def write_files(files: Sequence[tuple[Path, bytes, Plan]], report: Report) -> None:
    """Writes each target: its header and the data of all tensors of its plan, in the order of the plan.

    All targets are in one folder. They are replaced when all are complete, the first one last.
    Raises `ConvertError` for unusable input or too little room, `OSError` when the disk fails.
    """
    folder = files[0][0].parent
    for target, _, _ in files:
        if target.is_dir() or not folder.is_dir():
            problem = "is a folder" if target.is_dir() else "is in a folder that does not exist"
            raise ConvertError(f"{target} {problem}. Give the name of a file in a folder that exists.")
    _remove_debris(folder)
    sizes = [len(header) + plan.data_bytes for _, header, plan in files]
    _check_room(folder, sum(sizes))
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(_temporary(target)) for target, _, _ in files]
        for file, size in zip(opened, sizes, strict=True):
            _reserve(file, size)
        before = 0
        for file, size, (_, header, plan) in zip(opened, sizes, files, strict=True):
            with _Output(file, before, report) as output:
                output.write(header)
                _write_tensors(plan, output)
                output.finish()
            before += size
            assert output.done == size


def _write_tensors(plan: Plan, output: _Output) -> None:
    start = output.done
    with produced(plan.tensors, _MEMORY) as made:
        for piece, data in made:
            output.report("write", piece.tensor.info.name)
            if piece.first == 0:
                output.pad(start + piece.tensor.info.offset)
            output.write(data)
    output.pad(start + plan.data_bytes)


class _Output:
    """The file being written: in large parts, by a thread of its own, while more is made.

    Past the system's memory where that can be: a copy of a file that nobody reads soon costs as much time as making its
    contents. Elsewhere what was written is sent to the disk early, so that little is left to wait for at the end.
    """

    def __init__(self, file: FileIO, before: int, report: Report) -> None:
        self.done = 0  # bytes of this file
        self._before = before
        self._report = report
        self._disk = _Disk(file)
        self._writer = Workers(self._disk.write, 1)
        self._free = [memoryview(mmap.mmap(-1, _PART)) for _ in range(_PARTS)]  # begin with a page, as O_DIRECT asks
        self._busy: deque[memoryview] = deque()
        self._filled = 0  # bytes of the last free part

    def __enter__(self) -> _Output:
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
            count = min(len(rest), _PART - self._filled)
            self._free[-1][self._filled : self._filled + count] = rest[:count]
            rest = rest[count:]
            self._filled += count
            if self._filled == _PART:
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


class _Disk:
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


def _reserve(file: FileIO, size: int) -> None:
    """Takes the room on the disk now, where the file system can, so that nobody else fills it. Raises `OSError`."""
    if sys.platform != "linux":
        return
    # Not os.posix_fallocate: where the file system cannot, the C library would write to every block of the file.
    keep_size = 1
    library = ctypes.CDLL(None, use_errno=True)
    if library.fallocate(file.fileno(), keep_size, ctypes.c_int64(0), ctypes.c_int64(size)) != 0:
        number = ctypes.get_errno()
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(number, os.strerror(number), file.name)


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConvertError(
            f"{folder} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are needed."
            " Make room, or choose another place with -o."
        )


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[FileIO]:
    """A locked file that becomes `target` when the body ends well, and is removed when it does not."""
    path = target.with_name(target.name + SUFFIX)
    with path.open("ab", buffering=0) as file:
        try:
            if not _is_ours(file):
                raise ConvertError(f"{target} is being written by another conversion. Wait for it to end.")
            file.truncate(0)
            yield file
            if sys.platform == "win32":  # an open file cannot be renamed there
                file.close()
            path.replace(target)
        except BaseException:
            if sys.platform == "win32":
                file.close()
                with contextlib.suppress(PermissionError):  # open in another program
                    path.unlink(missing_ok=True)
            elif _is_ours(file):
                path.unlink(missing_ok=True)
            raise
    _sync_folder(target.parent)


def _remove_debris(folder: Path) -> None:
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):
            with path.open("ab", buffering=0) as file:
                stale = _lock(file)
                if stale and sys.platform != "win32":
                    path.unlink()
            if stale and sys.platform == "win32":
                path.unlink()


def _is_ours(file: FileIO) -> bool:
    """Whether the file's lock could be had, or there are no locks in its file system."""
    try:
        return _lock(file)
    except OSError:
        return True


def _lock(file: FileIO) -> bool:
    """Takes the file's lock, which ends with the process; False if another has it or has renamed the file.

    Raises `OSError` where files cannot be locked.
    """
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), Path(file.name).stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself survive a power cut, where a folder can be synced."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
