"""The engine killed, aborted, hung or out of memory at any moment, two hundred times instead of eight."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAULTS = 200


def test_hundreds_of_faults_of_the_engine() -> None:
    environment = {**os.environ, "INGLENOOK_FAULTS": str(FAULTS)}
    command = [sys.executable, "-m", "pytest", "-q", "-s", "--tb=short", "--show-capture=no", "-o", "timeout=3600"]
    command.append("tests/chat/test_engine_faults.py")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout.strip())
    # Which fault it was stands first; the events that were heard, which follow, are long.
    assert done.returncode == 0, f"{done.stdout[:4000]}\n...\n{done.stdout[-1000:]}"
