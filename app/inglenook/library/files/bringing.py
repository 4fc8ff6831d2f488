"""Which model a file, a folder or a stick holds, which published one it is, and what it is to be called here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.catalogue import Entry, Format
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
            N_("{path} is no gpt-oss model. Inglenook copies GGUF files of gpt-oss, and converts checkpoints."),
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
    """The published model whose files have these names and sizes."""
    wanted = [(file.name.casefold(), size) for file, size in zip(files, sizes, strict=True)]
    return next((e for e in _models(entries) if [(_name(f.name), f.size) for f in e.files] == wanted), None)


def by_digest(digests: Sequence[str], entries: Iterable[Entry]) -> Entry | None:
    """The published model whose files have these sha256."""
    return next((e for e in _models(entries) if [f.digest for f in e.files] == list(digests)), None)


def _models(entries: Iterable[Entry]) -> list[Entry]:
    return [e for e in entries if e.format is Format.GGUF and all(f.digest for f in e.files)]


def _name(name: str) -> str:
    return name.rpartition("/")[2].casefold()


# -- names --


def places_of(entry: Entry, models: Path) -> list[Path]:
    """Where the files of a published model go."""
    return [target_of(models, file) for file in entry.remote()]


def free_places(found: Found, folder: Path) -> list[Path]:
    """Names for the files of `found` in `folder` that nothing has; a model in parts gets a folder of its own.

    Parts keep their names, since llama.cpp finds them by those.
    """
    name = found.path.name if found.path.suffix.lower() == ".gguf" else f"{found.title}.gguf"
    name = "".join("-" if c in _FORBIDDEN or ord(c) < 32 else c for c in name).lstrip(". ") or "model.gguf"
    stem = name[: -len(".gguf")]
    for number in range(1, 10_000):
        shown = stem if number == 1 else f"{stem} ({number})"
        if len(found.files) == 1:
            targets = [folder / f"{shown}.gguf"]
        else:
            targets = [folder / shown / file.name for file in found.files]
        if not any(target.exists() for target in targets):
            return targets
    raise UserError(N_("{folder} is full of models of that name. Choose another folder."), folder=folder)
