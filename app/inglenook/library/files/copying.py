"""Copies a file under a name that is not used, hashing as it goes, so that what came of it is known byte by byte.

The source is only read. A fault on its side and one on the side of the copy are told apart, since people do different
things about them: a stick is put in again, a disk gets room.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from inglenook.core.errors import UserError
from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_
from inglenook.library.control import Control

SPARE_BYTES = 1 << 20
"""Of disk beside the copy, as for a download."""

_BLOCK = 4 << 20
_SYNC_BYTES = 256 << 20  # written between waits for the disk: rate and cancel stay true where memory takes it all
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def copy(source: Path, size: int, target: Path, control: Control, at: Callable[[int], None]) -> str:
    """Copies `source`, of `size` bytes, to the new file `target`, which is on the disk when this returns its sha256.

    `at` hears how many bytes were copied. Raises `UserError` or `Stopped`; nothing is left of `target` then.
    """
    try:
        written = target.open("xb", buffering=0)
    except OSError as error:
        raise write_failed(error, target.parent, size) from error
    try:
        with written:
            digest = _copy(source, size, written.fileno(), control, at)
            os.fsync(written.fileno())
    except OSError as error:
        _remove(target)
        raise write_failed(error, target.parent, size) from error
    except BaseException:
        _remove(target)
        raise
    return digest


def hash_again(file: Path, control: Control, at: Callable[[int], None]) -> str:
    """The sha256 of what the disk gives of `file`, rather than of what the memory still has of it. OSError."""
    hasher, done = hashlib.sha256(), 0
    with file.open("rb", buffering=0) as opened:
        if hasattr(os, "posix_fadvise"):  # elsewhere the system may answer from its memory
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while data := opened.read(_BLOCK):
            control.check()
            hasher.update(data)
            done += len(data)
            at(done)
    return hasher.hexdigest()


def check_room(folder: Path, needed: int) -> None:
    """`UserError` if that many bytes do not fit in `folder`. OSError if it is not there."""
    missing = needed + SPARE_BYTES - shutil.disk_usage(folder).free
    if missing > 0:
        raise _no_room(folder, missing)


def write_failed(error: OSError, folder: Path, size: int) -> UserError:
    """What to tell of a file of `size` bytes that could not be written to `folder`."""
    if error.errno in _FULL:
        missing = size
        with suppress(OSError):
            missing = size + SPARE_BYTES - shutil.disk_usage(folder).free
        return _no_room(folder, max(missing, 1))
    if error.errno == errno.EFBIG:
        text = N_("The disk of {folder} takes no file of {size}. Choose another disk.")
        return UserError(text, folder=folder, size=gigabytes(size))
    text = N_("Nothing could be written to {folder}: {reason}. Check that the disk is there and not read-only.")
    return UserError(text, folder=folder, reason=error.strerror or error)


def _no_room(folder: Path, missing: int) -> UserError:
    text = N_("{missing} more room is needed in {folder}. Make room there and try again.")
    return UserError(text, missing=gigabytes(missing), folder=folder)


def _copy(source: Path, size: int, descriptor: int, control: Control, at: Callable[[int], None]) -> str:
    hasher, done, synced = hashlib.sha256(), 0, 0
    buffer = memoryview(bytearray(_BLOCK))
    try:
        opened = source.open("rb", buffering=0)
    except OSError as error:
        raise _lost(source, error) from error
    with opened:
        while True:
            control.check()
            try:
                count = opened.readinto(buffer) or 0
            except OSError as error:
                raise _lost(source, error) from error
            if not count:
                break
            hasher.update(buffer[:count])
            _write(descriptor, buffer[:count])
            done += count
            if done - synced >= _SYNC_BYTES:
                os.fsync(descriptor)
                synced = done
            at(done)
    if done != size:
        text = N_("{file} changed while it was copied. Wait until nothing writes to it, and try again.")
        raise UserError(text, file=source)
    return hasher.hexdigest()


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _lost(source: Path, error: OSError) -> UserError:
    text = N_("{file} can no longer be read ({reason}). If it is on a drive, connect that again, and start anew.")
    return UserError(text, file=source, reason=error.strerror or error)


def _remove(file: Path) -> None:
    with suppress(OSError):  # a drive that is gone; the next start removes it
        file.unlink(missing_ok=True)
