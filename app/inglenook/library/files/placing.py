"""Giving a file its name without ever replacing another one, also when two programs want one name at one instant."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from inglenook.library.locks import FileLock
from inglenook.library.remote.part import sync_folder

LOCK = Path(".transfers", "placing")
"""Of the folder of models: what programs hold while they place files where that takes two steps."""


def place(source: Path, target: Path, lock: Path) -> None:
    """Renames the file `source` to `target`, on the disk when this returns.

    FileExistsError if something has that name, and then all is as it was; other OSErrors as for a rename. A kill in
    the middle may leave the file under both names: this ends that too. `lock` is a file for disks that know no second
    name of a file: there no other program that uses the same one gets in between.
    """
    if os.name == "nt":
        source.rename(target)  # never replaces there
        return
    try:
        if source.is_symlink():
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), str(source))  # systems differ in what they link
        target.hardlink_to(source)
    except FileExistsError:
        if not _is_same(source, target):
            raise
    except OSError:
        with FileLock(lock):
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
            source.replace(target)
        _sync(target.parent)
        return
    _sync(target.parent)
    try:
        source.unlink()
    except OSError:
        with suppress(OSError):
            target.unlink()
        raise


def _is_same(source: Path, target: Path) -> bool:
    """Whether they are two names of one file."""
    try:
        return not target.is_symlink() and source.samefile(target)
    except OSError:
        return False


def _sync(folder: Path) -> None:
    try:
        sync_folder(folder)
    except OSError as error:  # drives that know no such thing
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
