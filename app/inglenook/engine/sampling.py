"""Chooses the next token from logits: exact over the whole vocabulary, and quick for 201,088 tokens.

llama.cpp's own samplers sort candidates, which costs 1.8 ms a token for plain temperature sampling over this vocabulary
and 13.7 ms for top-p. Vector operations over the logits need neither the sort nor the list of candidates.

The temperature is applied first, then top-k, top-p and min-p, each on what the one before left; all compare
probabilities after the temperature, as OpenAI's API does.
"""

from __future__ import annotations

import secrets

import numpy as np
import numpy.typing as npt

from inglenook.core.inference import Sampling

Logits = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

_BLOCK = 256  # tokens whose weights are summed at once


class Sampler:
    """One generation's sampler; it keeps its random stream and buffers. Not for use by two threads."""

    def __init__(self, sampling: Sampling, n_vocab: int) -> None:
        self._sampling = sampling
        self._random = np.random.default_rng(sampling.seed if sampling.seed is not None else secrets.randbits(64))
        self._greedy = sampling.temperature <= 0.0 or sampling.top_k == 1
        self._scale = np.float32(1.0 if self._greedy else 1.0 / sampling.temperature)
        self._cuts = sampling.top_k > 0 or sampling.top_p < 1.0 or sampling.min_p > 0.0
        padded = -(-n_vocab // _BLOCK) * _BLOCK
        self._n = n_vocab
        self._weights = np.zeros(padded, np.float32)
        self._blocks = self._weights.reshape(-1, _BLOCK)
        self._ones = np.ones(_BLOCK, np.float32)  # a product with it is the quickest sum over rows

    def pick(self, logits: Logits) -> int:
        """The next token's id. `logits` [n_vocab] are not changed."""
        if self._greedy:
            return int(logits.argmax())
        weights = self._weights[: self._n]
        np.subtract(logits, np.maximum.reduce(logits), out=weights)
        if self._scale != 1.0:
            np.multiply(weights, self._scale, out=weights)
        np.exp(weights, out=weights)
        if not self._cuts:
            return self._draw_from_all()
        kept = self._candidates(weights)
        return int(kept[self._position(weights[kept].astype(np.float64))])

    def _draw_from_all(self) -> int:
        """Draws a block, then a token in it: adding up 201,088 weights one after the other would cost more."""
        block = self._position((self._blocks @ self._ones).astype(np.float64))
        start = block * _BLOCK
        end = min(start + _BLOCK, self._n)
        return start + self._position(self._weights[start:end].astype(np.float64))

    def _position(self, weights: npt.NDArray[np.float64]) -> int:
        """A random index, with probabilities in proportion to `weights`."""
        totals = np.add.accumulate(weights)
        target = self._random.random() * totals[-1]
        return min(int(totals.searchsorted(target, "right")), totals.size - 1)

    def _candidates(self, weights: Logits) -> Indices:
        """Ids that pass the cuts. `weights` are probabilities times a constant; the greatest is 1."""
        sampling = self._sampling
        kept: Indices
        if 0 < sampling.top_k < self._n:
            kept = self._top_k(weights, sampling.top_k)
        elif sampling.min_p > 0.0 and sampling.top_p >= 1.0:
            kept = np.flatnonzero(weights >= sampling.min_p)
            return kept if kept.size else np.flatnonzero(weights == 1.0)
        else:
            kept = np.arange(self._n)
        if sampling.top_p < 1.0:
            kept = _top_p(weights, kept, max(sampling.top_p, 0.0))
        if sampling.min_p > 0.0:
            kept = kept[weights[kept] >= min(sampling.min_p, 1.0)]
        return kept

    def _top_k(self, weights: Logits, k: int) -> Indices:
        """The `k` greatest, first ids first among equals.

        The k-th greatest of the blocks' maxima is a bound: at least k weights reach it, so the k greatest do.
        """
        maxima = self._blocks.max(axis=1)
        bounds = maxima if k <= maxima.size else weights
        near = np.flatnonzero(weights >= np.partition(bounds, -k)[-k])
        return near[np.argsort(-weights[near], kind="stable")[:k]]


def _top_p(weights: Logits, kept: Indices, top_p: float) -> Indices:
    """The fewest of `kept` that have `top_p` of their weight, greatest first.

    Only those above a bound are sorted: it is lowered until what lies above it has that part of the weight.
    """
    values = weights[kept]
    wanted = float(values.sum(dtype=np.float64)) * top_p * (1.0 - 1e-9)
    bound = float(values.max()) / 16
    large = np.flatnonzero(values >= bound)
    while large.size < values.size and values[large].sum(dtype=np.float64) < wanted:
        bound /= 16
        large = np.flatnonzero(values >= bound)
    order = large[np.argsort(-values[large], kind="stable")]
    count = int(np.cumsum(values[order], dtype=np.float64).searchsorted(wanted, side="left")) + 1
    return kept[order[:count]]
