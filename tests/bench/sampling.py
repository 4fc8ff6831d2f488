"""What sampling a token costs, of ours and of llama.cpp's sampler by turns; prints one JSON object.

usage: python tests/bench/sampling.py [--tokens N] [--seeds N] [--vocabulary N]

At temperature 1 and top-p 1, over as many logits as gpt-oss has, at random: most of them in a bell, a few far above.
Theirs is a chain of `dist` alone: at temperature 1 there is nothing else to apply. As llama_sampler_sample does, it is
given a list of candidates, which is made anew for each token; `llama_cpp_apply_ms` is without that.

A machine's other work shows in the upper quartile; the ratio is that of neighbours in time.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np
import numpy.typing as npt
import psutil

from inglenook.core.inference import Sampling
from inglenook.engine import llama
from inglenook.engine.sampling import Sampler

LIMIT_MS = 0.4
VOCABULARY = 201_088
LARGE = 12  # logits far above the others
WARM = 20  # tokens that are not timed

Logits = npt.NDArray[np.float32]


class Theirs:
    """llama.cpp's sampler."""

    def __init__(self, seed: int, vocabulary: int) -> None:
        self._candidates = (lib.llama_token_data * vocabulary)()
        layout = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        self._view = np.frombuffer(self._candidates, layout)
        self._ids = np.arange(vocabulary, dtype=np.int32)
        self._array = lib.llama_token_data_array()
        self._array.data = ctypes.cast(self._candidates, type(self._array.data))
        self._chain: Any = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        lib.llama_sampler_chain_add(self._chain, lib.llama_sampler_init_dist(seed))

    def pick(self, logits: Logits) -> tuple[int, float]:
        """The token, and how many seconds it took when the candidates were listed."""
        self._view["id"], self._view["logit"], self._view["p"] = self._ids, logits, 0.0
        self._array.size, self._array.selected, self._array.sorted = len(self._ids), -1, False
        started = time.perf_counter()
        lib.llama_sampler_apply(self._chain, ctypes.byref(self._array))
        token = int(self._candidates[self._array.selected].id)
        lib.llama_sampler_accept(self._chain, token)
        return token, time.perf_counter() - started

    def close(self) -> None:
        lib.llama_sampler_free(self._chain)


def logits_like_a_models(seed: int, vocabulary: int) -> Logits:
    """A bell of standard deviation 2.5, and some up to 20 above: they have most of the probability, not all."""
    source = np.random.default_rng(seed)
    found = (source.standard_normal(vocabulary) * 2.5).astype(np.float32)
    found[source.integers(0, vocabulary, LARGE)] += source.uniform(8, 20, LARGE).astype(np.float32)
    return found


def summary(seconds: list[float], digits: int = 4, unit: float = 1e3) -> dict[str, float]:
    """Median and quartiles."""
    lower, median, upper = (round(value * unit, digits) for value in statistics.quantiles(seconds, n=4))
    return {"median": median, "lower_quartile": lower, "upper_quartile": upper}


def measure(seeds: int, tokens: int, vocabulary: int) -> dict[str, Any]:
    """Both by turns, on each seed's logits."""
    mine: list[float] = []
    theirs: list[float] = []
    applied: list[float] = []
    for seed in range(seeds):
        logits = logits_like_a_models(seed, vocabulary)
        sampler, peer = Sampler(Sampling(temperature=1.0, top_p=1.0, seed=seed), vocabulary), Theirs(seed, vocabulary)
        for number in range(-WARM, tokens):
            begun = time.perf_counter()
            sampler.pick(logits)
            between = time.perf_counter()
            _, apply = peer.pick(logits)
            ended = time.perf_counter()
            if number >= 0:
                mine.append(between - begun)
                theirs.append(ended - between)
                applied.append(apply)
        peer.close()
    ours = summary(mine)
    return {
        "ours_ms": ours,
        "limit_ms": LIMIT_MS,
        "within_limit": ours["median"] <= LIMIT_MS,
        "llama_cpp_ms": summary(theirs),
        "llama_cpp_apply_ms": summary(applied),
        "ratio": summary([a / b for a, b in zip(mine, theirs, strict=True)], unit=1),
        "ratio_to_apply": summary([a / b for a, b in zip(mine, applied, strict=True)], unit=1),
    }


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=300, help="of each seed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    options = parser.parse_args()
    llama.start()
    found = measure(options.seeds, options.tokens, options.vocabulary)
    settings = {"vocabulary": options.vocabulary, "seeds": options.seeds, "tokens_of_each": options.tokens}
    load = psutil.getloadavg()[0]
    print(json.dumps({**found, **settings, "llama_cpp": llama.versions()["llama_cpp_python"], "load_average": load}))


if __name__ == "__main__":
    main()
