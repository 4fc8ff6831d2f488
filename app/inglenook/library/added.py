"""Models that people have got from repositories of their own choice: kept, so that their downloads go on by name.

One small file among the models, written under a lock, since each window and command has its own copy of it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from inglenook.library.catalogue import CatalogueFile, Entry, Format
from inglenook.library.locks import FileLock
from inglenook.library.written import write_json

log = logging.getLogger(__name__)


class Added:
    """Entries beside the catalogue's, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / ".added.json"

    def read(self) -> list[Entry]:
        """All of them, in the order in which they came. A damaged file counts as none."""
        try:
            found = json.loads(self._file.read_text("utf-8"))
            return [_entry(one) for one in found["models"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be read: %s", self._file, error)
            return []

    def add(self, entry: Entry) -> None:
        """Keeps it, in place of one of the same key. OSError."""
        self._change(lambda entries: [*(one for one in entries if one.key != entry.key), entry])

    def keep(self, wanted: Callable[[Entry], bool]) -> None:
        """Forgets all others. OSError."""
        if not all(map(wanted, self.read())):
            self._change(lambda entries: [one for one in entries if wanted(one)])

    def _change(self, change: Callable[[list[Entry]], list[Entry]]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / ".added.lock"):
            models = [asdict(entry) for entry in change(self.read())]
            write_json(self._file, {"models": models})


def _entry(found: dict[str, object]) -> Entry:
    files = found["files"]
    if not isinstance(files, list) or not files:
        raise ValueError("no files")
    made = {**found, "format": Format(str(found["format"])), "files": tuple(CatalogueFile(**one) for one in files)}
    return Entry(**made)  # type: ignore[arg-type]  # TypeError and ValueError where the file says something else
