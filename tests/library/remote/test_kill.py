"""A program that is killed at any moment of a download: the next start goes on, from exactly what was noted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.library.fetching import some_bytes
from tests.library.hub import Fault, LoopbackHub

from inglenook.library.remote.jobs import Job, JobFolder, target_of
from inglenook.library.remote.part import bytes_noted

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("INGLENOOK_KILLS", "3"))
"""How often; `make soak` asks for more."""
SIZE = 3_000_000
SECONDS = 2.5  # that the download takes at the pace below, once it runs


def start(folder: Path, hub: LoopbackHub) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.library.kill_child", str(folder), hub.endpoint]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def kill_at_a_random_moment(child: subprocess.Popen[str], target: Path, chance: random.Random, sure: bool) -> None:
    """Any moment after the start; or, often and if it must be `sure`, after some more has been noted as arrived."""
    noted = bytes_noted(target)
    if sure or chance.random() < 0.5:
        while child.poll() is None and bytes_noted(target) <= noted:
            time.sleep(0.005)
    time.sleep(chance.uniform(0, SECONDS / 2))
    child.send_signal(signal.SIGKILL)


@pytest.mark.timeout(1800)
def test_killed_at_any_moment(tmp_path: Path) -> None:
    chance = random.Random(KILLS)
    killed, rounds, continued = 0, 0, 0
    with LoopbackHub() as hub:
        hub.always = Fault(drip=(60_000, SECONDS / (SIZE / 60_000)))
        file = hub.add("model.gguf", some_bytes(SIZE))
        target = target_of(tmp_path / "models", file)
        jobs = JobFolder(tmp_path / "models" / ".downloads")
        while killed < KILLS or jobs.read():
            if not jobs.read():
                target.unlink(missing_ok=True)
                jobs.write(Job("A model", (file,)))
                rounds += 1
            noted, asked = bytes_noted(target), len(hub.requests())
            child = start(tmp_path, hub)
            if killed < KILLS:
                kill_at_a_random_moment(child, target, chance, sure=killed == 0)
            assert child.stdout is not None
            child.stdout.close()
            code = child.wait()
            assert code in (0, -signal.SIGKILL)
            killed += code == -signal.SIGKILL
            if len(hub.requests()) > asked:
                assert hub.requests()[asked].headers.get("Range") == (f"bytes={noted}-" if noted else None)
                continued += noted > 0
            assert not target.exists() or target.read_bytes() == hub.files[file.name]
    assert target.exists()
    assert killed == KILLS
    assert continued > 0
    print(f"killed {killed} times in {rounds} downloads; {continued} starts went on from what was there")
