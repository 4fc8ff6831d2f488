"""Servers and proxies that answer nonsense, or nothing: told in plain words, ended at once, and no secret in it."""

from __future__ import annotations

import contextlib
import gzip
import logging
import socket
import threading
import time
import traceback
from collections.abc import Iterator

import httpcore
import pytest
from tests.library.fetching import SOON, Client
from tests.library.hub import REPOSITORY, Fault, LoopbackHub, retry_after

from inglenook.core.errors import UserError
from inglenook.library.control import Stopped
from inglenook.library.progress import Step
from inglenook.library.remote import network
from inglenook.library.remote.connection import Backend
from inglenook.library.remote.download import Retry
from inglenook.library.remote.downloads import Downloads, DownloadStatus, State
from inglenook.library.remote.hub import Hub, RemoteFile
from inglenook.library.remote.network import NetworkForbidden, address

FAULT = "fault of"  # Inglenook, or this program: what none of these may be taken for
ONCE = Retry(first=0.001, longest=0.002, attempts=1)


class Raw:
    """Answers every request with the same bytes, or (None) never."""

    def __init__(self) -> None:
        self.answer: bytes | None = None
        self.asked = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                connection.recv(65536)
                self.asked.set()
                if self.answer is None:
                    self._held.append(connection)
                    continue
                connection.sendall(self.answer)
                connection.shutdown(socket.SHUT_WR)
                connection.close()

    def close(self) -> None:
        self._socket.close()
        for connection in self._held:
            connection.close()


@pytest.fixture
def raw() -> Iterator[Raw]:
    made = Raw()
    yield made
    made.close()


@pytest.fixture
def here(client: Client, raw: Raw) -> Client:
    client.hub = Hub(client.network, raw.endpoint)
    return client


def answer(*headers: bytes, status: bytes = b"200 OK", body: bytes = b"") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"", body])


HEADERS = [
    b"Content-Length: many",
    b"Content-Length: -5",
    b"Content-Length: 1" + b"0" * 400,
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Retry-After: 1" + b"0" * 400,
    b"Retry-After: \xff\xfe",
    b"Retry-After: Fri, 31 Dec 0001 23:59:59 -0000",
    b"Retry-After: Fri, 31 Dec 9999 23:59:59 -9999",
    b"Content-Range: garbage",
    b"Content-Range: bytes 0-1/\xff",
    b"Content-Range: bytes 99999999999999999999999999-1/2",
    b"Content-Type: text/\xe4; charset=\xff",
    b"Content-Encoding: gzip",
    b"Content-Encoding: deflate, gzip",
    b"Content-Encoding: \xff",
    b"Transfer-Encoding: nonsense",
    b"Transfer-Encoding: chunked",
    b"ETag: \xff\xfe",
    b"X-Linked-Size: \xb2",
    b"X-Linked-Etag: \xff",
    b"X-Repo-Commit: \xff",
    b"Set-Cookie: \xff=\xfe; expires=never; domain=\xfd; max-age=1e400; port=x",
    b"Location: http://\xff\xfe/",
    b"Location: http://" + b"a" * 70 + b".example/",
    b"Location: http://.example/",
    b"Location: //[::1",
    b"Location: http://x:0x50/",
    b"Location: \x80",
    b"Location: http://user:hunter2@[::1",
    b"No colon at all hunter2",
    b"Null: \x00",
]
STATUSES = [b"200 OK", b"206 Partial Content", b"302 Found", b"416 No", b"429 \xff", b"999 What", b"000", b"twohundred"]


@pytest.mark.parametrize("header", HEADERS, ids=[str(header[:40]) for header in HEADERS])
def test_odd_headers_end_in_plain_words(here: Client, raw: Raw, file: RemoteFile, header: bytes) -> None:
    for status in STATUSES:
        for body in (b"", b"{]\x1f\x8b"):
            raw.answer = answer(header, status=status, body=body)
            for ask in (lambda: here.hub.listing(REPOSITORY), lambda: here.fetch(file, ONCE)):
                with pytest.raises(UserError) as caught:
                    ask()
                assert FAULT not in str(caught.value)
                assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("header", [b"Content-Length: many", b"No colon at all", b"Transfer-Encoding: nonsense"])
def test_headers_that_are_none_are_not_asked_for_for_ever(
    here: Client, raw: Raw, file: RemoteFile, header: bytes
) -> None:
    raw.answer = answer(header, body=b"x")
    with pytest.raises(UserError, match=r"makes no sense.*another mirror"):
        here.fetch(file, Retry(first=0.001, longest=0.002))


def test_a_connection_that_ends_among_the_headers_is_one_that_is_lost(here: Client, raw: Raw, file: RemoteFile) -> None:
    for cut in (b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Le"):
        raw.answer = cut
        with pytest.raises(UserError, match=r"could not be fetched: No connection"):
            here.fetch(file, ONCE)


def test_what_cannot_be_unpacked_is_told(here: Client, raw: Raw) -> None:
    packed = gzip.compress(b'{"sha": 1}')
    for body in (packed[:-12] + b"garbage, really", b"no gzip at all"):
        raw.answer = answer(b"Content-Encoding: gzip", b"Content-Length: %d" % len(body), body=body)
        with pytest.raises(UserError, match=r"cannot be unpacked.*another mirror"):
            here.hub.listing(REPOSITORY)


PROXIES = [
    "http://user:hunter2@[::1",
    "http://user:hunter2@host:port/",
    "http://user:hunter2@host:99999999",
    "http://user:hunter2@",
    "http://user:hunter2@:80",
    "http://user:hunter2@.example:80",
    "http://user:hunter2@" + "a" * 70 + ".example",
    "http://user:hun/ter2hunter2@host:80",
    "http://user:1#hunter2@host:80",
    "http://user:1?hunter2@host:80",
    "user:hunter2@[",
    "socks9://x",
    "socks5://user:hunter2@host:80",
    "socks5://hunter2/x@host:80",
    "socks9://user:hunter2@[::1",
    "://user:hunter2@host",
    "http://user:hunter2@\x07host",
    "ftp:hunter2",
    "HTTP://user:hunter2@127.0.0.1:1",
    "http://user:h\u00fcnter2hunter2@127.0.0.1:1",
]


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "all_proxy"])
def test_an_odd_proxy_is_told_without_its_password(
    client: Client, proxy: str, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv(name, proxy)
    client.hub = Hub(client.network, "https://models.invalid" if name == "https_proxy" else "http://models.invalid")
    with pytest.raises(UserError, match=r"proxy|cannot be reached") as caught:
        client.hub.listing(REPOSITORY)
    said = "".join(traceback.format_exception(caught.value)) + str(caught.value) + caplog.text
    assert "hunter2" not in said
    assert FAULT not in said


@pytest.mark.usefixtures("no_proxies")
def test_a_download_by_an_odd_proxy_fails_in_plain_words(
    client: Client, file: RemoteFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("all_proxy", PROXIES[0])
    failed, heard = threading.Event(), list[DownloadStatus]()
    downloads = Downloads(client.folder / "models", lambda: Hub(client.network, "http://models.invalid"), SOON)
    downloads.subscribe(heard.append)
    downloads.subscribe(lambda status: failed.set() if status.state is State.FAILED else None)
    downloads.add("A model", (file,))
    assert failed.wait(60)
    downloads.close()
    reason = heard[-1].reason
    assert reason is not None
    assert "address of the proxy" in reason.text()
    assert "hunter2" not in caplog.text + reason.text()


def test_a_password_in_the_address_of_a_mirror_is_not_shown(client: Client) -> None:
    for endpoint in ("http://user:hunter2@[::1", "ftp://user:hunter2@host", "http://user:hunter2@127.0.0.1:1"):
        with pytest.raises(UserError) as caught:
            Hub(client.network, endpoint).listing(REPOSITORY)
        assert "hunter2" not in str(caught.value) + repr(Hub(client.network, endpoint))


@pytest.mark.parametrize("text", ["http://.x/", "http://a..b/", "http://" + "a" * 64 + "/", "http://x/\ud800"])
def test_a_name_that_the_system_could_not_look_up_is_no_address(text: str) -> None:
    with pytest.raises(UserError, match="no address"):
        address(text)


# -- silence --


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing ends by itself."""
    monkeypatch.setattr(network, "SILENCE_SECONDS", 6000.0)
    monkeypatch.setattr(network, "CONNECT_SECONDS", 6000.0)


class Asking(threading.Thread):
    """Asks, and keeps what came of it."""

    def __init__(self, client: Client, file: RemoteFile, what: str) -> None:
        super().__init__(daemon=True)
        self.raised: BaseException | None = None
        self._client = client
        self._file = file
        self._what = what
        self.start()

    def run(self) -> None:
        try:
            if self._what == "listing":
                self._client.hub.listing(REPOSITORY)
            else:
                self._client.fetch(self._file)
        except BaseException as error:
            self.raised = error

    def ended(self) -> BaseException | None:
        self.join(60)
        assert not self.is_alive()
        return self.raised


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("what", ["listing", "download"])
def test_the_switch_ends_the_wait_for_an_answer(
    here: Client, raw: Raw, file: RemoteFile, scheme: str, what: str
) -> None:
    here.hub = Hub(here.network, raw.endpoint.replace("http:", f"{scheme}:"))
    asking = Asking(here, file, what)
    assert raw.asked.wait(60)
    here.allowed = False
    assert isinstance(asking.ended(), NetworkForbidden)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_pause_ends_the_wait_for_an_answer(here: Client, raw: Raw, file: RemoteFile, scheme: str) -> None:
    here.hub = Hub(here.network, raw.endpoint.replace("http:", f"{scheme}:"))
    asking = Asking(here, file, "download")
    assert raw.asked.wait(60)
    here.control.stop()
    assert isinstance(asking.ended(), Stopped)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("switch", [True, False])
def test_a_body_that_falls_silent_ends_too(client: Client, hub: LoopbackHub, file: RemoteFile, switch: bool) -> None:
    hub.faults.append(Fault(drip=(1_000_000, 600.0)))
    asking = Asking(client, file, "download")
    part = client.target(file).with_name(f"{file.name}.part")
    until = time.monotonic() + 60
    while not part.exists() or part.stat().st_size < 900_000:
        assert time.monotonic() < until
        time.sleep(0.01)
    if switch:
        client.allowed = False
    else:
        client.control.stop()
    assert isinstance(asking.ended(), NetworkForbidden if switch else Stopped)
    client.allowed = True
    assert client.fetch(file).read_bytes() == hub.files[file.name]


@pytest.mark.usefixtures("patient")
def test_the_switch_ends_the_wait_before_the_next_attempt(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    hub.always = Fault(status=503, headers=retry_after(3000))
    asking = Asking(client, file, "download")
    until = time.monotonic() + 60
    while not any(p.step is Step.WAITING for p in client.heard):
        assert time.monotonic() < until
        time.sleep(0.01)
    client.allowed = False
    assert isinstance(asking.ended(), NetworkForbidden)


@pytest.mark.usefixtures("patient")
def test_a_connection_that_is_not_made_is_given_up_and_closed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system itself cannot be told to stop trying."""
    go_on, closed, stop = threading.Event(), threading.Event(), threading.Event()

    class Late(httpcore.NetworkStream):
        def close(self) -> None:
            closed.set()

    def connect(*_: object) -> httpcore.NetworkStream:
        stop.set()
        go_on.wait()
        return Late()

    def check() -> None:
        if stop.is_set():
            raise Stopped

    backend = Backend(check)
    monkeypatch.setattr(backend._plain, "connect_tcp", connect)
    with pytest.raises(Stopped):
        backend.connect_tcp("models.invalid", 80)
    assert not closed.is_set()
    go_on.set()
    assert closed.wait(60)
