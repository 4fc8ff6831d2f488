"""What models take of the disk, and what to say of a file that is not there."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inglenook.core.errors import ErrorInfo
from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_, tr
from inglenook.library.files.bin import Binned

if TYPE_CHECKING:
    from inglenook.library.shelf_events import ShelfStatus

_MAX_FILES = 20_000


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes: of all in our own folder; of unfinished and set-aside files. What was deleted and can be brought back.

    `bin` may lie on other drives too.
    """

    own: int = 0
    bin: tuple[Binned, ...] = ()
    unfinished: int = 0

    @property
    def binned(self) -> int:
        """Bytes of all in the bin."""
        return sum(one.size for one in self.bin)


def usage_of(folder: Path, binned: tuple[Binned, ...]) -> Usage:
    """Looks at all files of `folder`, and follows no link."""
    own = unfinished = 0
    for number, file in enumerate(folder.rglob("*") if folder.is_dir() else ()):
        if number >= _MAX_FILES:
            break
        with suppress(OSError):
            if file.is_file() and not file.is_symlink():
                size = file.stat().st_size
                own += size
                unfinished += size if file.suffix in (".part", ".wrong") else 0
    return Usage(own, binned, unfinished)


def away(path: Path) -> ErrorInfo:
    """Why there is no file `path`, as far as can be seen."""
    there = False
    with suppress(OSError):
        there = path.parent.is_dir() and any(path.parent.iterdir())
    if there:
        text = N_("This file is not there now: it was moved, renamed or deleted. Choose it at its new place.")
    else:
        text = N_("On a drive that is not connected, or deleted. Connect the drive, or choose another model.")
    return ErrorInfo(text)


def disk_use(status: ShelfStatus) -> str:
    """Of all models that are here, of our own folder and of what else lies there; and what is free."""
    models = gigabytes(sum(one.size for one in (*status.here, *status.checkpoints)))
    own, free = gigabytes(status.usage.own), gigabytes(max(status.free, 0))
    words = [tr(N_("All models here: {models}."), models=models)]
    words.append(tr(N_("{own} are in {folder}, where {free} are free."), own=own, free=free, folder=status.folder))
    if status.usage.binned:
        words.append(tr(N_("Deleted and not gone yet: {size}."), size=gigabytes(status.usage.binned)))
    if status.usage.unfinished:
        words.append(tr(N_("Unfinished or set aside: {size}."), size=gigabytes(status.usage.unfinished)))
    return " ".join(words)
