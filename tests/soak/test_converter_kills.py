"""Conversions stopped at random moments, hundreds of times instead of a few."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
KILLS = 70  # of each of three signals


def test_hundreds_of_kills() -> None:
    environment = {**os.environ, "INGLENOOK_KILLS": str(KILLS)}
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-o", "timeout=3600"]
    command += ["tests/converter/test_kill.py", "-k", "killed_at_any_moment"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print("\n".join(done.stdout.splitlines()[-6:]))
    assert done.returncode == 0, done.stdout
