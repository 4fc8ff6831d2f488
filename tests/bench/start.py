"""What a start costs: seconds from the command to a message field that takes keys, and the memory of both processes.

Prints one JSON object; medians of `--runs` starts with the demo model already converted. Memory is PSS (shared pages
counted in part) in MiB once the model is loaded; `mapped_model` is the part of the engine's that is the model file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

DRIVER = Path(__file__).parents[1] / "e2e" / "drive.py"


def start(home: Path) -> tuple[float, float, float, float]:
    """Seconds to a field with focus; MiB of window and engine, and of the mapped model file."""
    environment = {**os.environ, "INGLENOOK_HOME": str(home), "QT_QPA_PLATFORM": "offscreen"}
    began = time.perf_counter()
    command = [sys.executable, str(DRIVER), "stay"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as program:
        assert program.stdout is not None
        ready = json.loads(program.stdout.readline())
        seconds = time.perf_counter() - began
        assert ready["step"] == "ready"
        loaded = json.loads(program.stdout.readline())
        window = psutil.Process(program.pid).memory_full_info().pss
        engine = psutil.Process(loaded["engine"])
        total = engine.memory_full_info().pss
        mapped = sum(m.pss for m in engine.memory_maps() if m.path.endswith(".gguf"))
        program.terminate()
    return seconds, window / 2**20, total / 2**20, mapped / 2**20


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        first = start(Path(folder))
        rows = [start(Path(folder)) for _ in range(runs)]
    names = ("seconds", "window_mib", "engine_mib", "mapped_model_mib")
    medians = {name: round(statistics.median(row[i] for row in rows), 3) for i, name in enumerate(names)}
    spread = {name: [round(f(row[i] for row in rows), 3) for f in (min, max)] for i, name in enumerate(names)}
    print(json.dumps({**medians, "spread": spread, "first_start_seconds": round(first[0], 3)}))


if __name__ == "__main__":
    main()
