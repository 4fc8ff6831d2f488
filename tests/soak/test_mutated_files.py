"""Ten thousand damaged model files instead of a few."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COUNT = 10_000


def test_ten_thousand() -> None:
    seed = str(random.SystemRandom().randrange(1 << 30))
    environment = {**os.environ, "INGLENOOK_MUTATIONS": str(COUNT), "INGLENOOK_SEED": seed}
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-o", "timeout=12000", "tests/engine/test_mutated.py"]
    done = subprocess.run(
        [*command, "-k", "no_mutated_file"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    print("\n".join(done.stdout.splitlines()[-3:]))
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}"
