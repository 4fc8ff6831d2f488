"""No way to the network but the gate in `library.remote`: by the source of every module of the program.

A sentence for who comes here since a test failed: a new module is to be put among the `HARMLESS` of `permits` if it
cannot open a connection, start a program or load a library; what can needs a permit with a reason, or another way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.core.gate import Source, findings, parsed, read
from tests.core.permits import HARMLESS, PERMITS

from inglenook.library.remote.network import PURPOSES, Network, NetworkForbidden
from inglenook.library.remote.traffic import Traffic
from inglenook.library.remote.transport import GuardedTransport

ROOT = Path(__file__).parents[2]
REMOTE = "app/inglenook/library/remote/"


@pytest.fixture(scope="module")
def project() -> dict[str, Source]:
    return read(ROOT)


def test_no_module_has_a_way_past_the_gate(project: dict[str, Source]) -> None:
    assert len(project) > 200
    found = {one.path: sorted(ways) for one in project.values() if (ways := findings(one, project))}
    assert found == {}, "see the head of this file"


def test_each_permit_is_of_a_module_that_needs_it(project: dict[str, Source]) -> None:
    """None is left over, under which something could come in later."""
    assert set(PERMITS) <= {one.path for one in project.values()}
    assert all(permit.reason for permit in PERMITS.values())
    needless = [path for path in PERMITS if not findings(parsed_without_permit(path), project)]
    assert needless == []


def parsed_without_permit(path: str) -> Source:
    return parsed(f"{path.rpartition('/')[0]}/another.py", (ROOT / path).read_text("utf-8"))


def test_each_permitted_name_is_used(project: dict[str, Source]) -> None:
    """Also of the names none is left over; ctypes' types are counted as one."""
    for path, permit in PERMITS.items():
        text = (ROOT / path).read_text("utf-8")
        unused = [use for use in permit.uses if not use.startswith("ctypes.") and use.rpartition(".")[2] not in text]
        assert unused == [], path


BYPASSES = [
    # another client, another protocol
    "import httpx\nhttpx.get(x)",
    "import socket",
    "def f():\n    import urllib.request as u\n    u.urlopen(x)",
    "from http import client",
    "import http.client",
    "import ssl",
    "import httpcore",
    "import requests",
    "import urllib3",
    "import aiohttp",
    "import huggingface_hub",
    "import hf_xet",
    "import websockets",
    "import ftplib",
    "import smtplib",
    "import xmlrpc.client",
    "import asyncio\nasyncio.open_connection(x, 1)",
    "from asyncio import streams",
    "import webbrowser",
    "import _socket",
    "import socketserver",
    "import a_library_that_nobody_has_heard_of",
    "import logging.handlers\nlogging.handlers.HTTPHandler(x, y)",
    "from logging.handlers import SocketHandler",
    "from logging.config import listen",
    "import numpy as np\nnp.DataSource().open(x)",
    "import numpy as np\nnp.genfromtxt(x)",
    "import xml.sax",
    "from multiprocessing.managers import BaseManager",
    "from multiprocessing.connection import Listener\nListener(('', 1), 'AF_INET')",
    "import multiprocessing.connection as c\nc.Client(x)",
    "import llama_cpp\nllama_cpp.Llama.from_pretrained(x)",
    "import keyring",
    # Qt
    "from PySide6.QtNetwork import QNetworkAccessManager",
    "from PySide6 import QtNetwork",
    "import PySide6.QtWebEngineWidgets",
    "from PySide6 import QtWebSockets",
    "from PySide6.QtQml import QQmlApplicationEngine",
    "from PySide6.QtMultimedia import QMediaPlayer",
    "from PySide6.QtCore import QProcess\nQProcess.startDetached(x)",
    "from PySide6 import QtCore\nQtCore.QProcess(x)",
    "from PySide6.QtGui import QDesktopServices",
    "label.setOpenExternalLinks(True)",
    # other programs, other libraries
    "import subprocess\nsubprocess.run(['curl', x])",
    "import os\nos.system('wget ' + x)",
    "from os import popen as p",
    "import os\nos.execvp(x, y)",
    "import os\nos.posix_spawn(x, y, z)",
    "import os\nos.startfile(x)",
    "import os\ngetattr(os, 'system')(x)",
    "import os\ngetattr(os, name)(x)",
    "import os\nvars(os)['system'](x)",
    "import os\nos.__dict__['system'](x)",
    "from os import *",
    "import operator, os\noperator.attrgetter('system')(os)",
    "import pty",
    "import ctypes\nctypes.CDLL('libcurl.so.4')",
    "from ctypes import cdll",
    "import ctypes.util",
    "import cffi",
    "import sqlite3\nsqlite3.connect(x).load_extension(y)",
    "command = ['/usr/bin/curl', x]",
    "command = f'curl -o {x} {y}'",
    # by name
    "import importlib\nimportlib.import_module('requests')",
    "import importlib\nimportlib.import_module('sock' + 'et')",
    "from importlib import import_module as im\nim(x)",
    "__import__('socket')",
    "__import__(x)",
    "import builtins\nbuiltins.__import__(x)",
    "import sys\nsys.modules['httpx'].get(x)",
    "import sys\nsys.modules.get(x)",
    "exec(x)",
    "eval(x)",
    "import runpy",
    "import pkgutil",
    "f.__globals__['x']",
    "().__class__.__base__.__subclasses__()",
    # through what others have imported
    "import shutil\nshutil.os.system(x)",
    "import platform\nplatform.subprocess.run(x)",
    "import psutil\npsutil.socket.create_connection(x)",
    "import urllib.parse\nurllib.request.urlopen(x)",
    "from inglenook.library.remote.transport import httpx",
    "from inglenook.library.remote.transport import ssl as s",
    "from inglenook.library.remote import transport\ntransport.httpx.get(x)",
    "from ..library.remote.proxy import urllib",
    "import inglenook.library.remote.proxy as p\np.urllib.request.urlopen(x)",
    "from inglenook.library.remote.connection import httpcore",
    "from inglenook.library.remote.transport import *",
    "from inglenook.ui.app import socket",
    # the gate, with another switch
    "from inglenook.library.remote.network import Network\nNetwork(traffic, lambda: True)",
    "from inglenook.library.remote import network\nnetwork.Network(traffic, bool)",
    "from inglenook.library.remote.transport import GuardedTransport\nGuardedTransport(free, x, y)",
    "from inglenook.library.remote import connection\nconnection.Backend(x).connect_tcp(y, 1)",
    "from inglenook.core.settings import ALLOW_NETWORK\nsettings.set(ALLOW_NETWORK, True)",
    "from inglenook.core import settings as s\ns.ALLOW_NETWORK",
]


@pytest.mark.parametrize("text", BYPASSES)
def test_a_bypass_in_a_new_module_is_found(text: str, project: dict[str, Source], tmp_path: Path) -> None:
    new = tmp_path / "app/inglenook/ui/new.py"
    new.parent.mkdir(parents=True)
    new.write_text(f'"""New."""\n\nfrom __future__ import annotations\n\n{text}\n', "utf-8")
    (one,) = read(tmp_path).values()
    assert findings(one, {**project, one.module: one})


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (REMOTE + "network.py", "httpx.get(x)"),
        (REMOTE + "network.py", "httpx.stream('GET', x)"),
        (REMOTE + "network.py", "httpx.Client()"),
        (REMOTE + "network.py", "httpx.Client(trust_env=False, transport=GuardedTransport(self, purpose))"),
        (REMOTE + "network.py", "import socket"),
        (REMOTE + "network.py", "get = getattr(httpx, 'get')"),
        (REMOTE + "network.py", "vars(httpx)['get']"),
        (REMOTE + "proxy.py", "urllib.request.urlopen(x)"),
        (REMOTE + "proxy.py", "httpx.get(x)"),
        (REMOTE + "transport.py", "httpcore.ConnectionPool()"),
        (REMOTE + "transport.py", "httpcore.HTTPProxy(x, network_backend=None)"),
        (REMOTE + "transport.py", "httpcore.SyncBackend()"),
        (REMOTE + "transport.py", "httpcore.request('GET', x)"),
        (REMOTE + "connection.py", "httpcore.ConnectionPool()"),
        (REMOTE + "connection.py", "import socket"),
        (REMOTE + "transport.py", "httpx.Client()"),
        (REMOTE + "transport.py", "httpx.HTTPTransport()"),
        (REMOTE + "transport.py", "ssl.get_server_certificate(x)"),
        (REMOTE + "download.py", "import httpx"),
        (REMOTE + "hub.py", "Network(self.network.traffic, lambda: True)"),
        ("app/inglenook/bootstrap.py", "Network(traffic, lambda: True)"),
        ("app/inglenook/ui/app.py", "socket.create_connection(x)"),
        ("app/inglenook/ui/app.py", "socket.socket()"),
        ("app/inglenook/ui/main_window.py", "from PySide6.QtCore import QProcess"),
        ("app/inglenook/engine/transport.py", "Client(x)"),
        ("app/inglenook/engine/transport.py", "socket.socket()"),
        ("app/inglenook/engine/transport.py", "Listener(('127.0.0.1', 0), 'AF_INET')"),
        ("app/inglenook/engine/host.py", "Listener(x)"),
        ("app/inglenook/engine/launch.py", "subprocess.getoutput(x)"),
        ("app/inglenook/engine/launch.py", "subprocess.run(['curl', x])"),
        ("app/inglenook/engine/launch.py", "subprocess.run([sys.executable, '-c', x])"),
        ("app/inglenook/engine/launch.py", "subprocess.run([sys.executable, '-m', 'http.server'])"),
        ("app/inglenook/core/awake.py", "subprocess.run(['git', 'clone', x])"),
        ("app/inglenook/cli/doctor.py", "import importlib\nimportlib.import_module(x)"),
        ("app/inglenook/cli/doctor.py", "ctypes.windll.wininet.InternetOpenW(x)"),
        ("app/inglenook/engine/llama/library.py", "libggml.ggml_backend_rpc_init(x)"),
        ("app/inglenook/engine/llama/library.py", "llama_cpp.Llama.from_pretrained(x)"),
        ("app/inglenook/engine/llama/context.py", "ctypes.CDLL('libcurl.so.4').curl_easy_init()"),
        ("converter/inglenook_convert/write.py", "ctypes.CDLL(None).connect(x, y, z)"),
        ("converter/inglenook_convert/write.py", "ctypes.CDLL(None, use_errno=True).connect(x, y, z)"),
        ("converter/inglenook_convert/processes.py", "multiprocessing.Manager()"),
    ],
)
def test_a_permit_is_for_what_it_names(path: str, text: str, project: dict[str, Source]) -> None:
    source = (ROOT / path).read_text("utf-8")
    assert not findings(parsed(path, source), project)
    assert findings(parsed(path, f"{source}\n{text}\n"), project)


@pytest.mark.parametrize(
    "text",
    [
        '"""How curl does it, and wget."""\nimport os, re\nre.compile(os.path.join("a", "b"))',
        "from inglenook.library.remote.network import Network\ndef f(network: Network) -> None: ...",
        "from PySide6.QtCore import Signal\nx.clicked.connect(f)",
        "import urllib.parse\nurllib.parse.quote(x)",
    ],
)
def test_what_is_harmless_is_not_found(text: str, project: dict[str, Source]) -> None:
    assert findings(parsed("app/inglenook/ui/new.py", text), project) == set()


def test_every_client_is_guarded_whatever_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    network = Network(Traffic(tmp_path / "network.jsonl"), lambda: False)
    for purpose in PURPOSES:
        with network.client(purpose) as client:
            mounts: dict[Any, Any] = client._mounts
            assert type(client._transport) is GuardedTransport
            assert mounts == {}
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"):
                with pytest.raises(NetworkForbidden):
                    client.request(method, "http://127.0.0.1:1/")
            with pytest.raises(NetworkForbidden), client.stream("GET", "https://127.0.0.1:1/"):
                pass
    assert network.traffic.requests() == []


def test_the_harmless_are_no_way_out() -> None:
    """A slip of the list itself."""
    assert not HARMLESS & {"socket", "ssl", "http", "httpx", "subprocess", "ctypes", "asyncio", "importlib", "urllib"}
