"""Models that are listed wherever they are: those that the user chose, and ours that were moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from inglenook.library.files.found import Found, examine
from inglenook.library.files.moved import Kept
from inglenook.library.files.usage import away
from inglenook.library.shelf_events import OWN


def chosen(path: Path) -> Found:
    """The file that the user chose somewhere."""
    try:
        return Found(path, "", path.stem, path.stat().st_size, (path,))
    except OSError:
        return Found(path, "", path.stem, problem=away(path))


def kept(model: Kept) -> Found:
    """One of ours that was moved."""
    path = Path(model.files[0])
    try:
        found = examine(path)
    except OSError:
        found = None
    if found is None or (found.problem is not None and not path.exists()):
        return Found(path, OWN, model.title, model.size, problem=away(path))
    return replace(found, owner=OWN, title=model.title)
