"""Copying a model into our own folder, and moving one elsewhere: a job on a thread, one at a time in this program.

A copy is hashed as it is written; that says whether it is the published file. A copy to another drive whose original
is to go is also read back from there first. On one drive a move only renames. A model may be moved while an engine has
it open: where the system allows that, what is open stays readable; where it does not (Windows), a rename is refused,
and after a copy the original goes with the next start.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.i18n import N_, tr
from inglenook.library.catalogue import Entry
from inglenook.library.control import Control
from inglenook.library.files import bringing
from inglenook.library.files.checkpoints import CONFIG, check_copied
from inglenook.library.files.copying import check_room, copy, hash_again, write_failed
from inglenook.library.files.found import Found
from inglenook.library.files.journal import Journal, Note, new_id
from inglenook.library.files.moved import Kept, Moved
from inglenook.library.job import OneJob
from inglenook.library.progress import Meter, Progress
from inglenook.library.remote.download import note_verified
from inglenook.library.remote.part import remove_part


class What(StrEnum):
    """The kind of job."""

    IMPORT = "import"
    MOVE = "move"


class Stage(StrEnum):
    """Where it stands."""

    LOOKING = "looking"  # what it is, and whether there is room
    COPYING = "copying"
    CHECKING = "checking"  # reading back what was written
    FINISHED = "finished"  # `path` is the first file
    FAILED = "failed"  # `error` says why


_RACES = 100
"""Names that other programs may take before ours; more would be no chance."""

RUNNING = (Stage.LOOKING, Stage.COPYING, Stage.CHECKING)


@dataclass(frozen=True, slots=True)
class TransferStatus:
    """One job: bytes `done` of `total` never become fewer; `total` counts what is read back too.

    `published` is the name of the published file that the copy is, "" for one that nobody knows; `entry` the key of
    that model. `waits`: the original is in use, and goes with the next start.
    """

    what: What
    stage: Stage
    source: Path
    title: str
    done: int = 0
    total: int = 0
    rate: float = 0.0
    seconds_left: float | None = None
    path: Path | None = None
    published: str = ""
    entry: str = ""
    waits: bool = False
    error: ErrorInfo | None = None

    @property
    def is_checkpoint(self) -> bool:
        """Whether what is at `path` is to be converted; it does not run."""
        return self.path is not None and self.path.name == CONFIG

    @property
    def place(self) -> Path | None:
        """As `Found.place`."""
        return self.path.parent if self.path is not None and self.is_checkpoint else self.path

    def text(self) -> str:
        """What came of it."""
        if self.error is not None:
            return self.error.text()
        if self.what is What.MOVE:
            text = N_("{title} is now in {folder}.")
            if self.waits:
                text = N_("{title} is now in {folder}. The original is in use; the next start of Inglenook removes it.")
            return tr(text, title=self.title, folder=self.path.parent if self.path else "")
        if self.published:
            text = N_("{title} is here. It is exactly the published file {name}.")
            if self.is_checkpoint:
                text = N_("{title} is here, to be converted. Exactly as they were published: {name}.")
            return tr(text, **self._names())
        text = N_("{title} is here. It is not a file that Inglenook knows: its header is right, the rest unproven.")
        if self.is_checkpoint:
            text = N_("{title} is here, to be converted. Inglenook does not know it: its headers are right.")
        return tr(text, **self._names())

    def _names(self) -> dict[str, str]:
        return {"title": self.title, "name": self.published}


class Transfers(OneJob[TransferStatus]):
    """`entries` are the published models. `recover` takes time."""

    def __init__(
        self,
        models: Path,
        moved: Moved,
        entries: Callable[[], Sequence[Entry]],
        tell: Callable[[TransferStatus | None], None],
    ) -> None:
        super().__init__(tell, patience=60)
        self._models = models
        self._entries = entries
        self._moved = moved
        self._journal = Journal(models / ".transfers", self._note_move)

    def start_import(self, source: Path, title: str = "") -> None:
        """Copies the model in that file or folder. Raises `UserError` while another one is on its way.

        `title` is for a file whose name says nothing.
        """
        status = TransferStatus(What.IMPORT, Stage.LOOKING, source, title or source.name)
        self._start(status, lambda status, control: self._import(status, control, title))

    def start_move(self, model: Found, folder: Path) -> None:
        """Moves a model of ours, or one that the user chose. Raises `UserError` while another one is on its way."""
        status = TransferStatus(What.MOVE, Stage.LOOKING, model.path, model.title)
        self._start(status, lambda status, control: self._move(status, control, model, folder))

    def recover(self) -> None:
        """Deals with what a kill has left. OSError."""
        self._journal.recover()

    # -- the thread --

    def _busy(self) -> UserError:
        return UserError(N_("One model is being copied or moved. Wait for its end, or cancel it."))

    def _trouble(self, error: OSError) -> UserError:
        return write_failed(error, self._models, 0)

    def _failed(self, first: TransferStatus, error: UserError) -> TransferStatus:
        return replace(first, stage=Stage.FAILED, error=error.info)

    def _note_move(self, note: Note) -> None:
        self._moved.note(Path(note.old), Kept(note.title, note.targets, note.size))

    # -- import --

    def _import(self, status: TransferStatus, control: Control, title: str) -> TransferStatus:
        found = bringing.model_at(status.source.absolute())
        found = replace(found, title=title or found.title)
        if found.path.is_relative_to(self._models):
            raise UserError(N_("{title} is in Inglenook's own folder already."), title=found.title)
        sizes = _sizes(found.files)
        named = bringing.by_name(found.files, sizes, self._entries())
        if named is not None and bringing.is_whole(named, self._models):
            raise UserError(N_("{title} is here already: {name}."), title=tr(named.title), name=named.files[0].name)
        note = self._note(found.title, found.files, sizes, self._models / ".transfers", "")
        Path(note.temporary[0]).parent.mkdir(parents=True, exist_ok=True)
        check_room(self._models, note.size)
        self._journal.begin(note)
        try:
            work = _Work(replace(status, title=found.title, total=note.size), self._tell)
            digests = self._copy(note, found.files, control, work)
            if named is not None and (wrong := bringing.wrong_files(found, digests, named)):
                raise self._set_aside(note, found, wrong, named)
            entry = bringing.proven(found, digests, named, self._entries())
            _check_headers(note.temporary, found)
            control.check()
            places = bringing.home_of(entry, found, self._models) if entry is not None else []
            if not places or any(place.exists() for place in places):
                places = bringing.free_places(found, self._models / bringing.IMPORTED)
            imported = self._models / bringing.IMPORTED
            note, _ = self._place(note, places, lambda: bringing.free_places(found, imported))
            places = list(map(Path, note.targets))
        finally:
            self._journal.give_up(note)
        return self._imported(work.status, places, digests, entry)

    def _imported(
        self, status: TransferStatus, places: list[Path], digests: list[str], entry: Entry | None
    ) -> TransferStatus:
        with suppress(OSError):  # then a chat that remembers what was here once finds that
            self._moved.arrived(places[0])
        if entry is not None:
            for place, digest in zip(places, digests, strict=True):
                with suppress(OSError):  # then it is read once more when somebody asks
                    note_verified(place, digest)
                    remove_part(place)
            title, names = tr(entry.title), ", ".join(file.name for file in entry.files if file.digest)
            status = replace(status, title=title, published=names, entry=entry.key)
        return replace(status, stage=Stage.FINISHED, path=places[0], done=status.total)

    def _set_aside(self, note: Note, found: Found, wrong: Sequence[int], entry: Entry) -> UserError:
        """Keeps the files whose bytes are wrong out of the way; the error that says so."""
        places, asides = bringing.home_of(entry, found, self._models), []
        for number in wrong:
            place = places[number]
            place.parent.mkdir(parents=True, exist_ok=True)
            asides.append(place.with_name(f"{place.name}.wrong"))
            Path(note.temporary[number]).replace(asides[-1])
        text = N_(
            "{name} is damaged or was changed: it has the name and size of the published file, but other bytes. It is "
            "not used; the copy was set aside as {aside}. Copy it anew from where it came from, or get it here."
        )
        return UserError(text, name=found.files[wrong[0]].name, aside=", ".join(map(str, asides)))

    # -- move --

    def _move(self, status: TransferStatus, control: Control, model: Found, folder: Path) -> TransferStatus:
        folder, model = folder.absolute(), _whole(model)
        if not folder.is_dir():
            text = N_("There is no folder {folder}. If it is on a drive, connect that; or choose another folder.")
            raise UserError(text, folder=folder)
        places = self._places(model, folder)
        sizes = _sizes(model.files)
        into = places[0].parent if len(places) == 1 else folder
        rename = model.files[0].stat().st_dev == folder.stat().st_dev
        temporary = into if into.is_dir() else folder
        note = self._note(model.title, model.files, sizes, temporary, str(model.path))
        work = _Work(replace(status, total=note.size if rename else 2 * note.size), self._tell)

        def free() -> list[Path]:
            return bringing.free_places(model, folder / bringing.IMPORTED if folder == self._models else folder)

        moved, waits = (self._rename(note, places, free) if rename else None), False
        if moved is None:
            check_room(folder, note.size)
            self._journal.begin(note)
            try:
                digests = self._copy(note, model.files, control, work)
                self._read_back(note, digests, control, work)
                control.check()
                moved, is_done = self._place_moved(note, places, free)
                waits = not is_done
            finally:
                self._journal.give_up(note)
        path = Path(moved.targets[0])
        return replace(work.status, stage=Stage.FINISHED, path=path, done=work.status.total, waits=waits)

    def _places(self, model: Found, folder: Path) -> list[Path]:
        """Where its files go in `folder`; in our own folder, where they would be if they had been fetched."""
        if folder == self._models:
            entry = bringing.by_name(model.files, _sizes(model.files), self._entries())
            places = bringing.home_of(entry, model, self._models) if entry is not None else []
            if places and not any(place.exists() for place in places):
                return places
            folder = folder / bringing.IMPORTED
        if model.place.parent == folder:
            raise UserError(N_("{title} is in that folder already."), title=model.title)
        return bringing.free_places(model, folder)

    def _rename(self, note: Note, places: list[Path], free: Callable[[], list[Path]]) -> Note | None:
        """On one drive. None where the system says that it is none."""
        note = replace(note, temporary=note.originals, targets=tuple(map(str, places)), placing=True)
        self._journal.begin(note)
        try:
            return self._place_moved(note, places, free)[0]
        except UserError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno == errno.EXDEV:
                return None
            raise
        finally:
            self._journal.give_up(replace(note, placing=False))

    def _place_moved(self, note: Note, places: list[Path], free: Callable[[], list[Path]]) -> tuple[Note, bool]:
        try:
            return self._place(note, places, free)
        except PermissionError as error:
            text = N_(
                "{title} cannot be moved: a program has it open, or the folder is not yours to change. Choose another "
                "model, close Inglenook's other windows, and try again."
            )
            raise UserError(text, title=note.title) from error
        except OSError as error:
            raise write_failed(error, places[0].parent, note.size) from error

    def _place(self, note: Note, places: list[Path], free: Callable[[], list[Path]]) -> tuple[Note, bool]:
        """Gives the files of `note` the names `places`; or `free` ones, where another program has just taken those.

        Returns the note with the names, and whether the originals are gone. OSError.
        """
        for _ in range(_RACES):
            with suppress(FileExistsError):
                note = replace(note, targets=tuple(map(str, places)))
                return note, self._journal.place(note)
            places = free()
        note = replace(note, targets=tuple(map(str, places)))
        return note, self._journal.place(note)

    def _read_back(self, note: Note, digests: Sequence[str], control: Control, work: _Work) -> None:
        work.stage(Stage.CHECKING)
        for file, digest in zip(map(Path, note.temporary), digests, strict=True):
            try:
                found = hash_again(file, control, work.at)
            except OSError as error:
                raise write_failed(error, file.parent, note.size) from error
            if found != digest:
                text = N_(
                    "{folder} gives back other bytes than were written: its drive may be failing. The original is as "
                    "it was. Choose another drive."
                )
                raise UserError(text, folder=file.parent)
            work.next_file()

    # -- both --

    def _copy(self, note: Note, files: Sequence[Path], control: Control, work: _Work) -> list[str]:
        work.stage(Stage.COPYING)
        digests = []
        for file, size, temporary in zip(files, note.sizes, map(Path, note.temporary), strict=True):
            digests.append(copy(file, size, temporary, control, work.at))
            work.next_file()
        return digests

    def _note(self, title: str, files: Sequence[Path], sizes: Sequence[int], folder: Path, old: str) -> Note:
        id_ = new_id()
        temporary = tuple(str(folder / f".{id_}-{number}.part") for number in range(len(files)))
        originals = tuple(map(str, files)) if old else ()
        return Note(id_, title, sum(sizes), temporary, temporary, tuple(sizes), originals, old)


class _Work:
    """Turns positions in one file after the other into statuses."""

    def __init__(self, first: TransferStatus, tell: Callable[[TransferStatus], None]) -> None:
        self.status = first
        self._tell = tell
        self._meter = Meter(first.total, self._report)
        self._before = 0
        self._here = 0

    def stage(self, stage: Stage) -> None:
        """Another kind of work, with a rate of its own."""
        self.status = replace(self.status, stage=stage)
        self._meter.start(self._before)

    def at(self, position: int) -> None:
        """So much of this file."""
        self._here = position
        self._meter.at(self._before + position)

    def next_file(self) -> None:
        """The one before is complete."""
        self._before, self._here = self._before + self._here, 0

    def _report(self, progress: Progress) -> None:
        self.status = replace(self.status, done=progress.done, rate=progress.rate, seconds_left=progress.seconds_left)
        self._tell(self.status)


def _whole(model: Found) -> Found:
    """As it is now, with all its files."""
    _sizes([model.path])
    found = bringing.model_at(model.path)
    if any(file.is_symlink() for file in found.files):
        raise UserError(N_("{title} is a link to a file elsewhere. Move that."), title=model.title)
    return replace(found, title=model.title, owner=model.owner)


def _sizes(files: Sequence[Path]) -> list[int]:
    try:
        return [file.stat().st_size for file in files]
    except OSError as error:
        text = N_("{file} is not there ({reason}). If it is on a drive, connect that and try again.")
        raise UserError(text, file=error.filename, reason=error.strerror or error) from error


def _check_headers(copied: Sequence[str], found: Found) -> None:
    """What was looked at before may have changed since: what counts is what was copied."""
    from inglenook_convert.headers import HeaderError, check_gguf

    right = True
    try:
        if found.is_checkpoint:
            check_copied([Path(name) for name in copied], [file.name for file in found.files])
        else:
            right = check_gguf(Path(copied[0])).architecture == "gpt-oss"
    except HeaderError as error:
        raise UserError("{reason}", reason=error) from None
    if not right:
        text = N_("{file} changed while it was copied. Wait until nothing writes to it, and try again.")
        raise UserError(text, file=found.path)
