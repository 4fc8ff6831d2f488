"""Reads for a moment at a time, on real connections: with encryption, and through a proxy, nothing is lost by it."""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.library.fetching import some_bytes

from inglenook.library.remote import connection, transport
from inglenook.library.remote.network import DOWNLOAD, Lost, Network
from inglenook.library.remote.traffic import Traffic

DATA = some_bytes(100_000)


class _Slow(BaseHTTPRequestHandler):
    """Sends what it has with pauses that are longer than the moment, and not at the ends of records."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        for at in range(0, len(DATA), 9_999):
            time.sleep(0.03)
            self.wfile.write(DATA[at : at + 9_999])

    def log_message(self, *_: object) -> None:
        pass


class _Proxy(BaseHTTPRequestHandler):
    """Leads every name to one server."""

    port: int
    asked: list[tuple[str, str]]

    def do_CONNECT(self) -> None:
        self.asked.append((self.path, self.headers.get("Proxy-Authorization", "")))
        with socket.create_connection(("127.0.0.1", self.port)) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_copy, args=(there, self.connection))
            back.start()
            _copy(self.connection, there)
            back.join()

    def log_message(self, *_: object) -> None:
        pass


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(700):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    if shutil.which("openssl") is None:
        pytest.skip("makes a certificate with openssl")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
         "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,DNS:models.invalid"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    trusts = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    monkeypatch.setattr(transport, "_certificates", lambda: trusts)
    monkeypatch.setattr(connection, "_LOOK_SECONDS", 0.005)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Slow) as made:
        made.socket = context.wrap_socket(made.socket, server_side=True)
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        yield made
        made.shutdown()


def test_slow_bytes_under_encryption_arrive_whole(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    looks: list[None] = []
    network = Network(Traffic(tmp_path / "network.jsonl"), lambda: True)
    with network.client(DOWNLOAD, lambda: looks.append(None)) as client:
        for _ in range(2):  # the second by the connection of the first
            assert client.get(f"https://localhost:{server.server_address[1]}/").content == DATA
    assert len(looks) > 20


@pytest.mark.parametrize("secret", ["", "user:p%40ss@"])
def test_slow_bytes_through_a_proxy_arrive_whole(
    server: ThreadingHTTPServer, tmp_path: Path, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Proxy.port, _Proxy.asked = int(server.server_address[1]), []
    for name in ("HTTPS_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://{secret}127.0.0.1:{proxy.server_address[1]}")
        network = Network(Traffic(tmp_path / "network.jsonl"), lambda: True)
        with network.client(DOWNLOAD) as client:
            assert client.get("https://models.invalid/file").content == DATA
        proxy.shutdown()
    token = "Basic " + base64.b64encode(b"user:p@ss").decode() if secret else ""
    assert _Proxy.asked == [("models.invalid:443", token)]


def test_silence_is_still_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After as long as it was given, though it is read for a moment at a time."""
    monkeypatch.setattr("inglenook.library.remote.network.SILENCE_SECONDS", 0.5)
    looks: list[None] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        network = Network(Traffic(tmp_path / "network.jsonl"), lambda: True)
        with network.client(DOWNLOAD, lambda: looks.append(None)) as client, pytest.raises(Lost, match="timed out"):
            client.get(f"http://127.0.0.1:{silent.getsockname()[1]}/")
    assert len(looks) >= 2
