"""Downloads that outlive the program: what is to be fetched, and where it goes, as a small file for each.

The file is read by the next start of the program, which goes on by itself; a paused one has another name, so that a
pause needs no room on a disk that is full.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.remote.hub import RemoteFile
from inglenook.library.written import remove_left, write_json

log = logging.getLogger(__name__)

_FORBIDDEN = frozenset('<>:"|?*\\')
_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", *(f"COM{i}" for i in range(1, 10)), *(f"LPT{i}" for i in range(1, 10))]
)


@dataclass(frozen=True, slots=True)
class Job:
    """Files to fetch together, of one repository. `title` is for people; `id` follows from the files."""

    title: str
    files: tuple[RemoteFile, ...]
    paused: bool = False

    @property
    def id(self) -> str:
        """The same for the same files, so that asking twice is one download."""
        names = [f"{f.repository}@{f.revision}/{f.name}" for f in self.files]
        return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def target_of(models: Path, file: RemoteFile) -> Path:
    """Where `file` goes: models/OWNER/NAME/FILE. `UserError` for a name that would lead elsewhere, on any system."""
    path = PurePosixPath(file.repository) / PurePosixPath(file.name)
    for part in (*file.repository.split("/"), *file.name.split("/")):
        stem = part.partition(".")[0].upper()
        if (
            not part
            or part[0] == "."
            or part[-1] in ". "
            or stem in _DEVICES
            or any(c in _FORBIDDEN or ord(c) < 32 for c in part)
        ):
            raise UserError(N_("The name {name} is not safe as that of a file; it is not fetched."), name=str(path))
    return models.joinpath(*path.parts)


class JobFolder:
    """The jobs that are not finished, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> list[Job]:
        """All of them. A file that is damaged is left out, and in the log."""
        jobs = []
        remove_left(self._folder)
        for file in sorted(self._folder.glob("*.json")):
            try:
                found = json.loads(file.read_text("utf-8"))
                files = tuple(map(_remote, found["files"]))
                jobs.append(Job(str(found["title"]), files, file.name.endswith(".paused.json")))
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                log.warning("the download %s cannot be read: %s", file, error)
        return jobs

    def write(self, job: Job) -> None:
        """Keeps `job`. OSError if that fails."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._file(job), {"title": job.title, "files": [asdict(f) for f in job.files]})
        self._file(replace(job, paused=not job.paused)).unlink(missing_ok=True)

    def set_paused(self, job: Job, paused: bool) -> Job:
        """Keeps whether `job` is paused, and returns it so."""
        changed = replace(job, paused=paused)
        if changed != job:
            try:
                self._file(job).replace(self._file(changed))
            except OSError as error:  # a drive that is gone, say: it holds for this run of the program
                if self._file(changed).exists():  # another program was faster
                    return changed
                log.warning("the download %s cannot be changed: %s", self._file(job), error)
        return changed

    def is_paused(self, job: Job) -> bool:
        """Whether `job` is kept as paused, by this program or another. False too where the disk does not say."""
        try:
            return (
                self._file(replace(job, paused=True)).exists() and not self._file(replace(job, paused=False)).exists()
            )
        except OSError:
            return False

    def is_gone(self, job: Job) -> bool:
        """Whether `job` is kept no more: it has come to its end, or another program has cancelled it."""
        kept = (self._file(replace(job, paused=paused)).exists() for paused in (False, True))
        return self._folder.is_dir() and not any(kept)  # not the drive alone

    def remove(self, job: Job) -> None:
        """Forgets `job`."""
        for paused in (False, True):
            self._file(replace(job, paused=paused)).unlink(missing_ok=True)

    def _file(self, job: Job) -> Path:
        return self._folder / f"{job.id}{'.paused' if job.paused else ''}.json"


def _remote(found: dict[str, Any]) -> RemoteFile:
    file = RemoteFile(**found)
    texts = (file.repository, file.revision, file.name, file.digest)
    if type(file.size) is not int or not all(isinstance(text, str) for text in texts):
        raise TypeError("a file that is none")
    return file
