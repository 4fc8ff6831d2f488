"""Fetches one file: by ranges, from where it stopped, whatever the network and the disk do, and uses no wrong byte.

Our own reader because huggingface_hub does not go on where an earlier run stopped. The rules:

- What arrived is kept (see `part`), and nothing of it is fetched again.
- A lost connection and a busy server are waited for; a server's Retry-After is obeyed.
- An answer that makes no sense gets one more try; wrong bytes are set aside and fetched once more. Then people hear.
- One program fetches a file at a time; another gets `Busy`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.i18n import N_
from inglenook.library.control import Control
from inglenook.library.locks import FileLock
from inglenook.library.progress import Meter, Progress
from inglenook.library.remote.answers import PARTIAL, Odd, RangeRefused, TryLater, check_answer, length
from inglenook.library.remote.hub import Hub, Linked, RemoteFile
from inglenook.library.remote.network import DOWNLOAD, Lost
from inglenook.library.remote.part import PartFile, hash_of, remove_part
from inglenook.library.remote.room import DiskFull, disk_full, is_full

if TYPE_CHECKING:
    import httpx

_SPARE_BYTES = 1 << 20  # of disk, for the logs of what arrived


class Busy(Exception):  # noqa: N818 - a state, not a fault
    """Another program is fetching this file."""


class WrongBytes(UserError):  # noqa: N818 - as people call it
    """The file came twice with other bytes than it should have."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How long to wait between attempts that bring nothing: doubling from `first` to `longest` seconds.

    After `attempts` of them in a row (None: never) the download gives up.
    """

    first: float = 0.5
    longest: float = 60.0
    attempts: int | None = None

    def delay(self, failures: int) -> float:
        """After so many fruitless attempts; somewhat random, so that not all the world comes back at once."""
        return min(self.longest, self.first * 2.0 ** min(failures, 30)) * random.uniform(0.75, 1.25)  # noqa: S311


class Download:
    """Fetches `file` of `hub` to `target`; `report` hears of the progress on the thread that calls `run`."""

    def __init__(
        self,
        hub: Hub,
        file: RemoteFile,
        target: Path,
        control: Control,
        report: Callable[[Progress], None],
        retry: Retry | None = None,
    ) -> None:
        self._hub = hub
        self._file = file
        self._target = target
        self._control = control
        self._meter = Meter(file.size, report)
        self._retry = retry or Retry()
        self._odd = 0  # answers without sense
        self._failures = 0  # fruitless attempts in a row
        self._whole = False  # the server gives no ranges: take all, and skip what is there

    def run(self) -> None:
        """Returns when the file is there and verified. What has arrived stays for the next run whatever is raised.

        Raises `UserError` (`DiskFull`, `NetworkForbidden`, ...), `Stopped`, or `Busy`.
        """
        lock = lock_of(self._target)
        try:
            if not lock.try_acquire():
                raise Busy
            try:
                if not self._is_there():
                    self._fetch_verified()
            finally:
                lock.release()
        except OSError as error:
            raise self._disk_error(error) from error
        self._meter.finished()

    def _is_there(self) -> bool:
        """Whether the target is there and right. It is read once if nothing says that it was verified."""
        try:
            found = self._target.stat()
        except FileNotFoundError:
            return False
        if not is_verified(self._target, self._file.digest):
            if found.st_size != self._file.size or hash_of(self._target, self._file.digest, self._checked) != (
                self._file.digest
            ):
                raise UserError(
                    N_("Another file is at {path}. Move it away or give it another name, then try again."),
                    path=self._target,
                )
            note_verified(self._target, self._file.digest)
        remove_part(self._target)
        return True

    def _fetch_verified(self) -> None:
        with self._hub.network.client(DOWNLOAD, self._control.check) as client:
            for last in (False, True):
                part = PartFile(self._target, self._file.size, self._file.digest)
                try:
                    part.open(self._checked)
                    self._fetch_all(client, part)
                    if part.finish():
                        note_verified(self._target, self._file.digest)
                        remove_part(self._target)
                        return
                    aside = part.set_aside()
                finally:
                    part.close()
                if last:
                    raise WrongBytes(
                        N_(
                            "{name} came twice with wrong bytes; the last copy is in {aside} and is not used. The "
                            "server or something on the way changes the file: choose another mirror or network."
                        ),
                        name=self._file.name,
                        aside=aside,
                    )
                if shutil.disk_usage(aside.parent).free < self._file.size:
                    aside.unlink()
                self._meter.again()

    def _fetch_all(self, client: httpx.Client, part: PartFile) -> None:
        """Attempts until all bytes are there."""
        self._meter.start(part.position)
        while part.position < self._file.size:
            self._check_room(part)
            before, seconds = part.position, 0.0
            reason = UserError(N_("The connection was lost. Trying again.")).info
            try:
                self._attempt(client, part)
            except Lost as lost:
                reason = UserError(N_("No connection ({reason}). Trying again."), reason=lost.reason).info
            except TryLater as later:
                reason = UserError(N_("The server is busy (HTTP {status}). Trying again."), status=later.status).info
                seconds = later.seconds or 0.0
            except Odd as odd:
                self._odd += 1
                self._whole = self._whole or isinstance(odd, RangeRefused)
                if self._odd > 1:
                    raise
                reason = odd.info
            if part.position >= self._file.size:
                return
            if part.position > before:
                self._failures = self._odd = 0
            else:
                self._failures += 1
            self._pause(max(seconds, self._retry.delay(self._failures)), reason)

    def _pause(self, seconds: float, reason: ErrorInfo) -> None:
        self._control.check()
        if self._retry.attempts is not None and self._failures >= self._retry.attempts:
            raise UserError(
                N_("{name} could not be fetched: {reason} What has arrived is kept; try again later."),
                name=self._file.name,
                reason=reason.text(),
            )
        self._meter.waiting(seconds, reason)
        self._hub.network.wait(seconds, self._control)

    def _attempt(self, client: httpx.Client, part: PartFile) -> None:
        """One request, and all that it brings."""
        self._control.check()
        start = 0 if self._whole else part.position
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._hub.open(client, "GET", self._hub.url(self._file), headers) as (response, linked):
            check_answer(response, self._file.name)
            self._check_is_ours(response, linked)
            begin = self._first_byte(response, part.position)
            self._meter.start(part.position)
            self._receive(response, part, begin)

    def _receive(self, response: httpx.Response, part: PartFile, begin: int) -> None:
        """Writes the body, whose first byte is the file's number `begin`, from the part's end on."""
        at = begin
        for chunk in response.iter_raw():
            self._control.check()
            skipped = min(max(part.position - at, 0), len(chunk))
            at += len(chunk)
            if at > self._file.size:
                raise self._wrong_length(response, at)
            if skipped < len(chunk):
                part.write(chunk[skipped:] if skipped else chunk)
                self._meter.at(part.position)

    def _check_is_ours(self, response: httpx.Response, linked: Linked) -> None:
        """`Odd` if the answer announces another file than the one that is wanted."""
        for said in (linked.size, _announced(response)):
            if said not in (-1, self._file.size):
                raise self._wrong_length(response, said)
        if linked.etag and len(linked.etag) == len(self._file.digest) and linked.etag != self._file.digest:
            raise Odd(
                N_("{host} has another version of {name}. Choose another mirror."),
                host=response.url.host,
                name=self._file.name,
            )

    def _first_byte(self, response: httpx.Response, position: int) -> int:
        """The number of the first byte that an answer brings; `Odd` if those before it are not there yet."""
        if response.status_code != PARTIAL:
            return 0
        found = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""), re.ASCII)
        if found is None or int(found[1]) > position:
            raise RangeRefused(
                N_("{host} gives other parts of {name} than asked for. Choose another mirror."),
                host=response.url.host,
                name=self._file.name,
            )
        return int(found[1])

    def _wrong_length(self, response: httpx.Response, length: int) -> Odd:
        return Odd(
            N_("{host} has a file {name} of {length} bytes instead of {size}. Choose another mirror."),
            host=response.url.host,
            name=self._file.name,
            length=length,
            size=self._file.size,
        )

    def _checked(self, position: int) -> None:
        self._control.check()
        self._meter.checking(position)

    def _check_room(self, part: PartFile) -> None:
        missing = self._file.size - part.position + _SPARE_BYTES - shutil.disk_usage(self._target.parent).free
        if missing > 0:
            raise DiskFull(self._target.parent, missing)

    def _disk_error(self, error: OSError) -> UserError:
        folder = self._target.parent
        if is_full(error):
            part = self._target.with_name(self._target.name + ".part")
            here, free = 0, 0
            with contextlib.suppress(OSError):
                here = part.stat().st_size
            with contextlib.suppress(OSError):
                free = shutil.disk_usage(folder).free
            return disk_full(error, folder, max(self._file.size - here, 0) + _SPARE_BYTES, free)
        if error.errno == errno.EFBIG:
            return UserError(
                N_("The disk of {folder} takes no file as large as {name} ({size} GB). Choose another disk."),
                folder=folder,
                name=self._target.name,
                size=f"{self._file.size / 1e9:.1f}",
            )
        return UserError(
            N_("{name} could not be written to {folder}: {reason}. Check that the disk is there and not read-only."),
            name=self._target.name,
            folder=folder,
            reason=error.strerror or error,
        )


def _announced(response: httpx.Response) -> int:
    """The length of the whole file by the headers of an answer; -1 if they do not say it."""
    if response.status_code == PARTIAL:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = response.headers.get("Content-Length", "")
    return length(total)


def lock_of(target: Path) -> FileLock:
    """Who holds it fetches `target`."""
    return FileLock(target.with_name(f".{target.name}.lock"))


def note_verified(file: Path, digest: str) -> None:
    """Notes beside `file` that its bytes were compared with `digest`."""
    found = file.stat()
    note = {"size": found.st_size, "time": found.st_mtime_ns, "digest": digest}
    temporary = file.with_name(f".{file.name}.verified.tmp")
    temporary.write_text(json.dumps(note), "utf-8")
    temporary.replace(file.with_name(f".{file.name}.verified"))


def is_verified(file: Path, digest: str) -> bool:
    """Whether `file` was compared with `digest` and has not been changed since, by its size and time."""
    try:
        note = json.loads(file.with_name(f".{file.name}.verified").read_text("utf-8"))
        found = file.stat()
    except (OSError, ValueError):
        return False
    return bool(note == {"size": found.st_size, "time": found.st_mtime_ns, "digest": digest})
