"""The whole program, from the first start to an answer, with no network there and each of its sockets looked at."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("drive.py")
SOCKET = re.compile(r"\b(?:socket|socketpair)\((\w+),")
ADDRESS = re.compile(r"\bsa_family=(\w+)")
LOCAL = {"AF_UNIX", "AF_UNSPEC"}

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="strace and namespaces of Linux")


def without_network() -> list[str]:
    """What begins a command in a network namespace of its own, which has no route, not even loopback."""
    for command in (["unshare", "-n"], ["unshare", "-rn"]):
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    pytest.skip("no right to make a network namespace here")


def traced(
    command: list[str], folder: Path, before: list[str]
) -> tuple[subprocess.CompletedProcess[str], Counter[str]]:
    """Runs `command` with all its children; how often each family of addresses was used."""
    log = folder / "calls"
    strace = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=socket,socketpair,connect,bind,sendto,sendmsg"]
    if not shutil.which("strace") or subprocess.run([*strace, "true"], capture_output=True).returncode:
        pytest.skip("strace is missing, or has no right to trace here")
    home = {"INGLENOOK_HOME": str(folder / "home"), "QT_QPA_PLATFORM": "offscreen", "LANG": "C.UTF-8"}
    done = subprocess.run(
        [*before, *strace, *command],
        env={**os.environ, **home},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    calls = log.read_text("utf-8", "replace")
    return done, Counter(SOCKET.findall(calls) + ADDRESS.findall(calls))


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, str(DRIVER), "ask_and_stop"],
        [sys.executable, "-m", "inglenook", "ask", "Hello!", "--temperature", "0"],
    ],
    ids=["window", "ask"],
)
def test_first_start_conversion_and_chat_use_local_sockets_only(command: list[str], tmp_path: Path) -> None:
    done, families = traced(command, tmp_path, without_network())
    assert done.returncode == 0, done.stderr
    assert "Hello!" in done.stdout
    assert set(families) <= LOCAL, families
    assert families["AF_UNIX"] > 0, "the engine is spoken to through sockets: the trace saw nothing"


def test_the_trace_would_show_another(tmp_path: Path) -> None:
    """The control: a grandchild that asks for a name and a page."""
    code = "import socket; socket.socket(); socket.getaddrinfo('localhost', 80, type=socket.SOCK_STREAM)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    _, families = traced([sys.executable, "-c", script], tmp_path, [])
    assert families["AF_INET"] > 0
