"""The real program as a child process, with a home of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Program = Callable[..., "subprocess.CompletedProcess[str]"]
COMMAND = (sys.executable, "-m", "inglenook")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all that the program keeps; short, since the engine's socket is in it. Answers are the likeliest."""
    folder = tmp_path_factory.mktemp("h")
    (folder / "config").mkdir()
    (folder / "config" / "settings.json").write_text('{"temperature": 0.0}')
    return folder


@pytest.fixture(scope="session")
def environment(home: Path) -> dict[str, str]:
    """The variables of the child process: no display, no language but English."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return {**kept, "INGLENOOK_HOME": str(home), "TERM": "dumb", "LANGUAGE": "en", "PYTHONUTF8": "1"}


@pytest.fixture(scope="session")
def program(environment: dict[str, str]) -> Program:
    """Runs `inglenook` with those arguments, and `input` on its standard input."""

    def run(*arguments: str | Path, input: str = "") -> subprocess.CompletedProcess[str]:  # noqa: A002 - as in subprocess
        command = [*COMMAND, *map(str, arguments)]
        return subprocess.run(command, input=input, capture_output=True, text=True, env=environment, timeout=240)

    return run


@pytest.fixture(scope="session")
def spoiled(tmp_path_factory: pytest.TempPathFactory, demo_gguf: Path) -> dict[str, Path]:
    """Files that are no models: one for each way to be wrong."""
    folder = tmp_path_factory.mktemp("spoiled")
    whole = demo_gguf.read_bytes()
    contents = {
        "text": b"This is not a model.\n" * 100,
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "header": whole[:64],
        "other": whole.replace(b"gpt-oss", b"gpt-xss"),
    }
    files = {name: folder / f"{name}.gguf" for name in contents}
    for name, file in files.items():
        file.write_bytes(contents[name])
    return {**files, "missing": folder / "missing.gguf", "folder": folder}
