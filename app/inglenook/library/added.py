"""Models that people have got from repositories of their own choice: kept, so that their downloads go on by name.

One small file among the models, written under a lock, since each window and command has its own copy of it. What a
failing disk or a helping hand has made of it is not trusted: an entry that could not have been written by us is left
out, and the others count.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inglenook.core.errors import UserError
from inglenook.library.catalogue import CatalogueFile, Entry, Format
from inglenook.library.locks import FileLock
from inglenook.library.remote.hub import check_repository
from inglenook.library.remote.jobs import target_of
from inglenook.library.written import write_json

log = logging.getLogger(__name__)

_REVISION = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}|")
_MOST_BYTES = 4 << 20  # of the file
_MOST_FILES = 1000  # of a model
_MOST_PARTS = 10_000  # layers, or experts
_INSIDE = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)  # texts, whose brackets are none, and brackets


class Added:
    """Entries beside the catalogue's, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / ".added.json"

    def read(self) -> list[Entry]:
        """All of them, in the order in which they came. Never raises: what is damaged counts as not there."""
        try:
            with self._file.open("rb") as file:
                text = file.read(_MOST_BYTES).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("%s cannot be read: %s", self._file, error)
            return []
        entries: dict[str, Entry] = {}
        for found in _models(text):
            try:
                entry = _entry(found)
            except (UserError, ValueError, KeyError, TypeError) as error:
                log.warning("a model in %s is left out: %s", self._file, ascii(error))
                continue
            entries.setdefault(entry.key, entry)
        return list(entries.values())

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


def _models(text: str) -> Iterator[object]:
    """The members of the list of models, also where some are no JSON, or `text` breaks off."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        log.warning("the list of added models is damaged: %s", ascii(error))
    else:
        models = found.get("models") if isinstance(found, dict) else None
        yield from models if isinstance(models, list) else ()
        return
    for piece in _members(text):
        try:
            yield json.loads(piece)
        except (ValueError, RecursionError):
            continue


def _members(text: str) -> Iterator[str]:
    """The objects within a list within an object, whatever is in them."""
    depth, start = 0, 0
    for match in _INSIDE.finditer(text):
        if match[0] in "[{":
            depth += 1
            start = match.start() if depth == 3 else start
        elif match[0] in "]}":
            depth -= 1
            if depth == 2:
                yield text[start : match.end()]


def _entry(found: object) -> Entry:
    """An entry such as `add` keeps. Raises `UserError`, ValueError, KeyError or TypeError if it is none."""
    if not isinstance(found, dict):
        raise TypeError("no entry")
    files = found["files"]
    if not isinstance(files, list) or not 0 < len(files) <= _MOST_FILES:
        raise ValueError("no files")
    texts = {name: _text(found[name]) for name in ("key", "title", "note", "repository", "revision", "licence")}
    numbers = {name: _number(found[name], _MOST_PARTS) for name in ("layers", "experts") if name in found}
    made: dict[str, Any] = {**texts, **numbers, "format": Format(found["format"]), "files": tuple(map(_file, files))}
    entry = Entry(**made)
    check_repository(entry.repository)
    if not f"{entry.key}/".startswith(f"{entry.repository}/"):
        raise ValueError("the key of another model")
    if not _REVISION.fullmatch(entry.revision):
        raise ValueError("no revision")
    for file in entry.remote():
        target_of(Path(), file)
    return entry


def _file(found: Any) -> CatalogueFile:
    digest = _text(found.get("digest", "")) if isinstance(found, dict) else ""
    if not _DIGEST.fullmatch(digest):
        raise ValueError("no hash")
    return CatalogueFile(_text(found["name"]), _number(found["size"], (1 << 63) - 1), digest)


def _text(found: object) -> str:
    if not isinstance(found, str) or not found.isprintable():  # nor is what was no UTF-8, or half a character
        raise TypeError("no text")
    return found


def _number(found: object, most: int) -> int:
    if type(found) is not int or not 0 < found <= most:
        raise ValueError("no number")
    return found
