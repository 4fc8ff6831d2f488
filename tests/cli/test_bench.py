from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import COMMAND, Program

SMALL = ("--prefill", "16", "--decode", "8")


def test_bench(program: Program, demo_gguf: Path) -> None:
    done = program("bench", demo_gguf)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    for way in ("raw", "path"):
        assert found[way]["prefill_tps"] > 0
        assert found[way]["decode_tps"] > 0
    for what in ("prefill", "decode"):
        assert found["ratio"][what] > 0
    assert (found["pairs"], found["prefill_tokens"], found["decode_tokens"]) == (10, 512, 128)


def test_options(program: Program, demo_gguf: Path) -> None:
    found = json.loads(program("bench", demo_gguf, "--pairs", "2", *SMALL).stdout)
    assert (found["pairs"], found["prefill_tokens"], found["decode_tokens"]) == (2, 16, 8)


@pytest.mark.parametrize("option", ["--pairs", "--prefill", "--decode"])
def test_too_little_to_measure(program: Program, demo_gguf: Path, option: str) -> None:
    done = program("bench", demo_gguf, option, "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert option in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals, and no signal to a child alone")
def test_ctrl_c_ends_it_with_a_sentence(environment: dict[str, str], demo_gguf: Path) -> None:
    ours, theirs = os.openpty()
    shown = b""
    command = [*COMMAND, "bench", str(demo_gguf), "--pairs", "1000000", *SMALL]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as running:
        os.close(theirs)
        try:
            while b"Pair 3 of 1000000" not in shown:
                shown += os.read(ours, 1000)
            running.send_signal(signal.SIGINT)
            with contextlib.suppress(OSError):  # as Linux tells that nobody writes any more
                while more := os.read(ours, 1000):
                    shown += more
            assert running.communicate(timeout=60)[0] == b""
        finally:
            running.kill()
            os.close(ours)
    assert running.returncode == 130
    assert shown.decode().splitlines()[-1] == "Stopped before the end, so there are no figures."
    assert b"Traceback" not in shown


def test_no_such_file(program: Program, tmp_path: Path) -> None:
    done = program("bench", tmp_path / "none.gguf")
    assert (done.returncode, done.stdout) == (2, "")
    assert "none.gguf" in done.stderr
    assert done.stderr.count("\n") == 1
