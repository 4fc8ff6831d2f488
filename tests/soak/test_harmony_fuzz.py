"""A million random streams through the harmony parser instead of some thousand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STREAMS = 1_000_000


def test_a_million_streams() -> None:
    environment = {**os.environ, "INGLENOOK_STREAMS": os.environ.get("INGLENOOK_STREAMS", str(STREAMS))}
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-o", "timeout=7200", "tests/harmony/test_fuzz.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print("\n".join(done.stdout.splitlines()[-6:]))
    assert done.returncode == 0, done.stdout
