"""Models that people moved: where they are now, so that conversations which remember the old place find them.

Kept in one small file among the models, written under a lock, since each window and command has its own copy of it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inglenook.library.locks import FileLock
from inglenook.library.written import write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A model of ours outside our own folder: its first file is `files[0]`. `size` is bytes of all."""

    title: str
    files: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class _Places:
    """What the file says: the models, and where each name of old leads."""

    models: tuple[Kept, ...] = ()
    now: dict[str, str] = field(default_factory=dict)


class Moved:
    """Of the models of `folder`. What changes it, and `refresh`, may raise OSError; nothing else touches the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / ".moved.json"
        self._places = _Places()
        self.refresh()

    def refresh(self) -> None:
        """Reads what other windows and commands have written. A damaged file counts as none, a damaged entry too."""
        try:
            found = json.loads(self._file.read_text("utf-8"))
            models = tuple(filter(None, map(_kept, found["models"])))
            self._places = _Places(models, {str(old): str(new) for old, new in found["now"].items() if _is_name(new)})
        except FileNotFoundError:
            self._places = _Places()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("%s cannot be read: %s", self._file, ascii(error))

    def now(self, name: str) -> str:
        """The path that a model has now which was once called so; at once. Other names stay."""
        return self._places.now.get(name, name)

    def models(self) -> tuple[Kept, ...]:
        """Those outside our own folder, whether or not their drives are there."""
        return self._places.models

    def note(self, old: Path, model: Kept) -> None:
        """A model has gone from `old` to `model.files[0]`."""
        new = model.files[0]

        def change(places: _Places) -> _Places:
            now = {name: new if path == str(old) else path for name, path in places.now.items()} | {str(old): new}
            now.pop(new, None)
            return _Places(_without(_without(places.models, str(old)), new) + self._outside(model), now)

        self._change(change)

    def arrived(self, file: Path) -> None:
        """Something new has that path: it is no longer the old name of what was moved."""
        if str(file) in self._places.now:
            self._change(lambda p: _Places(p.models, {k: v for k, v in p.now.items() if k != str(file)}))

    def drop(self, file: Path) -> None:
        """The model with that first file is not kept any more."""
        self._change(lambda places: _Places(_without(places.models, str(file)), places.now))

    def keep(self, model: Kept) -> None:
        """It is kept again, if it is outside our own folder."""
        if self._outside(model):
            self._change(lambda places: _Places((*_without(places.models, model.files[0]), model), places.now))

    def _outside(self, model: Kept) -> tuple[Kept, ...]:
        return () if Path(model.files[0]).is_relative_to(self._folder) else (model,)

    def _change(self, change: Callable[[_Places], _Places]) -> None:
        with FileLock(self._folder / ".moved.lock"):
            self.refresh()
            places = change(self._places)
            text: dict[str, Any] = {"models": [asdict(model) for model in places.models], "now": places.now}
            write_json(self._file, text)
            self._places = places


def _without(models: tuple[Kept, ...], first: str) -> tuple[Kept, ...]:
    return tuple(model for model in models if model.files[0] != first)


def _kept(found: Any) -> Kept | None:
    try:
        title, files, size = found["title"], found["files"], found["size"]
    except (KeyError, TypeError):
        return None
    if not (isinstance(title, str) and isinstance(files, list) and files and type(size) is int):
        return None
    return Kept(title, tuple(files), size) if all(map(_is_name, files)) else None


def _is_name(found: object) -> bool:
    """Whether it can be that of a file; the system's functions fail on others in ways of their own."""
    try:
        return isinstance(found, str) and "\0" not in found and bool(os.fsencode(found))
    except UnicodeError:
        return False
