"""No way to the network but the gate: what Python itself saw in processes of the program, and what they had loaded."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.library.fetching import Client, some_bytes
from tests.library.hub import Fault, LoopbackHub

from inglenook.library.remote.hub import RemoteFile

ROOT = Path(__file__).parents[2]

AUDITED = """
import json, os, sys
LOUD = ("socket.", "subprocess.", "os.exec", "os.spawn", "os.posix_spawn", "os.system", "os.startfile", "os.fork",
        "pty.spawn", "_winapi.CreateProcess", "ctypes.dlopen", "urllib.Request", "http.client.", "ftplib.", "smtplib.",
        "poplib.", "imaplib.", "telnetlib.", "webbrowser.open", "asyncio.")
seen, watching = [], False
def words(what):
    return [words(one) for one in what] if isinstance(what, tuple | list) else \\
        what if isinstance(what, str | int | float | None) else os.fsdecode(what) if isinstance(what, bytes) else \\
        type(what).__name__
def watch(event, arguments):
    if watching and event.startswith(LOUD):
        seen.append([event, *(words(one) for one in arguments)])
sys.addaudithook(watch)
"""
LIBRARY = (
    AUDITED
    + """
import tempfile, threading
from dataclasses import replace
from pathlib import Path
import httpx, certifi, inglenook.library.remote.transport  # what they load is not what is looked at
from tests.library.fetching import Client
from tests.library.test_shelf import Program
from inglenook.core.errors import UserError
from inglenook.core.settings import ALLOW_NETWORK
from inglenook.library.catalogue import GPT_OSS_20B, CatalogueFile
from inglenook.library.remote.downloads import State
from inglenook.library.remote.hub import RemoteFile
from inglenook.library.shelf_events import Arrived, Offered, ShelfFailed
folder, endpoint, allowed, act, row = json.loads(sys.argv[1])
folder, file, said = Path(folder), RemoteFile(*row), []
class At: pass
At.endpoint = endpoint
watching = True
client = Client(folder / "client", At)
client.allowed = allowed
def tried(what):
    try:
        what()
        said.append("done")
    except Exception as error:
        said.append(type(error).__name__)
if act:
    tried(lambda: client.fetch(file))
    tried(lambda: client.hub.listing(file.repository))
    tried(lambda: client.hub.pinned(replace(file, digest="")))
pinned = (CatalogueFile(file.name, file.size, file.digest),)
entry = replace(GPT_OSS_20B, repository=file.repository, revision=file.revision, files=pinned)
program = Program(folder / "program", At, (entry,), [])
program.settings.set(ALLOW_NETWORK, allowed)
program.shelf.start()
program.looked()
if act:
    program.shelf.get(entry.key)
    program.state(State.FINISHED if allowed else State.FAILED)
    program.shelf.find(file.repository)
    program.until((Offered, ShelfFailed))
program.shelf.read_traffic()
program.looked()
program.shelf.close()
watching = False
print(json.dumps([said, seen]))
"""
)


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as made:
        yield made


@pytest.fixture
def file(hub: LoopbackHub) -> RemoteFile:
    return hub.add("model.gguf", some_bytes(1_000_000))


@pytest.fixture
def client(tmp_path: Path, hub: LoopbackHub) -> Client:
    return Client(tmp_path, hub)


def child(script: str, argument: object = None) -> Any:
    """What `script` printed."""
    command = [sys.executable, "-c", script, json.dumps(argument)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def seen_of(client: Client, hub: LoopbackHub, file: RemoteFile, *, allowed: bool, act: bool) -> tuple[list[str], Any]:
    row = [file.repository, file.revision, file.name, file.size, file.digest]
    for name in ("client", "program"):
        (client.folder / name).mkdir()
    said, seen = child(LIBRARY, [str(client.folder), hub.endpoint, allowed, act, row])
    return said, seen


def test_switched_off_the_library_makes_no_socket_asks_no_name_and_starts_no_program(
    client: Client, hub: LoopbackHub, file: RemoteFile
) -> None:
    said, seen = seen_of(client, hub, file, allowed=False, act=True)
    assert said == ["NetworkForbidden"] * 3
    assert seen == []
    assert hub.seen == []


def test_switched_on_it_waits_for_the_user(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    """A start, and looks at what is here, open nothing."""
    assert seen_of(client, hub, file, allowed=True, act=False) == ([], [])
    assert hub.seen == []


def test_switched_on_it_speaks_with_the_named_host_and_where_that_sends_it(
    client: Client, hub: LoopbackHub, file: RemoteFile
) -> None:
    store = hub.store.replace("localhost", "127.0.0.1")
    hub.always = Fault(headers=(("Location", f"{store}/{file.name}"),), where="hub")
    said, seen = seen_of(client, hub, file, allowed=True, act=True)
    assert said == ["done"] * 3
    kinds = {event for event, *_ in seen}
    assert {"socket.connect", "socket.getaddrinfo"} <= kinds <= {
        "socket.connect", "socket.getaddrinfo", "socket.__new__"
    }  # fmt: skip
    hosts = {tuple(args[1]) for event, *args in seen if event == "socket.connect"}
    assert hosts == {("127.0.0.1", int(url.rpartition(":")[2])) for url in (hub.endpoint, store)}
    assert {args[0] for event, *args in seen if event == "socket.getaddrinfo"} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "act",
    [
        "import socket; socket.create_connection(('127.0.0.1', 1))",
        "import socket; socket.socket().connect_ex(('127.0.0.1', 1))",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 1))",
        "import socket; socket.socket().bind(('127.0.0.1', 0))",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import socket; socket.gethostbyname('localhost')",
        "import _socket; _socket.socket()",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:1/')",
        "import http.client; http.client.HTTPConnection('127.0.0.1', 1).connect()",
        "import httpx; httpx.get('http://127.0.0.1:1/')",
        "import asyncio; asyncio.run(asyncio.open_connection('127.0.0.1', 1))",
        "import subprocess; subprocess.run([sys.executable, '--version'], capture_output=True)",
        "os.system('exit')",
        "os.popen('exit').close()",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.execv('/no/such/program', ['x'])",
        "import ctypes; ctypes.CDLL('libcurl.so.4')",
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="some of these ways are of POSIX")
def test_the_audit_would_show_another_way(act: str) -> None:
    script = f"{AUDITED}\nwatching = True\ntry:\n    {act}\nexcept Exception: pass\nprint(json.dumps(seen))"
    assert child(script)


WINDOW = (
    AUDITED
    + """
import runpy
sys.argv = ["drive.py", "ask_and_stop"]
watching = True
try:
    runpy.run_path("tests/e2e/drive.py", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
watching = False
print(json.dumps([seen, [name for name in sys.modules if name.startswith("PySide6.")]]))
"""
)
OURS = {"inglenook.engine", "inglenook_convert"}
HELD_AWAKE = {"systemd-inhibit", "caffeinate"}


@pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets, and a window without a screen")
def test_the_window_from_its_start_to_an_answer_speaks_with_its_engine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the network allowed: nobody has asked for anything that needs it."""
    monkeypatch.setenv("INGLENOOK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    seen, modules = child(WINDOW)
    assert seen, "the engine is spoken to through sockets: the audit saw nothing"
    for event, *args in seen:
        if event == "socket.__new__":
            assert args[1] == socket.AF_UNIX, args
        elif event in ("socket.connect", "socket.bind"):
            assert isinstance(args[1], str), args
        elif event == "subprocess.Popen":
            program, *rest = args[1]
            assert program in HELD_AWAKE or (program == sys.executable and OURS & set(rest)), args[1]
        else:
            assert event == "ctypes.dlopen", [event, *args]
            assert "curl" not in str(args[0])
    assert not set(NO_SUCH) & set(modules)


EVERYTHING = """
import importlib, json, pkgutil, sys
from pathlib import Path
import inglenook, inglenook_convert
sys.argv = ["inglenook"]
for package in (inglenook, inglenook_convert):
    for one in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(one.name)
from inglenook.ui.app import application
application()
maps = Path("/proc/self/maps")
loaded = {line.split("/")[-1] for line in maps.read_text().splitlines() if "/" in line} if maps.exists() else set()
print(json.dumps([sorted(sys.modules), sorted(loaded)]))
"""
NO_SUCH = (
    "requests", "urllib3", "aiohttp", "huggingface_hub", "hf_xet", "websockets", "ftplib", "smtplib", "xmlrpc",
    "socketserver", "http.server", "webbrowser", "asyncio", "multiprocessing.managers",
    *(f"PySide6.Qt{name}" for name in ("Network", "WebSockets", "WebEngineCore", "WebEngineWidgets", "WebChannel",
                                      "Qml", "Quick", "Multimedia", "RemoteObjects", "NetworkAuth", "HttpServer")),
)  # fmt: skip


def test_the_whole_program_has_no_other_transport_in_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every module is imported, and Qt is started: no other HTTP library came with them, and no network of Qt's."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    modules, libraries = child(EVERYTHING)
    assert {"httpx", "PySide6.QtWidgets", "inglenook.engine.llama.model"} <= set(modules), "it has looked at nothing"
    assert [name for name in NO_SUCH if name in modules] == []
    if sys.platform.startswith("linux"):
        assert any("Qt6Widgets" in name for name in libraries)
    words = ("qt6network", "qt6web", "qt6qml", "libcurl", "hf_xet", "libsoup", "ggml-rpc")
    assert [name for name in libraries if any(word in name.lower() for word in words)] == []
