"""Models that are listed wherever they are: those that the user chose, and ours that were moved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from inglenook.library.catalogue import Entry, Format
from inglenook.library.files.bringing import is_file_of, is_whole
from inglenook.library.files.checkpoints import CONFIG
from inglenook.library.files.found import Found, Place, examine, look
from inglenook.library.files.moved import Kept, Moved
from inglenook.library.files.usage import away
from inglenook.library.remote.jobs import target_of
from inglenook.library.shelf_events import OWN


def models_here(places: list[Place], moved: Moved, names: Iterable[str]) -> list[Found]:
    """Those in `places` and ours that were moved, and checkpoints; first those of the `names` that are not there."""
    found = look(places)
    listed = {str(one.path) for one in found}
    found += [_kept(model) for model in moved.models() if model.files[0] not in listed]
    listed |= {model.files[0] for model in moved.models()}
    return [*(_chosen(Path(name)) for name in sorted(set(map(moved.now, names)) - listed)), *found]


def path_of(entry: Entry, folder: Path, moved: Moved) -> Path | None:
    """The first file of a model of ours all of whose files are here, or that was moved; the folder of a checkpoint."""
    files = entry.remote()
    start = next((file for file in files if target_of(folder, file).name == CONFIG), files[0])
    first = target_of(folder, start)
    if not is_whole(entry, folder):
        elsewhere = Path(moved.now(str(first)))
        if elsewhere == first or not is_file_of(elsewhere, start.size):
            return None
        first = elsewhere
    return first if entry.format is Format.GGUF else first.parent


def _chosen(path: Path) -> Found:
    """The file that the user chose somewhere."""
    try:
        return Found(path, "", path.stem, path.stat().st_size, (path,))
    except OSError:
        return Found(path, "", path.stem, problem=away(path))


def _kept(model: Kept) -> Found:
    """One of ours that was moved."""
    path = Path(model.files[0])
    try:
        found = examine(path)
    except OSError:
        found = None
    if found is None or (found.problem is not None and not path.exists()):
        return Found(path, OWN, model.title, model.size, problem=away(path))
    return replace(found, owner=OWN, title=model.title)
