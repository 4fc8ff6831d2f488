"""Room on a disk: what says that there is none, and whether there is some again.

The free bytes of a disk are not the whole story. A quota, or blocks that only the system may use, refuse a write on a
disk with much room: then only a write can tell.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.i18n import N_

_QUOTA = getattr(errno, "EDQUOT", -1)  # not on every system
_FULL = frozenset({errno.ENOSPC, _QUOTA})
_TRIAL_BYTES = 4 << 20
_FULL_DISK = N_("The disk is full: {missing} GB more are needed in {folder}. Make room; the download then goes on.")
_FULL_SHARE = N_(
    "Your share of the disk (its quota) is used up: {missing} GB more are needed in {folder}. Make room, or ask who "
    "looks after this computer for a larger share; the download then goes on."
)


class DiskFull(UserError):  # noqa: N818 - as people call it
    """There is no room. `missing` is how many bytes more are needed in `folder`.

    With `refused`, a write was refused although the disk has room by its numbers: only `takes` tells when to go on.
    `text` is said instead of the usual.
    """

    def __init__(
        self, folder: Path, missing: int, *, refused: bool = False, quota: bool = False, text: ErrorInfo | None = None
    ) -> None:
        self.folder = folder
        self.missing = missing
        self.refused = refused
        if text is not None:
            super().__init__(text.template, **dict(text.arguments))
            return
        super().__init__(
            _FULL_SHARE if quota else _FULL_DISK, missing=f"{max(missing, 10_000_000) / 1e9:.2f}", folder=folder
        )


def is_full(error: OSError) -> bool:
    """Whether `error` says that there is no room: a full disk, or a quota that is used up."""
    return error.errno in _FULL


def disk_full(error: OSError, folder: Path, needed: int, free: int) -> DiskFull:
    """What to raise for an `error` that `is_full`: `needed` bytes must fit in `folder`, whose disk has `free`."""
    quota = error.errno == _QUOTA
    refused = quota or free >= needed
    return DiskFull(folder, needed if refused else needed - free, refused=refused, quota=quota)


def takes(folder: Path) -> bool:
    """Whether a few MB more can be written in `folder`: they are, and are removed. OSError for any other fault."""
    trial = folder / ".room"  # one name, so that what a killed program left is written over
    try:
        descriptor = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
        try:
            data = memoryview(os.urandom(_TRIAL_BYTES))  # a disk that packs its files would take any zeros
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)  # some disks refuse only then
        finally:
            os.close(descriptor)
    except OSError as error:
        if is_full(error):
            return False
        raise
    finally:
        with contextlib.suppress(OSError):
            trial.unlink(missing_ok=True)
    return True
