"""Which model a file, a folder or a stick holds, which published one it is, and what it is to be called here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.catalogue import Entry, Format
from inglenook.library.files.checkpoints import title_of
from inglenook.library.files.found import Found, Place, examine, look
from inglenook.library.making.conversions import Kind, recognise
from inglenook.library.remote.jobs import target_of

IMPORTED = "Imported"
"""The folder of what was copied here and is not of the catalogue, among the models."""

_FORBIDDEN = frozenset('<>:"/|?*\\')
_SHOWN = 5  # names of models in a folder


def model_at(path: Path) -> Found:
    """The one gpt-oss model in that file, or somewhere in that folder. `UserError` where there is none, or several."""
    if path.is_dir():
        return _model_in(path)
    if not path.is_file():
        raise UserError(N_("{path} is not there. If it is on a drive, connect that and try again."), path=path)
    found = examine(path)
    if found is None:
        raise UserError(
            N_("{path} is no gpt-oss model. Inglenook copies GGUF files and checkpoints of gpt-oss."),
            path=path,
        )
    return _usable(found)


def _model_in(folder: Path) -> Found:
    found = look([Place(str(folder), folder)])
    usable = [one for one in found if one.problem is None]
    if len(usable) > 1:
        names = ", ".join(str(one.path.relative_to(folder)) for one in usable[:_SHOWN])
        raise UserError(
            N_("{folder} holds {count} models. Choose one of them: {names}"),
            folder=folder,
            count=len(usable),
            names=names + (", …" if len(usable) > _SHOWN else ""),
        )
    if usable:
        return usable[0]
    if found:
        return _usable(found[0])
    if recognise(folder).kind is not Kind.OTHER:
        raise UserError(
            N_("{folder} holds a checkpoint or an adapter: convert it, and the model is made here."), folder=folder
        )
    raise UserError(N_("No gpt-oss model is in {folder}. Choose the folder or the file of a GGUF."), folder=folder)


def _usable(found: Found) -> Found:
    if found.problem is not None:
        raise UserError.of(found.problem)
    return found


# -- the catalogue --


def by_name(files: Sequence[Path], sizes: Sequence[int], entries: Iterable[Entry]) -> Entry | None:
    """The published model whose files have these names and sizes; beside a checkpoint there may be others."""
    here = {(file.name.casefold(), size) for file, size in zip(files, sizes, strict=True)}
    return next((e for e in entries if _has_digests(e) and {(_name(f.name), f.size) for f in e.files} <= here), None)


def proven(found: Found, digests: Sequence[str], named: Entry | None, entries: Iterable[Entry]) -> Entry | None:
    """The published model whose files have these sha256. A checkpoint is looked for by its names, which are fixed.

    Of some of its files no sha256 is published: those have the length that they should have.
    """
    if found.is_checkpoint:
        return named
    whole = (e for e in entries if e.format is Format.GGUF and _has_digests(e))
    return next((e for e in whole if [f.digest for f in e.files] == list(digests)), None)


def wrong_files(found: Found, digests: Sequence[str], entry: Entry) -> list[int]:
    """Which files of `found`, by number, have another sha256 than those of their names in `entry`."""
    pins = {_name(file.name): file.digest for file in entry.files}
    wanted = [pins.get(file.name.casefold(), "") for file in found.files]
    return [n for n, (pin, digest) in enumerate(zip(wanted, digests, strict=True)) if pin and pin != digest]


def _has_digests(entry: Entry) -> bool:
    """All of a GGUF's, some of a checkpoint's."""
    return (all if entry.format is Format.GGUF else any)(file.digest for file in entry.files)


def _name(name: str) -> str:
    return name.rpartition("/")[2].casefold()


def is_whole(entry: Entry, models: Path) -> bool:
    """Whether all its files are in our own folder `models`. One of another size is of an older version."""
    return all(is_file_of(target_of(models, file), file.size) for file in entry.remote())


def is_file_of(path: Path, size: int) -> bool:
    """Whether a file of so many bytes is at `path`."""
    try:
        return path.is_file() and path.stat().st_size == size
    except OSError:
        return False


# -- names --


def home_of(entry: Entry, found: Found, models: Path) -> list[Path]:
    """Where the files of `found`, which is that published model, go; those beside a checkpoint stay beside it."""
    places = [target_of(models, file) for file in entry.remote()]
    if not found.is_checkpoint:
        return places
    named = {_name(place.name): place for place in places}
    return [named.get(file.name.casefold(), places[0].with_name(file.name)) for file in found.files]


def free_places(found: Found, folder: Path) -> list[Path]:
    """Names for the files of `found` in `folder` that nothing has; a model in parts gets a folder of its own.

    Parts keep their names, since llama.cpp finds them by those, and so do the files of a checkpoint.
    """
    title = title_of(found.path) if found.is_checkpoint else found.title
    name = found.path.name if found.path.suffix.lower() == ".gguf" else f"{title}.gguf"
    name = "".join("-" if c in _FORBIDDEN or ord(c) < 32 else c for c in name).lstrip(". ") or "model.gguf"
    stem = name[: -len(".gguf")]
    for number in range(1, 10_000):
        shown = stem if number == 1 else f"{stem} ({number})"
        if len(found.files) == 1:
            targets = [folder / f"{shown}.gguf"]
        else:
            targets = [folder / shown / file.name for file in found.files]
        if not any(map(os.path.lexists, targets)) and not (found.is_checkpoint and _is_used(folder / shown)):
            return targets
    raise UserError(N_("{folder} is full of models of that name. Choose another folder."), folder=folder)


def _is_used(folder: Path) -> bool:
    """Whether there is something in it, which would count as a part of a checkpoint there."""
    return folder.exists() and any(folder.iterdir())
