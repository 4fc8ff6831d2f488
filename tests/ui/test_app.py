"""The program's window from start to end, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, threading
from pathlib import Path
from inglenook.core.paths import Paths
from inglenook.core.settings import Settings
from inglenook.library.remote.access_token import AccessToken
from inglenook.ui.app import run
from PySide6.QtCore import QTimer
from tests.ui.doubles import MemoryChats, MemoryModels
from tests.ui.shelf import MemoryShelf

base = Path(sys.argv[1])
paths = Paths(*(base / name for name in ("data", "config", "cache", "logs", "run")))
paths.create()
chats = MemoryChats()
QTimer.singleShot(0, lambda: print("running", flush=True))
settings = Settings(paths.settings)
code = run(chats, MemoryModels(), MemoryShelf(), AccessToken(settings), settings, paths)
late = ("pygments", "markdown_it", "httpx", "keyring", "inglenook.ui.dialogs.models")
lazy = [name for name in late if name in sys.modules]
print("ended", code, len(chats.listeners), lazy, threading.active_count(), flush=True)
"""


@pytest.fixture
def program(tmp_path: Path) -> subprocess.Popen[str]:
    """The window, shown, with conversations in memory."""
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=Path(__file__).parents[2])


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGTERM to handle")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_the_window_in_order(
    program: subprocess.Popen[str], number: signal.Signals, tmp_path: Path
) -> None:
    assert program.stdout is not None
    assert program.stdout.readline() == "running\n"
    program.send_signal(number)
    out, _ = program.communicate(timeout=60)
    # nothing that the first paint does not need was imported
    assert out == "ended 0 0 [] 1\n"
    assert program.returncode == 0
    assert (tmp_path / "config" / "window.json").is_file()
