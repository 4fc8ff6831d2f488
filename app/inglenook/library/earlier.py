"""Downloads that were kept before what is on offer changed: of an older version, or of what nobody offers any more.

They would go on unseen, under ids that nothing shows. Those of an older version become downloads of the one that is
offered; others are offered as what they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_, tr
from inglenook.library.catalogue import CatalogueFile, Entry, Format
from inglenook.library.locks import FileLock
from inglenook.library.remote.download import lock_of
from inglenook.library.remote.hub import RemoteFile
from inglenook.library.remote.jobs import Job, JobFolder, target_of
from inglenook.library.remote.part import remove_part

log = logging.getLogger(__name__)


class EarlierDownloads:
    """Of the kept downloads into the folder `models`. `is_here` tells whether a model that is offered is on the disk.

    To be asked before downloads go on.
    """

    def __init__(self, models: Path, is_here: Callable[[Entry], bool]) -> None:
        self._models = models
        self._folder = models / ".downloads"
        self._jobs = JobFolder(self._folder)
        self._is_here = is_here

    def deal_with(self, offered: Mapping[str, Entry]) -> dict[str, Entry]:
        """Replaces those of an older version of what is `offered` (by the ids of its downloads).

        Returns what to show each of the others under, by their ids: what nobody offers, and what another program is
        still fetching or the disk does not let us replace. OSError.
        """
        if not any(self._is_other(job, offered) for job in self._jobs.read()):
            return {}
        shown = {}
        with FileLock(self._folder / "gate"):  # of two programs that begin at once, one does it
            for job in self._jobs.read():
                if not self._is_other(job, offered):
                    continue
                entry = _newer(job, offered.values())
                if entry is None:
                    shown[job.id] = _entry(job)
                elif not self._replace(job, entry):
                    shown[job.id] = entry
        return shown

    def _is_other(self, job: Job, offered: Mapping[str, Entry]) -> bool:
        """Whether it can go on, and nothing that is offered is just that."""
        try:
            for file in job.files:
                target_of(self._models, file)
        except UserError:  # it is never taken up
            return False
        return bool(job.files) and (job.id not in offered or job.files != offered[job.id].remote())

    def _replace(self, job: Job, entry: Entry) -> bool:
        """By one of `entry`, paused if it was, unless there is one already. False where it stays as it is."""
        new = Job(tr(entry.title), entry.remote(), job.paused)
        try:
            with ExitStack() as stack:
                for file in job.files:
                    lock = lock_of(target_of(self._models, file))
                    if not lock.try_acquire():
                        return False
                    stack.callback(lock.release)
                begun = any(kept.files == new.files for kept in self._jobs.read())
                needed = not (begun or self._is_here(entry) or self._is_whole(job))
                if not begun and not self._is_whole(job):
                    self._put_away(job, new.files if needed else ())
                if needed:
                    self._jobs.write(new)
                if not needed or new.id != job.id:
                    self._jobs.remove(job)
        except OSError as error:
            log.warning("the download %s of an older version stays: %s", job.id, error)
            return False
        log.info("the download %s was of an older version of %s", job.id, entry.key)
        return True

    def _is_whole(self, job: Job) -> bool:
        """Whether all of it is there: a model that people may use."""
        return all(target_of(self._models, file).exists() for file in job.files)

    def _put_away(self, job: Job, wanted: tuple[RemoteFile, ...]) -> None:
        """What has arrived, but for files whose very bytes are still `wanted`.

        Complete ones are set aside, as files with wrong bytes are, and go when the new ones are there.
        """
        pins = {(file.name, file.size, file.digest) for file in wanted if file.digest}
        for file in job.files:
            if (file.name, file.size, file.digest) not in pins:
                target = target_of(self._models, file)
                remove_part(target)
                if wanted and target.exists():
                    target.replace(target.with_name(f"{target.name}.wrong"))


def _newer(job: Job, entries: Iterable[Entry]) -> Entry | None:
    """What is offered of the files of `job`; of several the last, which is the catalogue's."""
    names = {(file.repository, file.name) for file in job.files}
    key = _entry(job).key
    found: Entry | None = None
    for entry in entries:
        if entry.key == key or not names.isdisjoint((entry.repository, file.name) for file in entry.files):
            found = entry
    return found


def _entry(job: Job) -> Entry:
    """What nobody offers any more, as an offer: with the key that it has where its address is looked up."""
    first = job.files[0]
    is_gguf = first.name.lower().endswith(".gguf")
    return Entry(
        key=f"{first.repository}/{first.name}" if is_gguf else first.repository,
        title=job.title,
        note=N_("From a repository that you named."),
        repository=first.repository,
        revision=first.revision,
        licence="",
        format=Format.GGUF if is_gguf else Format.SAFETENSORS,
        files=tuple(CatalogueFile(file.name, file.size, file.digest) for file in job.files),
    )
