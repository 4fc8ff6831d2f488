"""Our raw figures (see `inglenook bench`) against those of llama.cpp's own llama-bench; prints one JSON object.

usage: python tests/bench/llama_bench.py MODEL.gguf --llama-bench PROGRAM [--turns N] [--seconds S]

PROGRAM is llama-bench built with the same libraries as llama-cpp-python (LD_LIBRARY_PATH may have to name them). Both
have the model loaded all the time, with their own repacked weights, so it has to fit twice: on a laptop take one of the
20b shape with fewer layers (tests/bench/convert.py --scale), where a fixed cost weighs more, not less.

The speed of a virtual machine changes within a minute by more than what is to be measured. So they take turns of a few
seconds: while ours computes, llama-bench is halted by a signal. Its repetitions that were halted show by their time,
are left out, and tell where its turns end. A turn's figure is the median of its repetitions, and a ratio that of the
mean of our turns before and after by llama-bench's in between.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from inglenook.core.inference import ModelSpec
from inglenook.engine.client import EngineClient


class Peer:
    """llama-bench at work on repetitions of one kind, halted but for its turns."""

    def __init__(self, options: argparse.Namespace, threads: int, prefill: int, decode: int, repetitions: int) -> None:
        self._tokens = prefill or decode
        command = [options.llama_bench, "-m", options.model, "-p", prefill, "-n", decode, "-t", threads, "-fa", "on"]
        command += ["-ngl", 0, "-o", "json", "--progress", "-r", repetitions]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        while " run 2/" not in self._said():  # it is warm then
            if self._process.poll() is not None:
                raise RuntimeError(self._said())
            time.sleep(0.05)
        self._process.send_signal(signal.SIGSTOP)

    def turn(self, seconds: float) -> None:
        """It goes on for so long."""
        self._process.send_signal(signal.SIGCONT)
        time.sleep(seconds)
        self._process.send_signal(signal.SIGSTOP)
        if self._process.poll() is not None:
            raise RuntimeError("more repetitions are needed")

    def speeds(self, halted: float) -> list[float]:
        """Tokens a second of each turn; waits for its end. It was halted for at least so many seconds each time."""
        self._process.send_signal(signal.SIGCONT)
        out, _ = self._process.communicate()
        turns: list[list[float]] = [[]]
        for nanoseconds in json.loads(out)[0]["samples_ns"]:
            if nanoseconds > halted * 1e9:
                turns.append([])
            else:
                turns[-1].append(self._tokens / nanoseconds * 1e9)
        return [statistics.median(turn) for turn in turns[1:-1]]

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read()


def measure(
    client: EngineClient, spec: ModelSpec, peer: Peer, prefill: int, decode: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Both by turns: ours first and last."""
    mine: list[float] = []
    least = float("inf")
    for number in range(options.turns + 1):
        started, speeds = time.monotonic(), list[float]()
        while time.monotonic() - started < options.seconds:
            speeds.append(client.bench_raw(spec, prefill, decode))
        least = min(least, time.monotonic() - started)
        mine.append(statistics.median(speeds))
        if number < options.turns:
            peer.turn(options.seconds)
    theirs = peer.speeds(least)
    ratios = [(a + b) / 2 / c for (a, b), c in zip(pairwise(mine), theirs, strict=True)]
    return {"ratio": summary(ratios), "raw_tps": summary(mine), "llama_bench_tps": summary(theirs)}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-bench", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=6.0, help="of a turn: four repetitions or more")
    parser.add_argument("--prefill", type=int, default=64, help="tokens of a repetition")
    parser.add_argument("--decode", type=int, default=16, help="tokens of a repetition")
    parser.add_argument("--threads", type=int, default=0, help="of both; default: what the engine chooses")
    options = parser.parse_args()
    found: dict[str, Any] = {"model": options.model.name}
    with tempfile.TemporaryDirectory() as folder:
        client = EngineClient(Path(folder, "run"), Path(folder, "logs"))
        spec = ModelSpec(str(options.model), threads=options.threads)
        info = client.model_info(spec)
        found["threads"] = threads = options.threads or (info.plan.threads if info.plan else 1)
        for kind, prefill, decode in (("prefill", options.prefill, 0), ("decode", 0, options.decode)):
            client.bench_raw(spec, prefill, decode)
            a_second = client.bench_raw(spec, prefill, decode) / (prefill or decode)
            needed = 5 + round(1.4 * a_second * options.turns * options.seconds)
            peer = Peer(options, threads, prefill, decode, needed)
            found[kind] = measure(client, spec, peer, prefill, decode, options)
        client.close()
    print(json.dumps(found))


def summary(values: list[float]) -> dict[str, Any]:
    """Median, quartiles, the standard error of the mean, and all of them in the order of the turns."""
    return {
        "median": statistics.median(values),
        "quartiles": statistics.quantiles(values, n=4),
        "mean": statistics.mean(values),
        "error": statistics.stdev(values) / len(values) ** 0.5,
        "each": [round(value, 4) for value in values],
    }


if __name__ == "__main__":
    main()
