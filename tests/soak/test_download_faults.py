"""Downloads cut at a hundred random bytes and killed at fifty random moments, instead of a few."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CUTS = 100
KILLS = 50


@pytest.mark.parametrize(
    ("tests", "chosen", "variable", "count"),
    [
        ("tests/library/remote/test_download.py", "cut_at_random_bytes", "INGLENOOK_CUTS", CUTS),
        ("tests/library/remote/test_kill.py", "killed_at_any_moment", "INGLENOOK_KILLS", KILLS),
    ],
)
def test_many(tests: str, chosen: str, variable: str, count: int) -> None:
    environment = {**os.environ, variable: str(count)}
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-o", "timeout=3600", tests, "-k", chosen]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print("\n".join(done.stdout.splitlines()[-3:]))
    assert done.returncode == 0, done.stdout
