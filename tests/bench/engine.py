"""What the engine costs beside llama.cpp itself; prints one JSON object.

usage: python tests/bench/engine.py MODEL.gguf [repetitions]

Times on a busy machine say little, so the cost of a token is also given in CPU time of both processes (`cpu_us`).
`memory` is the engine's anonymous memory: without the weights that are mapped from the file.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from inglenook.core.events import Finished, Prefill, Tokens
from inglenook.core.inference import GenerateRequest, ModelInfo, ModelSpec, Sampling
from inglenook.core.prompt import Ids
from inglenook.engine import bench
from inglenook.engine.client import EngineClient


def cpu(processes: list[psutil.Process]) -> float:
    """Seconds of CPU that they have used."""
    return sum(sum(p.cpu_times()[:2]) for p in processes)


def cpu_of_tokens(client: EngineClient, info: ModelInfo, repetitions: int) -> dict[str, float]:
    """Microseconds of CPU a token: llama_decode alone, the whole path, the difference."""
    tokens = min(1500, info.n_ctx - 2)
    processes = [psutil.Process(client.status().pid), psutil.Process()]
    raw, path = [], []
    for _ in range(repetitions):
        for figures, work in (
            (raw, lambda: client.bench_raw(info.spec, 0, tokens)),
            (path, lambda: generate(client, info, 1, tokens + 1)),
        ):
            before = cpu(processes)
            work()
            figures.append((cpu(processes) - before) / tokens * 1e6)
    r, p = statistics.median(raw), statistics.median(path)
    return {"raw": round(r, 1), "path": round(p, 1), "over": round(p - r, 1)}


def generate(client: EngineClient, info: ModelInfo, prompt: int, output: int) -> None:
    """Runs it to its end, at the default sampling."""
    ids = Ids(tuple(time.time_ns() % 200 + i % 50 for i in range(prompt)))
    for _ in client.generate(GenerateRequest(info.spec, (ids,), Sampling(), output, ignore_stop=True, speculate=False)):
        pass


def cancel_latency(client: EngineClient, info: ModelInfo, phase: type, repetitions: int) -> dict[str, float]:
    """Milliseconds from `cancel()` to the end event, in the phase that begins with an event of the type `phase`."""
    found = []
    for i in range(repetitions):
        length = info.n_ctx // 2 if phase is Prefill else 10
        ids = Ids(tuple((i * 7 + j) % 200 for j in range(length)))
        generation = client.generate(GenerateRequest(info.spec, (ids,), ignore_stop=True))
        started = 0.0
        for event in generation:
            if isinstance(event, phase) and not started:
                started = time.perf_counter()
                generation.cancel()
            if isinstance(event, Finished):
                found.append((time.perf_counter() - started) * 1e3)
    return {"median": round(statistics.median(found), 2), "worst": round(max(found), 2)}


def exit_latency(client: EngineClient) -> float:
    """Milliseconds from `close()` until the process is gone."""
    process = psutil.Process(client.status().pid)
    started = time.perf_counter()
    client.close()
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.001)
    return round((time.perf_counter() - started) * 1e3, 1)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result and how many seconds it took."""
    started = time.perf_counter()
    return work(), round(time.perf_counter() - started, 3)


def main(model: Path, repetitions: int) -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as folder:
        client = EngineClient(Path(folder, "run"), Path(folder, "logs"))
        info, start_and_load = timed(lambda: client.model_info(ModelSpec(str(model))))
        memory = psutil.Process(client.status().pid).memory_full_info()
        result = {
            "start_and_load_s": start_and_load,
            "memory": {"anonymous_mib": round(memory.uss / 2**20, 1), "resident_mib": round(memory.rss / 2**20, 1)},
            "bench": bench.run(client, info.spec, repetitions=repetitions),
            "cpu_us": cpu_of_tokens(client, info, max(3, repetitions // 2)),
            "cancel_ms": {
                "decode": cancel_latency(client, info, Tokens, repetitions),
                "prefill": cancel_latency(client, info, Prefill, repetitions),
            },
            "exit_ms": exit_latency(client),
            "load_average": psutil.getloadavg()[0],
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 7)
