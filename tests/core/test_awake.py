"""The machine stays awake as long as a job runs; with a stub in place of the system's program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from inglenook.core import awake
from inglenook.core.awake import Awake

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a stub program of Unix")

STUB = """#!/bin/sh
echo "$$ $*" >> "{told}"
while [ $# -gt 1 ]; do shift; done
exec "$1"
"""


class Stub:
    """A program that writes down how it was started and runs its last argument, which is all that the real one does."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._told = folder / "told"
        name = awake.inhibitor(sys.platform)[0]
        (folder / name).write_text(STUB.format(told=self._told))
        (folder / name).chmod(0o700)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def starts(self) -> list[tuple[int, str]]:
        lines = self._told.read_text().splitlines() if self._told.exists() else []
        return [(int(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in lines]

    def running(self) -> list[int]:
        return [pid for pid, _ in self.starts() if runs(pid)]


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    return Stub(tmp_path, monkeypatch)


def test_from_the_first_job_to_the_end_of_the_last(stub: Stub):
    held = Awake(lambda: True, delay=0.0)
    held.set("download", busy=True)
    wait_until(lambda: bool(stub.running()))
    ((_, arguments),) = stub.starts()
    assert arguments.split(" ") == " ".join(awake.inhibitor(sys.platform)[1:]).split(" ")
    held.set("answer", busy=True)
    held.set("download", busy=True)
    held.set("download", busy=False)
    assert len(stub.running()) == 1
    held.set("answer", busy=False)
    assert stub.running() == []
    held.set("answer", busy=False)
    held.set("answer", busy=True)
    wait_until(lambda: len(stub.running()) == 1)
    held.close()
    assert stub.running() == []
    assert len(stub.starts()) == 2


def test_a_short_job_starts_nothing(stub: Stub):
    held = Awake(lambda: True)
    held.set("answer", busy=True)
    timer = held._timer
    assert timer is not None
    held.set("answer", busy=False)
    timer.join()
    assert stub.starts() == []


def test_nothing_is_held_unless_it_is_wanted(stub: Stub):
    wanted = [False]
    held = Awake(lambda: wanted[0], delay=0.0)
    held.set("answer", busy=True)
    assert held._timer is None
    wanted[0] = True
    held.set("answer", busy=True)
    wait_until(lambda: len(stub.running()) == 1)
    wanted[0] = False
    held.set("answer", busy=True)
    assert stub.running() == []
    assert len(stub.starts()) == 1
    held.close()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_a_program_that_is_killed(end: signal.Signals, stub: Stub):
    code = """
import time
from inglenook.core.awake import Awake
held = Awake(lambda: True, delay=0.0)
held.set("answer", busy=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as program:
        wait_until(lambda: len(stub.running()) == 1)
        program.send_signal(end)
        program.wait()
    wait_until(lambda: not stub.running())


def test_a_program_that_refuses_is_noted_and_that_is_all(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(awake, "inhibitor", lambda _: [awake_program(), "false"])
    held = Awake(lambda: True, delay=0.0)
    held.set("answer", busy=True)
    wait_until(lambda: bool(stub.starts()) and not stub.running())
    with caplog.at_level("INFO"):
        held.set("answer", busy=False)
    assert "could sleep" in caplog.text


def awake_program() -> str:
    return "caffeinate" if sys.platform == "darwin" else "systemd-inhibit"


def test_a_system_without_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level("INFO"):
        assert awake.hold_awake() is None
    assert "may sleep" in caplog.text


def test_commands_of_the_systems():
    assert awake.inhibitor("darwin") == ["caffeinate", "-i", "cat"]
    assert awake.inhibitor("linux")[:3] == ["systemd-inhibit", "--what=idle:sleep", "--mode=block"]
    assert awake.inhibitor("linux")[-1] == "cat"
