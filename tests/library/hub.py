"""A Hugging Face Hub on this machine: repositories, redirects to a second host for the bytes, and faults on demand.

Speaks what the real client (huggingface_hub, the oracle of test_hub_oracle.py) asks: /api/models/REPO/revision/REV, and
/REPO/resolve/REV/NAME with X-Linked-Size, X-Linked-Etag and X-Repo-Commit on a redirect, ranges where the bytes are.
Each fault is used up by one request for a file's bytes, or stays for ever.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from inglenook.library.remote.hub import RemoteFile

REPOSITORY = "owner/model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Fault:
    """What one answer has wrong. `where` is "hub" (the redirect), "store" (the bytes) or "api"."""

    cut: int | None = None  # after so many bytes of the body the connection breaks
    drip: tuple[int, float] | None = None  # so many bytes at a time, so many seconds apart
    status: int | None = None  # this instead of the answer
    headers: tuple[tuple[str, str], ...] = ()  # in addition, or instead of those of the same name
    flip: int | None = None  # the byte of this number (in the file) is another one
    longer: int = 0  # the file has so many bytes more (or less)
    html: bool = False
    loop: bool = False  # the redirect leads to itself, by way of a second address
    no_ranges: bool = False  # the whole file with status 200, whatever was asked
    shift: int = 0  # the range begins so many bytes late
    where: str = "store"


def retry_after(seconds: float, as_date: bool = False) -> tuple[tuple[str, str], ...]:
    return (("Retry-After", formatdate(time.time() + seconds, usegmt=True) if as_date else str(int(seconds))),)


@dataclass(frozen=True)
class Seen:
    """A request that came in."""

    where: str
    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    at: float


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: LoopbackHub, where: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self.where = where

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what these tests are about."""


class LoopbackHub:
    """`with LoopbackHub() as hub:` - put files with `add`, faults into `faults` (one a request) or `always`."""

    def __init__(self) -> None:
        self._servers = {where: _Server(self, where) for where in ("hub", "store")}
        self.files: dict[str, bytes] = {}
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        self.small: set[str] = set()  # names that are kept in git itself: no redirect, git's hash
        self.seen: list[Seen] = []
        self.sent = 0  # bytes of bodies of files
        self._lock = threading.Lock()

    def __enter__(self) -> LoopbackHub:
        for server in self._servers.values():
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._servers['hub'].server_address[1]}"

    @property
    def store(self) -> str:
        """Where the bytes are: by its name another host."""
        return f"http://localhost:{self._servers['store'].server_address[1]}"

    def add(self, name: str, data: bytes, small: bool = False) -> RemoteFile:
        self.files[name] = data
        if small:
            self.small.add(name)
        return RemoteFile(REPOSITORY, COMMIT, name, len(data), self.digest(name))

    def digest(self, name: str) -> str:
        data = self.files[name]
        if name in self.small:
            return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return hashlib.sha256(data).hexdigest()

    def requests(self, where: str = "store") -> list[Seen]:
        return [seen for seen in self.seen if seen.where == where]

    def fault(self, where: str) -> Fault:
        with self._lock:
            if self.faults and self.faults[0].where == where:
                return self.faults.popleft()
        return self.always if self.always is not None and self.always.where == where else Fault()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    hub: LoopbackHub

    def setup(self) -> None:
        super().setup()
        self.hub = self.server.hub

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.seen.append(Seen(self.server.where, self.command, self.path, dict(self.headers), time.time()))
        path = self.path.partition("?")[0]
        if self.server.where == "store":
            self._bytes(path.removeprefix("/"), self.hub.fault("store"))
        elif path.startswith("/api/models/"):
            self._listing(self.hub.fault("api"))
        else:
            self._resolve(path, self.hub.fault("hub"))

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _failed(self, fault: Fault) -> bool:
        """Answers for a fault that leaves nothing of the file."""
        if fault.html:
            self._answer(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Sign in, please.</html>")
        elif fault.status is not None:
            self._answer(fault.status, dict(fault.headers))
        else:
            return False
        return True

    def _listing(self, fault: Fault) -> None:
        if self._failed(fault):
            return
        siblings = []
        for name, data in self.hub.files.items():
            one: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
            if name in self.hub.small:
                one["blobId"] = self.hub.digest(name)
            else:
                one["lfs"] = {"sha256": self.hub.digest(name), "size": len(data), "pointerSize": 135}
            siblings.append(one)
        listing = {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings, "cardData": {"license": "apache-2.0"}}
        body = json.dumps(listing).encode()
        self._answer(200, {"Content-Type": "application/json"}, body)

    def _resolve(self, path: str, fault: Fault) -> None:
        if fault.loop:
            there = path[:-1] if path.endswith("~") else path + "~"
            self._answer(302, {"Location": there})
            return
        if self._failed(fault):
            return
        repository, _, rest = path.removeprefix("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repository != REPOSITORY or revision not in (COMMIT, "main") or name not in self.hub.files:
            self._answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        elif name in self.hub.small:
            headers = {"ETag": f'"{self.hub.digest(name)}"', "X-Repo-Commit": COMMIT, **dict(fault.headers)}
            self._answer(200, headers, self.hub.files[name])
        else:
            headers = {
                "X-Linked-Size": str(len(self.hub.files[name])),
                "X-Linked-Etag": f'"{self.hub.digest(name)}"',
                "X-Repo-Commit": COMMIT,
                "Location": f"{self.hub.store}/{name}",
                **dict(fault.headers),
            }
            self._answer(302, headers)

    def _bytes(self, name: str, fault: Fault) -> None:
        if self._failed(fault):
            return
        data = self.hub.files[name]
        if fault.flip is not None:
            data = data[: fault.flip] + bytes([data[fault.flip] ^ 1]) + data[fault.flip + 1 :]
        data = data + bytes(fault.longer) if fault.longer >= 0 else data[: fault.longer]
        start, status, headers = 0, 200, {"ETag": f'"{self.hub.digest(name)}"'}
        asked = self.headers.get("Range")
        if asked and not fault.no_ranges:
            start = int(asked.removeprefix("bytes=").partition("-")[0]) + fault.shift
            if start >= len(data):
                self._answer(416, {"Content-Range": f"bytes */{len(data)}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = memoryview(data)[start:]
        self._answer_slowly(status, {"Content-Length": str(len(body)), **headers, **dict(fault.headers)}, body, fault)

    def _answer_slowly(self, status: int, headers: dict[str, str], body: memoryview, fault: Fault) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault.cut is not None:
            body = body[: fault.cut]
            self.close_connection = True
        step, pause = fault.drip or (1 << 16, 0.0)
        with contextlib.suppress(OSError):
            for at in range(0, len(body), step):
                piece = body[at : at + step]
                self.wfile.write(piece)
                self.hub.sent += len(piece)
                if pause:
                    time.sleep(pause)
            return
        self.close_connection = True  # the client has hung up
