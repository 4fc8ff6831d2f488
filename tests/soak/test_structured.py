"""A thousand answers by a schema at temperature 1 instead of some."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ANSWERS = 1000


def test_a_thousand_answers() -> None:
    environment = {**os.environ, "INGLENOOK_ANSWERS": os.environ.get("INGLENOOK_ANSWERS", str(ANSWERS))}
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-o", "timeout=7200", "tests/chat/test_structured.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print("\n".join(done.stdout.splitlines()[-6:]))
    assert done.returncode == 0, done.stdout
