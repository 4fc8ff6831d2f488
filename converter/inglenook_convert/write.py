"""The output file: written under a temporary name beside the target, synced, and renamed when it is complete.

So an old target stays as it is until then, whatever happens. Temporaries are locked while they are written; those that
nobody holds (their program was killed) are removed by the next run in the same folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path

from inglenook_convert.errors import ConvertError
from inglenook_convert.output import Output, Report
from inglenook_convert.plan import Plan
from inglenook_convert.processes import produced
from inglenook_convert.stages import Piece

SUFFIX = ".inglenook-part"

MEMORY = 200 << 20
"""Bytes; of pieces that are being made or wait to be written."""

Made = Iterator[tuple[Piece, memoryview]]


def write_file(target: Path, header: bytes, plan: Plan, report: Report) -> None:
    """Writes one file. See `write_files`."""
    with produced(plan.tensors, MEMORY) as made:
        write_files([(target, header, plan)], made, report)


def write_files(files: Sequence[tuple[Path, bytes, Plan]], made: Made, report: Report) -> None:
    """Writes each target: its header and the data of all tensors of its plan, in the order of the plan.

    These are `made`, piece by piece, for all plans together (see `processes.produced`). All targets are in one folder.
    They are replaced when all are complete, the first one last.
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
            with Output(file, before, report) as output:
                output.write(header)
                _write_tensors(plan, made, output)
                output.finish()
            before += size
            assert output.done == size


def _write_tensors(plan: Plan, made: Made, output: Output) -> None:
    start = output.done
    for tensor in plan.tensors:
        begin = start + tensor.info.offset
        output.pad(begin)
        while output.done < begin + tensor.nbytes:
            output.report("write", tensor.info.name)
            output.write(next(made)[1])
    output.pad(start + plan.data_bytes)


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
