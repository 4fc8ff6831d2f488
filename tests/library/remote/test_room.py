"""A quota that is used up: a disk that is full for one user, whatever its numbers say."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.library.fetching import SOON, Client
from tests.library.hub import LoopbackHub

from inglenook.core.errors import UserError
from inglenook.library.remote import downloads as module
from inglenook.library.remote.downloads import Downloads, DownloadStatus, State
from inglenook.library.remote.hub import RemoteFile
from inglenook.library.remote.jobs import Job, JobFolder
from inglenook.library.remote.network import DOWNLOAD
from inglenook.library.remote.room import DiskFull, disk_full, is_full, takes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="knows files by /proc")


class Quota:
    """Refuses writes of files whose names end so, once `room` bytes are written. The disk has room by its numbers."""

    def __init__(self, room: int, number: int = errno.EDQUOT, names: tuple[str, ...] = (".part", ".room")) -> None:
        self.room = room
        self.refused = 0
        self.more = threading.Condition()
        self._number = number
        self._names = names
        self._write = os.write

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if not str(Path(f"/proc/self/fd/{descriptor}").readlink()).endswith(self._names):
            return self._write(descriptor, data)
        with self.more:
            if not self.room:
                self.refused += 1
                self.more.notify_all()
                raise OSError(self._number, os.strerror(self._number))
            count = self._write(descriptor, data[: self.room])
            self.room -= count
            return count


@pytest.fixture
def downloads(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Downloads]:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
    made = Downloads(client.folder / "models", lambda: client.hub, SOON)
    yield made
    made.close()


class Heard:
    """What a listener hears, to wait for."""

    def __init__(self, downloads: Downloads) -> None:
        self.all: list[DownloadStatus] = []
        self._more = threading.Condition()
        downloads.subscribe(self._take)

    def _take(self, status: DownloadStatus) -> None:
        with self._more:
            self.all.append(status)
            self._more.notify_all()

    def state(self, state: State) -> DownloadStatus:
        with self._more:
            assert self._more.wait_for(lambda: any(s.state is state for s in self.all), 60), self.all
            return next(s for s in self.all if s.state is state)


@pytest.mark.parametrize(("number", "words"), [(errno.EDQUOT, "quota"), (errno.ENOSPC, "disk is full")])
def test_while_a_write_is_refused_the_server_is_not_asked(
    downloads: Downloads,
    hub: LoopbackHub,
    file: RemoteFile,
    number: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quota = Quota(1_000_123, number)
    monkeypatch.setattr(os, "write", quota.write)
    heard = Heard(downloads)
    downloads.add("A model", (file,))
    reason = heard.state(State.NO_ROOM).reason
    assert reason is not None
    assert words in reason.text()
    assert "0.01 GB more" in reason.text()
    with quota.more:
        assert quota.more.wait_for(lambda: quota.refused > 5, 60)
        assert len(hub.requests()) == 1
        quota.room = 100_000_000
    assert heard.state(State.FINISHED).paths[0].read_bytes() == hub.files[file.name]
    assert [seen.headers.get("Range") for seen in hub.requests()] == [None, "bytes=1000123-"]
    assert not list((downloads._models).rglob(".room"))


def test_the_list_of_requests_waits_for_room_too(
    downloads: Downloads, client: Client, hub: LoopbackHub, file: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, refusals = client.traffic._append, iter([True, True])

    def refused(line: dict[str, object]) -> None:
        if next(refusals, False):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        append(line)

    monkeypatch.setattr(client.traffic, "_append", refused)
    heard = Heard(downloads)
    downloads.add("A model", (file,))
    heard.state(State.FINISHED)
    reason = heard.state(State.NO_ROOM).reason
    assert reason is not None
    assert "Nothing is sent" in reason.text()
    assert len(hub.requests()) == 1


def test_a_job_that_finds_no_room_is_told(
    downloads: Downloads, file: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: JobFolder, job: Job) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(JobFolder, "write", refused)
    with pytest.raises(UserError, match="no room"):
        downloads.add("A model", (file,))


def test_what_a_full_disk_is(tmp_path: Path) -> None:
    quota, full = (OSError(number, os.strerror(number)) for number in (errno.EDQUOT, errno.ENOSPC))
    assert is_full(quota)
    assert is_full(full)
    assert not is_full(OSError(errno.EIO, os.strerror(errno.EIO)))
    assert not is_full(OSError("no number"))
    by_numbers = disk_full(full, tmp_path, 100, 40)
    assert (by_numbers.missing, by_numbers.refused) == (60, False)
    for error, free in ((quota, 0), (quota, 1000), (full, 100)):
        found = disk_full(error, tmp_path, 100, free)
        assert (found.missing, found.refused) == (100, True)


def test_a_trial_leaves_nothing_and_tells_other_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert takes(tmp_path)
    monkeypatch.setattr(os, "write", Quota(1000).write)
    assert not takes(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        takes(tmp_path / "gone")


def test_a_full_list_of_requests_is_one_to_wait_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(client.traffic, "_append", refused)
    with client.network.client(DOWNLOAD) as http, pytest.raises(DiskFull, match="Make room there"):
        http.get(client.hub.endpoint)
