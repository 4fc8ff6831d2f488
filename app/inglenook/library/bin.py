"""Deleted models: moved aside at once, within their folder, so that undoing is instant; really gone a little later.

Not the system's bin: 12 GB there would still fill the disk, which is why people delete a model.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_


@dataclass(frozen=True, slots=True)
class Deleted:
    """A model and its files."""

    title: str
    files: tuple[Path, ...]


class Bin:
    """Holds the model that was deleted last, of those below `folder`. Any method may raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._aside = folder / ".deleted"
        self._moved: list[tuple[Path, Path]] = []

    @property
    def holds(self) -> bool:
        """Whether there is something to restore."""
        return bool(self._moved)

    def put(self, model: Deleted) -> None:
        """Moves the files of `model` aside, all or none. `UserError` for files that are not ours."""
        if not all(file.is_relative_to(self._folder) and not file.is_symlink() for file in model.files):
            raise UserError(
                N_("{title} belongs to another program. Delete it there, and it is gone here too."), title=model.title
            )
        self.empty()
        self._aside.mkdir(parents=True, exist_ok=True)
        try:
            for number, file in enumerate(model.files):
                aside = self._aside / f"{number}"
                file.replace(aside)
                self._moved.append((file, aside))
        except OSError:
            self.restore()
            raise

    def restore(self) -> None:
        """Brings the files back to where they were."""
        while self._moved:
            file, aside = self._moved[-1]
            aside.replace(file)
            self._moved.pop()

    def empty(self) -> None:
        """Removes what was put here, also by an earlier run of the program."""
        self._moved.clear()
        if self._aside.exists():
            shutil.rmtree(self._aside)
