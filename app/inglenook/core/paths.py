"""Where things are kept. `bootstrap` chooses the folders (platformdirs); this is what the rooms are handed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import inglenook


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders of one user. `runtime` is private to the user (mode 0700) and need not survive a restart."""

    data: Path  # conversations, models
    config: Path  # settings
    cache: Path  # what can be made again: converted demo model, saved states
    logs: Path
    runtime: Path  # the engine's socket and lock

    @property
    def database(self) -> Path:
        """The conversations."""
        return self.data / "conversations.sqlite3"

    @property
    def models(self) -> Path:
        """Model files that the app downloaded or converted."""
        return self.data / "models"

    @property
    def states(self) -> Path:
        """Cache states of conversations."""
        return self.cache / "states"

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.config / "settings.json"

    def create(self) -> None:
        """Makes the folders, readable by the user only."""
        for folder in (self.data, self.config, self.cache, self.logs, self.runtime):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def resources() -> Path:
    """The folder of icons, styles, translations and the demo model: package data, or `resources/` of a checkout."""
    package = Path(inglenook.__file__).parent
    installed = package / "resources"
    return installed if installed.is_dir() else package.parent.parent / "resources"
