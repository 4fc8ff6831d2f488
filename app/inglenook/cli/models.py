"""`inglenook models`: what is here, what there is to get, and getting, choosing, checking and removing it.

The parts are those of the window (`library.shelf`): downloads go on where the other left off, and pass the same gate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inglenook.cli.getting import Events, get
from inglenook.cli.services import Services
from inglenook.cli.terminal import BadInputError, StatusLine, harmless, one_line, write
from inglenook.core.errors import UserError
from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_, tr
from inglenook.core.inference import DEMO
from inglenook.core.settings import MODEL_FILE
from inglenook.library.catalogue import BY_ADDRESS, Entry
from inglenook.library.files.found import Found
from inglenook.library.files.usage import disk_use
from inglenook.library.shelf_events import OWN, Offer, Removed, ShelfStatus

if TYPE_CHECKING:
    from inglenook.library.shelf import Shelf


@dataclass(frozen=True, slots=True)
class _Model:
    """A model that is here. `name` is what people type; `entry` what the catalogue says of its files, if it does."""

    name: str
    found: Found
    entry: Entry | None = None
    in_use: bool = False


def run(services: Services, arguments: argparse.Namespace) -> int:
    """Does what `arguments.what` says; returns the exit code."""
    what, name = arguments.what, getattr(arguments, "name", "")
    if what == "catalogue":
        return _catalogue(services.shelf, as_json=arguments.json)
    if what == "use":
        return _use(services, name)
    if what == "verify":
        return _verify(services.shelf, name)
    if what == "get":
        return get(services, name)
    if what == "remove":
        return _remove(services.shelf, name)
    if what == "token":
        from inglenook.cli import token

        return token.run(services, arguments)
    if what in ("import", "move", "restore", "empty-bin"):
        from inglenook.cli import moving  # it needs this file

        return moving.run(services, arguments)
    return _list(services.shelf, as_json=arguments.json)


# -- what there is --


def _list(shelf: Shelf, *, as_json: bool) -> int:
    status = looked(shelf)
    models = _models(status)
    if as_json:
        report = {
            "models": [_as_json(model) for model in models],
            "folder": str(status.folder),
            "free_bytes": status.free if status.free >= 0 else None,
            "bytes": sum(model.found.size for model in models),
            "folder_bytes": status.usage.own,
            "bin_bytes": status.usage.binned,
            "unfinished_bytes": status.usage.unfinished,
        }
        write(sys.stdout, json.dumps(report, indent=2) + "\n")
        return 0
    width = max(len(one_line(model.name)) for model in models)
    lines = []
    for model in models:
        found, mark = model.found, "*" if model.in_use else " "
        size = gigabytes(found.size) if found.size else ""
        where = (
            harmless(str(found.place)).replace("\n", "\u240a") if model.name != DEMO else tr(N_("part of the program"))
        )
        lines.append(f"{mark} {one_line(model.name):{width}}  {size:>9}  {found.owner or '-':12}  {where}")
        if found.problem is not None:
            lines.append(f"  {'':{width}}  {'':>9}  {one_line(found.problem.text())}")
    lines.append(one_line(disk_use(status)))
    write(sys.stdout, harmless("\n".join(lines)) + "\n")
    return 0


def _catalogue(shelf: Shelf, *, as_json: bool) -> int:
    line = StatusLine(sys.stderr)
    line.show(tr(N_("Looking at this computer…")))
    with Events(shelf) as events:
        shelf.refresh()
        try:
            for event in events:
                if isinstance(event, ShelfStatus) and not event.looking:
                    break
        finally:
            line.clear()
    offers = shelf.status().offers
    if as_json:
        known = [
            {"repository": one.repository, "about_bytes": round(one.published_like.size, -9), "licence": one.licence}
            for one in BY_ADDRESS
        ]
        report = {
            "models": [_offer_as_json(offer) for offer in offers],
            "by_address": known,
            "source": shelf.status().source,
        }
        write(sys.stdout, json.dumps(report, indent=2) + "\n")
        return 0
    width = max(len(offer.entry.key) for offer in offers)
    lines = []
    for offer in offers:
        entry = offer.entry
        here = tr(N_("here")) if offer.path is not None else ""
        lines.append(f"{entry.key:{width}}  {gigabytes(entry.size):>9}  {entry.licence:12}  {here}".rstrip())
        note = tr(entry.note) + (" " + tr(N_("Recommended.")) if entry.recommended else "")
        lines += [f"{'':{width}}  {note}", f"{'':{width}}  {_fit(offer)}"]
    for one in BY_ADDRESS:
        about = tr(N_("about {size} GB"), size=round(one.published_like.size / 1e9))
        lines.append(f"{one.repository}  {about}  {one.licence}")
        again = tr(N_("Memory about as for {title}, when it is converted."), title=tr(one.like.title))
        lines.append(f"{'':{width}}  {tr(one.note)} {again}")
    write(sys.stdout, harmless("\n".join(lines)) + "\n")
    return 0


def _fit(offer: Offer) -> str:
    """Whether it fits the memory of this computer, and why not."""
    return offer.fit.text() or tr(N_("unknown"))


def _as_json(model: _Model) -> dict[str, Any]:
    found = model.found
    return {
        "name": model.name,
        "title": found.title,
        "owner": found.owner or None,
        "path": str(found.place) if model.name != DEMO else None,
        "checkpoint": found.is_checkpoint,
        "files": [str(file) for file in found.files],
        "bytes": found.size or None,
        "in_use": model.in_use,
        "problem": found.problem.text() if found.problem is not None else None,
    }


def _offer_as_json(offer: Offer) -> dict[str, Any]:
    entry, plan = offer.entry, offer.fit.plan
    return {
        "name": entry.key,
        "title": tr(entry.title),
        "repository": entry.repository,
        "revision": entry.revision,
        "licence": entry.licence,
        "format": entry.format.value,
        "bytes": entry.size,
        "files": [{"name": f.name, "bytes": f.size, "sha256": f.digest or None} for f in entry.files],
        "recommended": entry.recommended,
        "path": str(offer.path) if offer.path is not None else None,
        "fits": None if plan is None and offer.fit.refusal is None else plan is not None,
        "memory_bytes": plan.total if plan is not None else None,
        "context": plan.choice.n_ctx if plan is not None else None,
        "fit": _fit(offer),
    }


def looked(shelf: Shelf) -> ShelfStatus:
    """What is here, after looking."""
    try:
        return shelf.look_now()
    except OSError as error:
        folder, reason = shelf.status().folder, error.strerror or error
        text = N_("The folder {folder} cannot be used: {reason}. Check its disk and permissions.")
        raise UserError(text, folder=folder, reason=reason) from error


def _models(status: ShelfStatus) -> list[_Model]:
    """What is here, the demo model first."""
    known = {offer.path: offer.entry for offer in status.offers if offer.path is not None}
    models = [_Model(DEMO, Found(Path(), OWN, tr(N_("Demo model"))), in_use=not status.chosen)]
    for found in (*status.checkpoints, *status.here):
        here = known.get(found.place)
        in_use = bool(status.chosen) and Path(status.chosen) == found.path
        models.append(_Model(here.key if here is not None else found.title, found, here, in_use))
    return models


def _find(status: ShelfStatus, name: str) -> _Model | None:
    """The model that is called `name`, or whose file that is; None if it is not here."""
    models = _models(status)
    matching = [model for model in models if model.name.casefold() == name.casefold()]
    if len(matching) > 1:
        text = N_("{count} models here are called {name}. Name the file: {files}")
        files = ", ".join(str(model.found.place) for model in matching)
        raise BadInputError(text, count=len(matching), name=name, files=files)
    path = Path(name).absolute()
    of_path = [model for model in models if model.name != DEMO and path in (model.found.path, model.found.place)]
    return next(iter(matching or of_path), None)


def named(status: ShelfStatus, name: str) -> _Model:
    """As `_find`; an error where there is none."""
    model = _find(status, name)
    if model is not None:
        return model
    if any(offer.entry.key == name.lower() for offer in status.offers):
        raise UserError(N_("{name} is not here yet. Type: inglenook models get {name}"), name=name.lower())
    raise BadInputError(N_("No model here is called {name}. `inglenook models` lists them."), name=name)


# -- what is done --


def _use(services: Services, name: str) -> int:
    status = looked(services.shelf)
    model = _find(status, name)
    if model is None and not any(offer.entry.key == name.lower() for offer in status.offers):
        model = _from_file(Path(name))
    model = model or named(status, name)
    if model.found.problem is not None:
        raise BadInputError.of(model.found.problem)
    if model.found.is_checkpoint:
        text = N_("{name} is a checkpoint. Make a GGUF file of it first: inglenook-convert {folder} -o FILE")
        raise UserError(text, name=model.name, folder=model.found.place)
    services.settings.set(MODEL_FILE, "" if model.name == DEMO else str(model.found.path.absolute()))
    try:
        services.settings.flush()
    except OSError as error:
        text = N_("The settings could not be written: {reason}. Check the disk of {folder} and its permissions.")
        folder = services.paths.settings.parent
        raise UserError(text, reason=error.strerror or error, folder=folder) from error
    notice = tr(N_("{title} is used from now on; a chat that is open goes on with its own."), title=model.found.title)
    print(one_line(notice), file=sys.stderr)
    return 0


def _from_file(file: Path) -> _Model:
    """The model in a file that nobody has listed. `BadInputError` if it is none."""
    from inglenook.cli.main import check_model_file
    from inglenook_convert.headers import HeaderError, check_gguf

    check_model_file(file)
    try:
        architecture = check_gguf(file).architecture
    except HeaderError as error:
        raise BadInputError("{reason}", reason=error) from None
    if architecture != "gpt-oss":
        raise BadInputError(
            N_("{file} is a model of another kind ({kind}). Inglenook runs gpt-oss models only."),
            file=file,
            kind=architecture,
        )
    return _Model(str(file), Found(file.absolute(), "", file.stem))


def _verify(shelf: Shelf, name: str) -> int:
    status = looked(shelf)
    model = named(status, name)
    pinned = list(_pins(status, model))
    if not any(digest for _, digest in pinned):
        text = N_("No sha256 is known for {title}: it is not a file of the catalogue.")
        raise UserError(text, title=model.found.title)
    wrong: list[str] = []
    for file, digest in pinned:
        if not digest:
            print(tr(N_("{file}: no sha256 is known for it; not checked."), file=one_line(file.name)), file=sys.stderr)
        elif (found := _sha256(file, digest)) == digest:
            write(sys.stdout, f"{found}  {harmless(str(file))}\n")
        else:
            wrong.append(tr(N_("{file} (sha256 {found} instead of {wanted})"), file=file, found=found, wanted=digest))
    if wrong:
        text = N_("Not what was published: {files}. Remove the model and get it again.")
        raise UserError(text, files=", ".join(wrong))
    return 0


def _pins(status: ShelfStatus, model: _Model) -> Iterator[tuple[Path, str]]:
    """The files of `model`, each with its sha256 in the catalogue or "".

    Files of other programs are those of the catalogue whose name and size they have.
    """
    pins = {
        (Path(f.name).name, f.size): f.digest
        for offer in status.offers
        if model.entry in (None, offer.entry)
        for f in offer.entry.files
    }
    by_name = {name: digest for (name, _), digest in pins.items()} if model.entry is not None else {}
    for file in model.found.files:
        try:
            size = file.stat().st_size
        except OSError as error:
            raise _unreadable(file, error) from error
        yield file, pins.get((file.name, size), by_name.get(file.name, ""))


def _sha256(file: Path, digest: str) -> str:
    """Of the whole file, with progress."""
    from inglenook.library.remote.part import hash_of

    line = StatusLine(sys.stderr)

    def checked(done: int) -> None:
        line.show(tr(N_("Reading {file}: {done} of {total}"), file=file.name, done=gigabytes(done), total=total))

    try:
        total = gigabytes(file.stat().st_size)
        return hash_of(file, digest, checked)
    except OSError as error:
        raise _unreadable(file, error) from error
    finally:
        line.clear()


def _unreadable(file: Path, error: OSError) -> UserError:
    return UserError(N_("{file} cannot be read ({reason})."), file=file, reason=error.strerror or error)


def _remove(shelf: Shelf, name: str) -> int:
    model = named(looked(shelf), name)
    if model.name == DEMO:
        raise UserError(N_("The demo model is a part of the program and stays."))
    if model.found.owner != OWN:  # the window says the same of a file that the user chose somewhere
        text = N_("{title} belongs to another program. Delete it there, and it is gone here too.")
        raise UserError(text, title=model.found.title)
    with Events(shelf) as events:
        shelf.delete(model.found, keep=True)
        for event in events:
            if isinstance(event, Removed):
                break
    if not model.found.files:
        print(one_line(tr(N_("{title} is no longer listed."), title=model.found.title)), file=sys.stderr)
        return 0
    text = N_(
        "{title} is in the bin for a day, and takes its {size} there. Bring it back: inglenook models restore. "
        "Make room now: inglenook models empty-bin"
    )
    print(one_line(tr(text, title=model.found.title, size=gigabytes(model.found.size))), file=sys.stderr)
    return 0
