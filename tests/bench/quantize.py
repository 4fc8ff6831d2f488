"""How fast the converter quantizes, beside ggml's C code on one thread in the same run; prints one JSON object.

    python -m tests.bench.quantize [--seconds N]

Figures are M elements a second of this thread's processor time, on gaussian weights: medians, with the best and the
worst. Ours and ggml's turns alternate. `ratio` is the median of ours to ggml's of the same turn. `mxfp4_best` stands
beside ggml's MXFP4. `gain_percent`: by how much its root mean square error is lower than ggml's, by the deviation of
the weights; for a factor of two it is the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
from tests.converter import reference

from inglenook_convert import quantize
from inglenook_convert.gguf_format import MXFP4

ELEMENTS = 1 << 20
SCALES = (0.01, 0.011, 0.012, 0.013, 0.014, 0.015, 0.016, 0.017, 0.018, 0.019, 0.02, 0.04)


def rate(work: Callable[[], object]) -> float:
    """M elements a second."""
    began = time.thread_time()
    work()
    return ELEMENTS / 1e6 / (time.thread_time() - began)


def spread(figures: list[float]) -> list[float]:
    """Median, best, worst."""
    return [round(f(figures), 2) for f in (statistics.median, max, min)]


def compare(ours: Callable[[], object], theirs: Callable[[], object], seconds: float) -> dict[str, list[float] | float]:
    """Alternates the two for about `seconds`."""
    turns = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(turns) < 3:
        turns.append((rate(ours), rate(theirs)))
    turns = turns[1:]
    mine, others = (list(figures) for figures in zip(*turns, strict=True))
    ratio = statistics.median(a / b for a, b in turns)
    return {"ours": spread(mine), "ggml": spread(others), "ratio": round(ratio, 2)}


def gain(scale: float) -> float:
    """Percent."""
    values = (np.random.default_rng(1).standard_normal(ELEMENTS) * scale).astype(np.float32)

    def error(encode: quantize.Encoder) -> float:
        decoded = quantize.DECODERS[MXFP4](encode(values))
        return float(((decoded.astype(np.float64) - values) ** 2).sum())

    return round(100 * (1 - (error(quantize.mxfp4_best) / error(quantize.ENCODERS[MXFP4])) ** 0.5), 2)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="for each type")
    seconds = parser.parse_args().seconds
    values = (np.random.default_rng(0).standard_normal(ELEMENTS) * 0.02).astype(np.float32)
    encoders = [(kind.name, encode, kind) for kind, encode in quantize.ENCODERS.items()]
    encoders.append(("mxfp4_best", quantize.mxfp4_best, MXFP4))
    found = {
        name: compare(lambda: encode(values), lambda: reference.quantize(values, kind), seconds)  # noqa: B023 # runs now
        for name, encode, kind in encoders
    }
    gains = {str(scale): gain(scale) for scale in SCALES}
    print(json.dumps({"unit": "M elements/s a core", **found, "gain_percent": gains}, indent=1))


if __name__ == "__main__":
    main()
