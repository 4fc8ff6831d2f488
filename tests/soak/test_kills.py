"""The tests that kill programs in the middle of an answer or of a copy, hundreds of times instead of a few."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 150


@pytest.mark.parametrize(
    "tests",
    [
        "tests/store/test_writer.py",
        "tests/chat/test_kill.py",
        "tests/library/files/test_transfer_kills.py",
        "tests/library/files/test_checkpoints.py",
    ],
)
def test_hundreds_of_kills(tests: str) -> None:
    environment = {**os.environ, "INGLENOOK_KILLS": str(KILLS)}
    command = [sys.executable, "-m", "pytest", "-q", "-k", "kill", "-o", "timeout=3600", tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout
