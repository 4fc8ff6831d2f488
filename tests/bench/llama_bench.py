"""Our raw figures and our whole path against llama.cpp's own llama-bench, interleaved; prints one JSON object.

usage: python tests/bench/llama_bench.py MODEL.gguf --llama-bench PROGRAM [--pairs N] [--prefill N] [--decode N]

PROGRAM is llama-bench built with the same libraries as llama-cpp-python (LD_LIBRARY_PATH may have to name them). Both
keep their own repacked weights, so the model has to fit twice: on a laptop take one of the 20b shape with fewer layers
(tests/bench/convert.py --scale), where a fixed cost weighs more, not less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from inglenook.core.inference import ModelSpec
from inglenook.engine import bench
from inglenook.engine.client import EngineClient


def peer(program: Path, model: Path, prefill: int, decode: int, threads: int) -> tuple[float, float]:
    """llama-bench's tokens a second: prefill and decode."""
    command = [program, "-m", model, "-p", prefill, "-n", decode, "-r", 1, "-t", threads, "-fa", "on", "-ngl", 0]
    done = subprocess.run([*map(str, command), "-o", "json"], capture_output=True, text=True, check=True)
    speeds = {("p" if found["n_prompt"] else "d"): float(found["avg_ts"]) for found in json.loads(done.stdout)}
    return speeds["p"], speeds["d"]


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-bench", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--prefill", type=int, default=256)
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--threads", type=int, default=0, help="of both; default: what the engine chooses")
    options = parser.parse_args()
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        client = EngineClient(Path(folder, "run"), Path(folder, "logs"))
        spec = ModelSpec(str(options.model), threads=options.threads)
        info = client.model_info(spec)
        threads = options.threads or (info.plan.threads if info.plan else 1)
        for _ in range(options.pairs):
            p, d = peer(options.llama_bench, options.model, options.prefill, options.decode, threads)
            ours = bench.run(client, spec, prefill=options.prefill, decode=options.decode, repetitions=1)
            found = {
                "raw_prefill": ours["raw"]["prefill_tps"] / p,
                "raw_decode": ours["raw"]["decode_tps"] / d,
                "path_prefill": ours["ratio"]["prefill"],
                "path_decode": ours["ratio"]["decode"],
                "llama_bench_prefill_tps": p,
                "llama_bench_decode_tps": d,
            }
            for name, value in found.items():
                rows.setdefault(name, []).append(round(value, 4))
        client.close()
    print(json.dumps({"model": options.model.name, "threads": threads, **{n: summary(v) for n, v in rows.items()}}))


def summary(values: list[float]) -> dict[str, Any]:
    """Median, quartiles, and all of them in the order of the pairs."""
    quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else []
    return {"median": statistics.median(values), "quartiles": quartiles, "each": values}


if __name__ == "__main__":
    main()
