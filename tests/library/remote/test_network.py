"""The one way to the network: listed, switched, with the system's proxy; and nothing beside it in the whole program."""

from __future__ import annotations

import ast
import json
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
from inglenook.library.remote.hub import Hub, RemoteFile
from inglenook.library.remote.network import DOWNLOAD, Network, NetworkForbidden
from inglenook.library.remote.traffic import Traffic

ROOT = Path(__file__).parents[3]
LIBRARY = Path("app/inglenook/library/remote")
MAKES_CONNECTIONS = {
    "socket", "_socket", "ssl", "http.client", "http.server", "socketserver", "urllib.request", "urllib.robotparser",
    "ftplib", "smtplib", "poplib", "imaplib", "nntplib", "telnetlib", "xmlrpc", "asyncio", "webbrowser",
    "httpx", "httpx2", "httpcore", "httpcore2", "h11", "h2", "requests", "urllib3", "aiohttp", "anyio", "trio", "curio",
    "pycurl", "websockets", "websocket", "grpc", "boto3", "paramiko", "zmq", "huggingface_hub", "hf_xet", "hf_transfer",
    "fsspec", "transformers", "PySide6.QtNetwork", "PySide6.QtWebSockets", "PySide6.QtWebEngineCore",
    "PySide6.QtWebEngineWidgets",
}  # fmt: skip
"""Modules of the standard library and others that can open a connection to another machine, or have one opened."""
ALLOWED = {
    LIBRARY / "network.py": {"httpx"},  # the one place, with the next three
    LIBRARY / "transport.py": {"httpx", "httpcore", "ssl"},
    LIBRARY / "connection.py": {"httpcore", "ssl"},
    LIBRARY / "proxy.py": {"httpx", "urllib.request"},
    LIBRARY / "hub.py": {"httpx"},  # names of types, see below
    LIBRARY / "answers.py": {"httpx"},
    LIBRARY / "download.py": {"httpx"},
    Path("app/inglenook/ui/app.py"): {"socket"},  # a pair of sockets within the process, see below
}
FOR_TYPES_ONLY = {LIBRARY / name for name in ("hub.py", "answers.py", "download.py")}
CLIENTS = {"Client", "AsyncClient", "HTTPTransport", "AsyncHTTPTransport", "Listener", "urlopen", "create_connection"}
LOCAL = {"Client(address, _FAMILY)", "Listener(address, _FAMILY, backlog=16)"}
"""Calls of the engine's transport: `_FAMILY` is a pipe or a Unix socket, and AF_INET may stand nowhere."""


def sources() -> list[Path]:
    return [p.relative_to(ROOT) for folder in ("app", "converter") for p in sorted((ROOT / folder).rglob("*.py"))]


def imported(tree: ast.AST) -> set[str]:
    """Every module that could be imported, also by name."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = ast.unparse(node.func).rpartition(".")[2]
            if function in ("import_module", "__import__", "find_spec"):
                names.add(str(node.args[0].value))
    return names


def without_types(tree: ast.Module) -> ast.Module:
    tree.body = [n for n in tree.body if not (isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")]
    return tree


def bypasses(source: str, path: Path) -> set[str]:
    """What in a module could reach the network past `network`."""
    tree = ast.parse(source)
    dangerous = {m for m in imported(tree) for d in MAKES_CONNECTIONS if m == d or m.startswith(d + ".")}
    found = {m for m in dangerous if not any(m == a or m.startswith(a + ".") for a in ALLOWED.get(path, ()))}
    if path in FOR_TYPES_ONLY:
        found |= imported(without_types(tree)) & {"httpx"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "socket":
            if path.name == "app.py" and node.attr != "socketpair":
                found.add(f"socket.{node.attr}")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in CLIENTS:
            local = path == Path("app/inglenook/engine/transport.py") and ast.unparse(node) in LOCAL
            if not local and path not in (LIBRARY / "network.py", LIBRARY / "transport.py"):
                found.add(ast.unparse(node.func))
        elif isinstance(node, ast.Constant) and node.value in ("AF_INET", "curl", "wget"):
            found.add(str(node.value))
    return found


def test_no_module_can_reach_the_network_past_the_one_place() -> None:
    files = sources()
    assert len(files) > 100
    assert {str(p): b for p in files if (b := bypasses((ROOT / p).read_text("utf-8"), p))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import httpx",
        "def f():\n    import urllib.request as u",
        "from http import client",
        "from urllib.request import urlopen",
        "import socket",
        "import importlib\nimportlib.import_module('requests')",
        "__import__('socket')",
        "from PySide6.QtNetwork import QNetworkAccessManager",
        "from PySide6 import QtNetwork",
        "import hf_xet",
        "import asyncio.streams",
        "from x import y\ny.Client()",
        "from multiprocessing.connection import Listener\nListener(('', 1), 'AF_INET')",
        "import subprocess\nsubprocess.run(['curl', x])",
    ],
)
def test_a_bypass_would_be_found(source: str) -> None:
    assert bypasses(source, Path("app/inglenook/ui/new.py"))
    assert bypasses("import httpx\nfrom typing import TYPE_CHECKING", LIBRARY / "download.py")
    assert bypasses("import socket\nsocket.create_server(1)", Path("app/inglenook/ui/app.py"))


def test_the_start_of_the_program_imports_no_http() -> None:
    script = (
        "import sys, inglenook.bootstrap, inglenook.library.remote.downloads\n"
        "print([m for m in ('httpx', 'httpcore', 'ssl', 'certifi', 'http.client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


WATCHED = """
import json, sys
from pathlib import Path
seen = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        seen.append([event, arguments[1][0] if event != "socket.getaddrinfo" else arguments[0]])
sys.addaudithook(watch)
from tests.library.fetching import Client
from inglenook.core.errors import UserError
from inglenook.library.remote.hub import RemoteFile
folder, endpoint, allowed, file = json.loads(sys.argv[1])
class At: pass
At.endpoint = endpoint
client = Client(Path(folder), At)
client.allowed = allowed
try:
    client.fetch(RemoteFile(*file))
    said = "fetched"
except UserError as error:
    said = str(error)
print(json.dumps([said, sorted({host for _, host in seen})]))
"""


@pytest.mark.parametrize("allowed", [False, True])
def test_what_the_interpreter_itself_saw(client: Client, hub: LoopbackHub, file: RemoteFile, allowed: bool) -> None:
    """Python's own audit of sockets in a process that downloads: none, or only to the named host."""
    row = [file.repository, file.revision, file.name, file.size, file.digest]
    here = hub.store.replace("localhost", "127.0.0.1")
    hub.always = Fault(headers=(("Location", f"{here}/{file.name}"),), where="hub")
    argument = json.dumps([str(client.folder), hub.endpoint, allowed, row])
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, argument], cwd=ROOT, capture_output=True, text=True, check=False
    )
    said, hosts = json.loads(done.stdout)
    assert (said == "fetched") is allowed, done.stderr
    assert hosts == (["127.0.0.1"] if allowed else [])
    assert bool(hub.seen) is allowed


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
