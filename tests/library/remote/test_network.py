"""The one way to the network: listed, switched, with the system's proxy; and nothing beside it in the whole program."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.library.fetching import Client
from tests.library.hub import Fault, LoopbackHub

from inglenook.core.errors import UserError
from inglenook.library.control import Stopped
from inglenook.library.remote.hub import Hub, RemoteFile
from inglenook.library.remote.network import DOWNLOAD, Network, NetworkForbidden
from inglenook.library.remote.traffic import Traffic

ROOT = Path(__file__).parents[3]
LIBRARY = Path("app/inglenook/library/remote")


def test_the_start_of_the_program_imports_no_http() -> None:
    script = (
        "import sys, inglenook.bootstrap, inglenook.library.remote.downloads\n"
        "print([m for m in ('httpx', 'httpcore', 'ssl', 'certifi', 'http.client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_every_request_is_listed_with_its_bytes(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    hub.faults.append(Fault(cut=1000))
    client.fetch(file)
    listed = [(r.host, r.purpose, r.status) for r in client.traffic.requests()]
    hosts = ("127.0.0.1", "localhost")
    assert listed == [
        (host, DOWNLOAD, code) for last in (200, 206) for host, code in zip(hosts, (302, last), strict=True)
    ]
    assert sum(r.received for r in client.traffic.requests()) == file.size
    assert len(hub.seen) == len(listed)


def test_a_request_that_finds_nobody_is_listed_too(tmp_path: Path, hub: LoopbackHub) -> None:
    network = Network(Traffic(tmp_path / "network.jsonl"), lambda: True)
    address = hub.endpoint
    hub.__exit__()
    with network.client(DOWNLOAD) as client, pytest.raises(Exception, match="refused"):
        client.get(address)
    (request,) = network.traffic.requests()
    assert (request.host, request.status, request.received) == ("127.0.0.1", 0, 0)


def test_nothing_goes_out_that_cannot_be_listed(tmp_path: Path, hub: LoopbackHub) -> None:
    (tmp_path / "network.jsonl").mkdir()
    network = Network(Traffic(tmp_path / "network.jsonl"), lambda: True)
    with network.client(DOWNLOAD) as client, pytest.raises(UserError, match="Nothing is sent"):
        client.get(hub.endpoint)
    assert not hub.seen


def test_the_switch_forbids_before_anything_is_written(tmp_path: Path, hub: LoopbackHub) -> None:
    network = Network(Traffic(tmp_path / "network.jsonl"), lambda: False)
    with network.client(DOWNLOAD) as client, pytest.raises(NetworkForbidden):
        client.get(hub.endpoint)
    assert not hub.seen
    assert not network.traffic.requests()


def test_what_was_told_to_stop_asks_no_further(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    """Between a redirect and where it leads."""
    stops = False

    def check() -> None:
        if stops:
            raise Stopped

    with client.hub.network.client(DOWNLOAD, check) as asking:
        assert asking.get(client.hub.url(file)).status_code == 302
        stops = True
        with pytest.raises(Stopped):
            asking.get(client.hub.url(file))
    assert len(hub.seen) == len(client.traffic.requests()) == 1


class _Proxy(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    _Proxy.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        for name in ("HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{server.server_address[1]}")
        yield _Proxy.asked
        server.shutdown()


def test_the_systems_proxy_is_used_and_listed_is_the_host_that_was_meant(tmp_path: Path, proxy: list[str]) -> None:
    network = Network(Traffic(tmp_path / "network.jsonl"), lambda: True)
    with network.client(DOWNLOAD) as client:
        assert client.get("http://models.invalid/file").status_code == 204
    assert proxy == ["http://models.invalid/file"]
    assert [r.host for r in network.traffic.requests()] == ["models.invalid"]


def test_no_proxy_for_this_machine_and_for_the_exceptions(
    tmp_path: Path, proxy: list[str], hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "models.invalid")
    network = Network(Traffic(tmp_path / "network.jsonl"), lambda: True)
    with network.client(DOWNLOAD) as client:
        assert client.get(hub.endpoint).status_code == 404
        with pytest.raises(Exception, match=r"\w"):
            client.get("http://models.invalid/file")
    assert proxy == []


def test_a_socks_proxy_is_told(tmp_path: Path, proxy: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://user:password@127.0.0.1:1")
    network = Network(Traffic(tmp_path / "network.jsonl"), lambda: True)
    with network.client(DOWNLOAD) as client, pytest.raises(UserError, match="proxy 127") as caught:
        client.get("http://models.invalid/file")
    assert "password" not in str(caught.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_certificate_that_nobody_vouches_for(client: Client, file: RemoteFile, tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
         "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    _Proxy.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        client.hub = Hub(client.network, f"https://localhost:{server.server_address[1]}")
        with pytest.raises(UserError, match=r"No safe connection to localhost: self.signed"):
            client.fetch(file)
        server.shutdown()
    assert not _Proxy.asked
