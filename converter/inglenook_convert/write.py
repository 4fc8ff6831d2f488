"""The output file: written under a temporary name beside the target, synced, and renamed when it is complete.

So an old target stays as it is until then, whatever happens. Temporaries are locked while they are written; those that
nobody holds (their program was killed) are removed by the next run in the same folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from inglenook_convert import gguf_format as gguf
from inglenook_convert.checkpoint import ShardReader
from inglenook_convert.errors import ConvertError
from inglenook_convert.plan import Plan
from inglenook_convert.stages import pieces

SUFFIX = ".inglenook-part"

Report = Callable[[str, str, int], None]
"""Called with phase ("write" or "sync"), tensor name and bytes written so far."""


def write_file(target: Path, header: bytes, plan: Plan, report: Report) -> None:
    """Writes `header` and the data of all tensors of `plan` to `target`, in the order of the plan.

    Raises `ConvertError` for unusable input or too little room, `OSError` when the disk fails.
    """
    if target.is_dir() or not target.parent.is_dir():
        problem = "is a folder" if target.is_dir() else "is in a folder that does not exist"
        raise ConvertError(f"{target} {problem}. Give the name of a file in a folder that exists.")
    _remove_debris(target.parent)
    _check_room(target.parent, len(header) + plan.data_bytes)
    with _temporary(target) as file, ShardReader() as reader:
        file.write(header)
        done = len(header)
        for tensor in plan.tensors:
            written = 0
            for piece in pieces(tensor, reader):
                report("write", tensor.info.name, done)
                file.write(piece.data)
                written += piece.nbytes
                done += piece.nbytes
            assert written == tensor.nbytes, tensor.info.name
            file.write(bytes(gguf.padded(written) - written))
            done += gguf.padded(written) - written
        report("sync", "", done)


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConvertError(
            f"{folder} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are needed."
            " Make room, or choose another place with -o."
        )


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[BinaryIO]:
    """A locked file that becomes `target` when the body ends well, and is removed when it does not."""
    path = target.with_name(target.name + SUFFIX)
    with path.open("ab") as file:
        try:
            free = _lock(file)
        except OSError:  # a file system without locks
            free = True
        if not free:
            raise ConvertError(f"{target} is being written by another conversion. Wait for it to end.")
        try:
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if sys.platform == "win32":  # an open file cannot be renamed there
                file.close()
            path.replace(target)
        except BaseException:
            if sys.platform == "win32":
                file.close()
            path.unlink(missing_ok=True)
            raise
    _sync_folder(target.parent)


def _remove_debris(folder: Path) -> None:
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):
            with path.open("ab") as file:
                stale = _lock(file)
                if stale and sys.platform != "win32":
                    path.unlink()
            if stale and sys.platform == "win32":
                path.unlink()


def _lock(file: BinaryIO) -> bool:
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
