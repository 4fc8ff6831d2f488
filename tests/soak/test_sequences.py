"""A thousand sequences of what people do in chats, on the engine's cache, instead of some."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEQUENCES = 1000


def test_a_thousand_sequences() -> None:
    environment = {**os.environ, "INGLENOOK_SEQUENCES": os.environ.get("INGLENOOK_SEQUENCES", str(SEQUENCES))}
    command = [sys.executable, "-m", "pytest", "-q", "--show-capture=no", "-o", "timeout=7200"]
    command += ["-k", "any_sequence", "tests/engine/test_sequences.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout
