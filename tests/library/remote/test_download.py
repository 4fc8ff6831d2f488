"""One file from the loopback Hub, with every fault that a network, a server or a disk can have."""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.library.fetching import SOON, TOKEN, Client, some_bytes
from tests.library.hub import Fault, LoopbackHub, retry_after

from inglenook.core.errors import UserError
from inglenook.library.control import Stopped
from inglenook.library.locks import FileLock
from inglenook.library.progress import Step
from inglenook.library.remote import network
from inglenook.library.remote.download import Busy, Retry
from inglenook.library.remote.hub import Hub, RemoteFile
from inglenook.library.remote.part import PartFile
from inglenook.library.remote.room import DiskFull

CUTS = int(os.environ.get("INGLENOOK_CUTS", "10"))
"""How many random cuts; `make soak` asks for a hundred."""


def right(client: Client, hub: LoopbackHub, file: RemoteFile) -> bool:
    """Whether the file is there, right, and nothing else."""
    return client.names() == {file.name} and client.target(file).read_bytes() == hub.files[file.name]


def test_a_file_comes_whole_and_only_once(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    client.fetch(file)
    assert right(client, hub, file)
    assert hub.sent == file.size
    assert client.heard[-1].step is Step.FINISHED
    asked = len(hub.seen)
    client.fetch(file)
    assert len(hub.seen) == asked


def test_an_empty_file_and_one_of_git(client: Client, hub: LoopbackHub) -> None:
    for file in (hub.add("empty", b""), hub.add("config.json", b'{"a": 1}', small=True)):
        assert client.fetch(file).read_bytes() == hub.files[file.name]


def test_a_small_file_is_compared_with_gits_hash(client: Client, hub: LoopbackHub) -> None:
    file = hub.add("config.json", b'{"a": 1}', small=True)
    hub.files["config.json"] = b'{"a": 2}'
    with pytest.raises(UserError, match="wrong bytes"):
        client.fetch(file)


def test_cut_at_random_bytes_nothing_is_fetched_twice(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    chance = random.Random(CUTS)
    ends = sorted(chance.sample(range(1, file.size), CUTS))
    hub.faults.extend(Fault(cut=b - a) for a, b in zip([0, *ends], ends, strict=False))
    client.fetch(file, Retry(first=0.001))
    assert right(client, hub, file)
    assert not hub.faults
    assert hub.sent == file.size
    ranges = [seen.headers.get("Range") for seen in hub.requests()]
    assert ranges == [None, *(f"bytes={end}-" for end in ends)]
    done = [p.done for p in client.heard]
    assert done == sorted(done)


def test_slow_drip_arrives(client: Client, hub: LoopbackHub) -> None:
    file = hub.add("model.gguf", some_bytes(3000))
    hub.always = Fault(drip=(100, 0.02))
    client.fetch(file)
    assert right(client, hub, file)
    assert len(hub.requests()) == 1
    assert any(p.rate > 0 and p.seconds_left is not None for p in client.heard)


@pytest.mark.parametrize(
    ("status", "as_date", "where"),
    [(429, False, "hub"), (429, True, "store"), (503, False, "store"), (503, True, "hub")],
)
def test_retry_after_is_obeyed(
    client: Client, hub: LoopbackHub, file: RemoteFile, status: int, as_date: bool, where: str
) -> None:
    seconds = 2 if as_date else 1  # a date has whole seconds only
    due = int(time.time() + seconds) if as_date else time.time() + seconds
    hub.faults.append(Fault(status=status, headers=retry_after(seconds, as_date), where=where))
    client.fetch(file)
    assert right(client, hub, file)
    assert hub.requests(where)[1].at >= due
    waiting = next(p for p in client.heard if p.step is Step.WAITING)
    assert as_date or waiting.wait_seconds == seconds
    assert str(status) in (waiting.reason.text() if waiting.reason else "")


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_a_server_in_trouble_is_asked_again_and_then_given_up(
    client: Client, hub: LoopbackHub, file: RemoteFile, status: int
) -> None:
    hub.always = Fault(status=status)
    with pytest.raises(UserError, match=str(status)):
        client.fetch(file)
    assert len(hub.requests()) == SOON.attempts
    hub.always = None
    client.fetch(file)
    assert right(client, hub, file)


def test_a_refused_range_costs_the_transfer_but_no_byte_is_written_twice(
    client: Client, hub: LoopbackHub, file: RemoteFile
) -> None:
    hub.faults.extend([Fault(cut=1_000_000), Fault(status=416)])
    client.fetch(file)
    assert right(client, hub, file)
    assert [seen.headers.get("Range") for seen in hub.requests()] == [None, "bytes=1000000-", None]


def test_416_for_ever_is_told(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    hub.always = Fault(status=416)
    with pytest.raises(UserError, match="rest of"):
        client.fetch(file)


@pytest.mark.parametrize("fault", [Fault(no_ranges=True), Fault(shift=-5), Fault(shift=5)])
def test_another_range_than_asked_for(client: Client, hub: LoopbackHub, file: RemoteFile, fault: Fault) -> None:
    hub.faults.extend([Fault(cut=1_000_000), fault])
    client.fetch(file)
    assert right(client, hub, file)


@pytest.mark.parametrize("longer", [-7, 7])
def test_wrong_length_is_told(client: Client, hub: LoopbackHub, file: RemoteFile, longer: int) -> None:
    hub.always = Fault(longer=longer)
    with pytest.raises(UserError, match=re.escape(f"{file.size + longer} bytes instead of {file.size}")):
        client.fetch(file)
    assert len(hub.requests()) == 2
    assert file.name not in client.names()
    hub.always = None
    client.fetch(file)
    assert right(client, hub, file)


@pytest.mark.parametrize(
    "header", [("X-Linked-Size", "5"), ("X-Linked-Etag", '"' + "0" * 64 + '"')], ids=["size", "hash"]
)
def test_another_file_than_the_pinned_one_is_refused_before_its_bytes(
    client: Client, hub: LoopbackHub, file: RemoteFile, header: tuple[str, str]
) -> None:
    hub.always = Fault(headers=(header,), where="hub")
    with pytest.raises(UserError, match="another mirror"):
        client.fetch(file)
    assert client.names() == {"model.gguf.part", "model.gguf.part.log"}
    assert client.target(file).with_name("model.gguf.part").stat().st_size == 0


def test_wrong_bytes_are_fetched_once_again(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    hub.faults.append(Fault(flip=1_234_567))
    client.fetch(file)
    assert right(client, hub, file)
    assert hub.sent == 2 * file.size
    done = [p.done for p in client.heard]
    assert done == sorted(done)
    assert any(p.step is Step.FETCHING_AGAIN for p in client.heard)


def test_wrong_bytes_for_ever_are_set_aside_and_told(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    hub.always = Fault(flip=0)
    with pytest.raises(UserError, match="twice with wrong bytes"):
        client.fetch(file)
    assert client.names() == {"model.gguf.wrong"}
    assert len(hub.requests()) == 2
    hub.always = None
    client.fetch(file)
    assert right(client, hub, file)


def test_a_redirect_loop_is_told(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    hub.always = Fault(loop=True, where="hub")
    with pytest.raises(UserError, match="circles"):
        client.fetch(file)
    assert len(hub.requests("hub")) == 4  # two addresses, two attempts


def test_another_host_gets_no_token(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    client.fetch(file)
    (first,), (second,) = hub.requests("hub"), hub.requests("store")
    assert first.headers["Authorization"] == f"Bearer {TOKEN}"
    assert "Authorization" not in second.headers
    assert {r.host for r in client.traffic.requests()} == {"127.0.0.1", "localhost"}
    for written in client.folder.rglob("*"):
        assert not written.is_file() or TOKEN.encode() not in written.read_bytes()
    assert TOKEN not in repr(client.hub)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://", "http://[", "http://a:b/", "http://x:999999/", ""]
)
def test_a_redirect_to_no_address_is_not_followed(
    client: Client, hub: LoopbackHub, file: RemoteFile, location: str
) -> None:
    hub.always = Fault(headers=(("Location", location),), where="hub")
    with pytest.raises(UserError, match=r"no address|circles|No connection"):
        client.fetch(file)
    assert not hub.requests()


def test_a_mirror_that_is_no_address(client: Client, file: RemoteFile) -> None:
    client.hub = Hub(client.network, "huggingface.co")
    with pytest.raises(UserError, match="no address"):
        client.fetch(file)


def test_a_connection_that_falls_silent_is_replaced(
    client: Client, hub: LoopbackHub, file: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "SILENCE_SECONDS", 0.5)
    hub.faults.append(Fault(drip=(1_000_000, 600.0)))
    client.fetch(file)
    assert right(client, hub, file)
    assert hub.requests()[1].headers["Range"] == "bytes=1000000-"


@pytest.mark.parametrize("where", ["hub", "store"])
def test_a_web_page_is_no_file(client: Client, hub: LoopbackHub, file: RemoteFile, where: str) -> None:
    hub.faults.append(Fault(html=True, where=where))
    client.fetch(file)
    assert right(client, hub, file)
    client.target(file).unlink()
    hub.always = Fault(html=True, where=where)
    with pytest.raises(UserError, match="web page"):
        client.fetch(file)
    assert file.name not in client.names()


@pytest.mark.parametrize(("status", "words"), [(401, "token"), (403, "token"), (404, "has no file"), (418, "418")])
def test_a_refusal_is_told(client: Client, hub: LoopbackHub, file: RemoteFile, status: int, words: str) -> None:
    hub.always = Fault(status=status, where="hub")
    with pytest.raises(UserError, match=words):
        client.fetch(file)


def test_a_plain_server_behind_an_https_address(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    client.hub = Hub(client.network, hub.endpoint.replace("http:", "https:"))
    with pytest.raises(UserError, match="No safe connection to 127"):
        client.fetch(file)


def test_no_server_at_all_is_waited_for_and_then_told(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    address = hub.endpoint
    hub.__exit__()
    client.hub = Hub(client.network, address)
    with pytest.raises(UserError, match=r"No connection.*What has arrived is kept"):
        client.fetch(file)
    assert [p.step for p in client.heard].count(Step.WAITING) == 4


class Later:
    """Does something as soon as so many bytes have arrived."""

    def __init__(self, client: Client, file: RemoteFile, position: int) -> None:
        self._part = client.target(file).with_name(file.name + ".part")
        self._position = position

    def wait(self) -> None:
        until = time.monotonic() + 60
        while not self._part.exists() or self._part.stat().st_size < self._position:
            assert time.monotonic() < until
            time.sleep(0.005)


@pytest.mark.parametrize("drip", [(20_000, 0.01), (1_000_000, 600.0)], ids=["flowing", "stalled"])
def test_pause_stops_at_once_and_resume_goes_on(
    client: Client, hub: LoopbackHub, file: RemoteFile, drip: tuple[int, float]
) -> None:
    hub.faults.append(Fault(drip=drip))
    stopped: list[bool] = []

    def run() -> None:
        with pytest.raises(Stopped):
            client.fetch(file)
        stopped.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    Later(client, file, 900_000).wait()
    client.control.stop()
    thread.join(60)
    assert stopped
    here = client.target(file).with_name("model.gguf.part").stat().st_size
    client.fetch(file)
    assert right(client, hub, file)
    assert hub.requests()[-1].headers["Range"] == f"bytes={here}-"


def test_the_switch_stops_a_running_download_and_no_request_goes_out(
    client: Client, hub: LoopbackHub, file: RemoteFile
) -> None:
    hub.always = Fault(drip=(20_000, 0.01))
    thread = threading.Thread(target=lambda: (Later(client, file, 100_000).wait(), setattr(client, "allowed", False)))
    thread.start()
    with pytest.raises(UserError, match="switched off"):
        client.fetch(file)
    thread.join()
    asked = len(hub.seen)
    with pytest.raises(UserError, match="switched off"):
        client.fetch(file)
    assert len(hub.seen) == asked


def test_a_damaged_part_is_cut_where_it_stops_being_right(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    part = PartFile(client.target(file), file.size, file.digest)
    part.open(lambda _: None)
    for at in range(0, 2_000_000, 100_000):
        part.write(hub.files[file.name][at : at + 100_000])
        part.log()
    part.close()
    content = bytearray(part.file.read_bytes())
    content[1_234_567] ^= 1
    part.file.write_bytes(content)
    client.fetch(file)
    assert right(client, hub, file)
    assert [seen.headers["Range"] for seen in hub.requests()] == ["bytes=1200000-"]


def test_a_check_that_is_stopped_costs_nothing(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    part = PartFile(client.target(file), file.size, file.digest)
    part.open(lambda _: None)
    for at in range(0, 2_000_000, 500_000):
        part.write(hub.files[file.name][at : at + 500_000])
        part.log()
    part.close()
    log = part.file.with_name(part.file.name + ".log")
    noted = log.read_bytes()

    def stop(checked: int) -> None:
        if checked > 1_200_000:
            raise Stopped

    stopped = PartFile(client.target(file), file.size, file.digest)
    with pytest.raises(Stopped):
        stopped.open(stop)
    stopped.close()
    assert log.read_bytes() == noted
    client.fetch(file)
    assert right(client, hub, file)
    assert [seen.headers["Range"] for seen in hub.requests()] == ["bytes=2000000-"]


@pytest.mark.parametrize("log", [b"", b"garbage", b'{"size": 1, "digest": "x"}\n', b"[]\n{}\n", b"\xff\xfe\n"])
def test_a_damaged_log_costs_only_the_part(client: Client, hub: LoopbackHub, file: RemoteFile, log: bytes) -> None:
    folder = client.target(file).parent
    folder.mkdir()
    (folder / "model.gguf.part").write_bytes(some_bytes(1_000_000, 5))
    (folder / "model.gguf.part.log").write_bytes(log)
    client.fetch(file)
    assert right(client, hub, file)


def test_a_file_of_that_name_that_is_another_is_left_alone(client: Client, file: RemoteFile) -> None:
    client.target(file).parent.mkdir()
    client.target(file).write_bytes(b"mine")
    with pytest.raises(UserError, match="Another file is at"):
        client.fetch(file)
    assert client.target(file).read_bytes() == b"mine"


def test_a_file_put_there_by_hand_is_verified_and_not_fetched(
    client: Client, hub: LoopbackHub, file: RemoteFile
) -> None:
    client.target(file).parent.mkdir()
    client.target(file).write_bytes(hub.files[file.name])
    client.fetch(file)
    assert not hub.seen


def test_two_programs_fetch_a_file_once(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    holder = (
        "import sys, time, pathlib; from inglenook.library.locks import FileLock\n"
        "with FileLock(pathlib.Path(sys.argv[1])):\n print('held', flush=True)\n time.sleep(60)"
    )
    lock = client.target(file).with_name(".model.gguf.lock")
    with subprocess.Popen([sys.executable, "-c", holder, str(lock)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(Busy):
            client.fetch(file)
        other.kill()
    client.fetch(file)
    assert right(client, hub, file)
    with FileLock(lock):
        pass


def test_no_room_is_told_before_the_first_byte(
    client: Client, hub: LoopbackHub, file: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
    with pytest.raises(DiskFull) as caught:
        client.fetch(file)
    assert caught.value.missing >= file.size
    assert not hub.requests()


@pytest.mark.skipif(sys.platform != "linux", reason="tells the part from other files by /proc")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_in_the_middle_loses_nothing(
    client: Client, hub: LoopbackHub, file: RemoteFile, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [1_000_123]
    write = os.write

    def until_full(descriptor: int, data: bytes) -> int:
        if not str(Path(f"/proc/self/fd/{descriptor}").readlink()).endswith(".part"):
            return write(descriptor, data)
        if not room[0]:
            raise OSError(number, os.strerror(number))
        count = write(descriptor, data[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr(os, "write", until_full)
    with pytest.raises(DiskFull, match="GB more are needed"):
        client.fetch(file)
    room[0] = file.size
    client.fetch(file)
    assert right(client, hub, file)
    assert hub.requests()[-1].headers["Range"] == "bytes=1000123-"


REALLY_FULL = """
import sys, threading
from pathlib import Path
from tests.library.fetching import Client
from inglenook.core.errors import UserError
from inglenook.library.remote.room import DiskFull
from inglenook.library.remote.hub import RemoteFile
folder, endpoint, digest = sys.argv[1:]
class At: pass
At.endpoint = endpoint
client = Client(Path(folder), At)
file = RemoteFile("owner/model", "0123456789abcdef0123456789abcdef01234567", "model.gguf", 3_000_000, digest)
filler = Path(folder) / "filler"
def fill(progress):
    if progress.done > 500_000 and not filler.exists():
        with filler.open("wb", buffering=0) as f:
            try:
                while f.write(bytes(4096)): pass
            except OSError: pass
client._hear = fill
for _ in range(2):  # full in the middle; full from the start
    try:
        client.fetch(file)
    except DiskFull as full:
        print("full", full.missing > 500_000, client.target(file).exists())
filler.unlink()
client._hear = lambda _: None
client.fetch(file)
print("whole", client.target(file).stat().st_size)
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="mounts a small disk in a namespace of its own")
def test_a_small_disk_that_is_really_full(client: Client, hub: LoopbackHub, file: RemoteFile, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=4500k none "$0" && exec "$@"', str(small)]
    if subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no mounts")
    hub.faults.append(Fault(drip=(50_000, 0.02)))
    command = [*mount, sys.executable, "-c", REALLY_FULL, str(small), hub.endpoint, file.digest]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["full True False", "full True False", "whole 3000000"], done.stderr
    assert len(hub.requests()) == 2
    assert int(hub.requests()[1].headers["Range"].removeprefix("bytes=").rstrip("-")) > 500_000


def test_a_disk_that_takes_no_large_files(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    script = (
        "import resource, sys; from pathlib import Path; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))\n"
        "from tests.library.fetching import Client; from inglenook.library.remote.hub import RemoteFile, Hub\n"
        "class At: endpoint = sys.argv[2]\n"
        "Client(Path(sys.argv[1]), At()).fetch(RemoteFile('owner/model', sys.argv[3], 'model.gguf', 3000000, 'a' * 64))"
    )
    hub.always = Fault(headers=(("X-Linked-Etag", ""),), where="hub")
    command = [sys.executable, "-c", script, str(client.folder), hub.endpoint, file.revision]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert "takes no file as large as model.gguf" in done.stderr


def test_a_folder_that_cannot_be_written(client: Client, file: RemoteFile) -> None:
    (client.folder / "models").write_text("a file in its place")
    with pytest.raises(UserError, match=r"could not be written to .*models"):
        client.fetch(file)
