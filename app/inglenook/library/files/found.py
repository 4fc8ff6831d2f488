"""Models that other programs have put on this computer, to be used where they are; and checkpoints.

Pure: it looks, and changes nothing. What it reads is bounded whatever is there: folders to a depth and a number of
entries, of a file that is no gpt-oss the first 64 kB, of one that is its header (`inglenook_convert.headers`).
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.i18n import N_
from inglenook.library.files.checkpoints import CONFIG, WEIGHTS, check, contents, title_of
from inglenook_convert.headers import HeaderError, check_gguf

HUGGING_FACE = "Hugging Face"
MAX_DEPTH = 8
MAX_ENTRIES = 20_000  # of one place
_HEAD = 64 << 10  # bytes; the architecture is the first thing that writers put into a file
_SMALLEST = 1 << 20  # bytes of a model; Ollama's other blobs are smaller, and are no GGUF
_MAX_MANIFEST = 64 << 10
_ARCHITECTURE = b"general.architecture"
_STRING = 8  # GGUF's code
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_BLOB = re.compile(r"sha256-[0-9a-f]{64}")


class Layout(StrEnum):
    """How a program keeps its files."""

    GGUF = "gguf"  # somewhere below, with the ending .gguf
    OLLAMA = "ollama"  # blobs/sha256-..., named by manifests


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of the program `owner`."""

    owner: str
    folder: Path
    layout: Layout = Layout.GGUF


@dataclass(frozen=True, slots=True)
class Found:
    """A gpt-oss model of the program `owner`: its first file, all its files, their bytes.

    `problem` says why it cannot be used; `path` is then a folder where nothing in it could be read. Of a checkpoint
    `path` is its config.json.
    """

    path: Path
    owner: str
    title: str
    size: int = 0
    files: tuple[Path, ...] = ()
    problem: ErrorInfo | None = None

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is to be converted; it does not run."""
        return self.path.name == CONFIG

    @property
    def place(self) -> Path:
        """What people see of it: the file, of a checkpoint the folder."""
        return self.path.parent if self.is_checkpoint else self.path


def places(home: Path, environment: Mapping[str, str], system: str) -> list[Place]:
    """Where programs keep models on a `system` (as `sys.platform` has it), for the user of that `home`."""

    def named(name: str, otherwise: Path) -> Path:
        return Path(environment[name]) if environment.get(name) else otherwise

    caches = home / "Library" / "Caches" if system == "darwin" else named("XDG_CACHE_HOME", home / ".cache")
    if system == "win32":
        caches = named("LOCALAPPDATA", home / "AppData" / "Local")
        jan = named("APPDATA", home / "AppData" / "Roaming") / "Jan" / "data"
    elif system == "darwin":
        jan = home / "Library" / "Application Support" / "Jan" / "data"
    else:
        jan = named("XDG_DATA_HOME", home / ".local" / "share") / "Jan" / "data"
    hub = named("HF_HOME", named("XDG_CACHE_HOME", home / ".cache") / "huggingface") / "hub"
    hub = named("HF_HUB_CACHE", named("HUGGINGFACE_HUB_CACHE", hub))
    all_of_them = [
        Place(HUGGING_FACE, hub),
        Place("LM Studio", home / ".lmstudio" / "models"),
        Place("LM Studio", home / ".cache" / "lm-studio" / "models"),
        Place("Jan", jan / "llamacpp" / "models"),
        Place("Jan", jan / "models"),
        Place("Jan", home / "jan" / "models"),
        Place("llama.cpp", named("LLAMA_CACHE", caches / "llama.cpp")),
        Place("Ollama", named("OLLAMA_MODELS", home / ".ollama" / "models"), Layout.OLLAMA),
    ]
    if system == "linux":  # where it runs as a service
        all_of_them.append(Place("Ollama", Path("/usr/share/ollama/.ollama/models"), Layout.OLLAMA))
    return list(dict.fromkeys(all_of_them))


def look(where: list[Place]) -> list[Found]:
    """All gpt-oss models and checkpoints in those places, each once, by place and name; whatever else is left out."""
    seen: set[tuple[int, int]] = set()
    found: list[Found] = []
    for place in where:
        here = _ollama(place, seen) if place.layout is Layout.OLLAMA else _gguf(place, seen)
        found += sorted(here, key=lambda one: (one.title.lower(), str(one.path)))
    return found


def examine(path: Path) -> Found | None:
    """The model of which that file is a part; None where it is no gpt-oss model. `Found.problem` says what is wrong."""
    if path.name == CONFIG or path.suffix == WEIGHTS:
        return _checkpoint(path.with_name(CONFIG), "")
    part = _PART.fullmatch(path.name)
    if part is not None and int(part["number"]) != 1:
        path = path.with_name(f"{part['stem']}-00001-of-{part['count']}.gguf")
    return _examine(path, "", path.stem)


# -- the places --


def _gguf(place: Place, seen: set[tuple[int, int]]) -> Iterator[Found]:
    files, unreadable = _files(place.folder)
    for folder in unreadable:
        yield _cannot_read(place, folder)
    for file in files:
        if file.name == CONFIG and _is_new(file, seen, smallest=1) and (one := _checkpoint(file, place.owner)):
            yield one
        part = _PART.fullmatch(file.name)
        if file.suffix.lower() != ".gguf" or file.name.startswith(".") or (part and int(part["number"]) != 1):
            continue
        if _is_new(file, seen) and (one := _examine(file, place.owner, file.stem)):
            yield one


def _ollama(place: Place, seen: set[tuple[int, int]]) -> Iterator[Found]:
    blobs = place.folder / "blobs"
    files, unreadable = _files(blobs)
    for folder in unreadable:
        yield _cannot_read(place, folder)
    names: dict[str, str] | None = None
    for file in files:
        if file.parent != blobs or not _BLOB.fullmatch(file.name) or not _is_new(file, seen):
            continue
        if one := _examine(file, place.owner, ""):
            names = _manifests(place.folder / "manifests") if names is None else names
            title = names.get(file.name, f"{file.name[:14]}…")
            yield Found(one.path, one.owner, title, one.size, one.files, one.problem)


def _manifests(folder: Path) -> dict[str, str]:
    """The names of blobs: manifests/HOST/LIBRARY/MODEL/TAG lists the layers of a model."""
    names = {}
    for file in _files(folder)[0]:
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            with file.open("rb") as opened:
                manifest = json.loads(opened.read(_MAX_MANIFEST))
            for layer in manifest["layers"]:
                if layer["mediaType"].endswith("image.model"):
                    names[layer["digest"].replace(":", "-")] = f"{file.parent.name}:{file.name}"
    return names


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """All files below `folder`, through links to folders too but not round in circles; folders that are closed to us.

    A folder that is not there, or no folder, has none.
    """
    files: list[Path] = []
    unreadable: list[Path] = []
    entered: set[tuple[int, int]] = set()
    waiting, budget = [(folder, 0)], MAX_ENTRIES
    while waiting:
        here, depth = waiting.pop()
        try:
            identity = here.stat()
            if (identity.st_dev, identity.st_ino) in entered:
                continue
            entered.add((identity.st_dev, identity.st_ino))
            with os.scandir(here) as entries:
                for entry in entries:
                    budget -= 1
                    if budget < 0:
                        return files, unreadable
                    if entry.is_dir():
                        if depth < MAX_DEPTH:
                            waiting.append((Path(entry.path), depth + 1))
                    elif entry.is_file():
                        files.append(Path(entry.path))
        except PermissionError:
            unreadable.append(here)
        except OSError:  # not there, no folder, a link in circles, a drive that is gone
            continue
    return files, unreadable


def _is_new(file: Path, seen: set[tuple[int, int]], smallest: int = _SMALLEST) -> bool:
    """Whether this is a file of some size that was not met before under another name."""
    try:
        about = file.stat()
    except OSError:
        return False
    identity = (about.st_dev, about.st_ino)
    if about.st_size < smallest or identity in seen:
        return False
    seen.add(identity)
    return True


def _cannot_read(place: Place, folder: Path) -> Found:
    return Found(
        folder,
        place.owner,
        str(folder),
        problem=ErrorInfo(
            N_("This folder of {owner} cannot be read by you. Change its permissions, or copy the model elsewhere."),
            (("owner", place.owner),),
        ),
    )


# -- a file --


def _checkpoint(config: Path, owner: str) -> Found | None:
    """The one in the folder of that config.json; None where there is none of gpt-oss."""
    title = title_of(config)
    try:
        files = contents(config)
        if not files:
            return None
        found = Found(config, owner, title, sum(file.stat().st_size for file in files), files)
        check(files)
    except UserError as error:
        return replace(found, problem=error.info)
    except OSError as error:
        problem = ErrorInfo(N_("This file cannot be read: {reason}."), (("reason", error.strerror or str(error)),))
        return Found(config, owner, title, problem=problem)
    return found


def _examine(path: Path, owner: str, title: str) -> Found | None:
    """What there is to say about a file; None where it is no gpt-oss model."""
    try:
        with path.open("rb") as opened:
            head = opened.read(_HEAD)
        size = path.stat().st_size
    except OSError as error:
        problem = ErrorInfo(N_("This file cannot be read: {reason}."), (("reason", error.strerror or str(error)),))
        return Found(path, owner, title, problem=problem) if title else None
    if head[:4] != b"GGUF":
        return None
    architecture = _architecture(head)
    if architecture == "gptoss":
        problem = ErrorInfo(
            N_(
                "A variant of the file that only Ollama reads (its header says “gptoss”). Get gpt-oss-20b here; "
                "the two cannot share a file."
            )
        )
        return Found(path, owner, title, size, (path,), problem)
    if architecture not in ("gpt-oss", None):
        return None
    try:
        summary = check_gguf(path)
        if summary.architecture != "gpt-oss":
            return None
        files = _parts(path)
        return Found(path, owner, title, sum(file.stat().st_size for file in files), files)
    except HeaderError as error:
        if architecture is None:
            return None
        return Found(path, owner, title, size, (path,), ErrorInfo("{reason}", (("reason", str(error)),)))
    except OSError:
        problem = ErrorInfo(N_("A part of this model is missing. Get it again."))
        return Found(path, owner, title, size, (path,), problem)


def _architecture(head: bytes) -> str | None:
    """What the first bytes of a GGUF file say of it; None if they do not."""
    at = head.find(_ARCHITECTURE)
    if at < 0:
        return None
    at += len(_ARCHITECTURE)
    if len(head) < at + 12:
        return None
    kind, length = struct.unpack_from("<IQ", head, at)
    if kind != _STRING or length > 256:
        return None
    return head[at + 12 : at + 12 + length].decode("utf-8", "replace")


def _parts(path: Path) -> tuple[Path, ...]:
    """The files of a model of which `path` is the first."""
    match = _PART.fullmatch(path.name)
    if match is None:
        return (path,)
    count = min(int(match["count"]), 1000)
    return tuple(path.with_name(f"{match['stem']}-{n:05d}-of-{match['count']}.gguf") for n in range(1, count + 1))
