"""Chooses the next token from logits: exact over the whole vocabulary, and quick for 201,088 tokens.

llama.cpp's own samplers sort candidates, which costs 1.8 ms a token for plain temperature sampling over this vocabulary
and 13.7 ms for top-p. Vector operations over the logits need neither the sort nor the list of candidates.

The temperature is applied first, then top-k, top-p and min-p, each on what the one before left; all compare
probabilities after the temperature, as OpenAI's API does.

Where not every token may follow, one is sampled and tried. A refused one is left out and another sampled, which gives
the very distribution of what is allowed; after some refusals the likeliest are asked about at once, at last all. The
cuts are those of the whole distribution; where nothing in them is allowed, they are widened to the likeliest that is.
"""

from __future__ import annotations

import secrets
from typing import Protocol

import numpy as np
import numpy.typing as npt

from inglenook.core.inference import Sampling

Logits = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

_BLOCK = 256  # tokens whose weights are summed at once
_TRIES = 3  # tokens tried one by one, before many are asked about at once
_LIKELY = (256, 8192)  # so many of the likeliest, before all are


_COLD = 1e-6  # temperatures below it choose as 0 does, and soon 1 / temperature is no number any more


class Rule(Protocol):
    """What may come next."""

    def allows(self, token: int) -> bool:
        """Whether this may."""

    def allowed(self, tokens: Indices) -> npt.NDArray[np.bool_]:
        """Which of these may."""


class Sampler:
    """One generation's sampler; it keeps its random stream and buffers. Not for use by two threads."""

    def __init__(self, sampling: Sampling, n_vocab: int) -> None:
        self._sampling = sampling
        self._random = np.random.default_rng(sampling.seed if sampling.seed is not None else secrets.randbits(64))
        self._greedy = not sampling.temperature > _COLD or sampling.top_k == 1
        self._scale = np.float32(1.0 if self._greedy else 1.0 / sampling.temperature)
        self._cuts = sampling.top_k > 0 or sampling.top_p < 1.0 or sampling.min_p > 0.0
        padded = -(-n_vocab // _BLOCK) * _BLOCK
        self._n = n_vocab
        self._weights = np.zeros(padded, np.float32)
        self._blocks = self._weights.reshape(-1, _BLOCK)
        self._kept: Indices | None = None  # what passed the cuts
        self._ones = np.ones(_BLOCK, np.float32)  # a product with it is the quickest sum over rows

    def pick(self, logits: Logits, rule: Rule | None = None) -> int:
        """The next token's id, one that `rule` allows. `logits` [n_vocab] are not changed."""
        token = self._pick(logits)
        if rule is None or rule.allows(token):
            return token
        return self._pick_greedily(logits, rule) if self._greedy else self._pick_again(logits, token, rule)

    def _pick(self, logits: Logits) -> int:
        if self._greedy:
            return int(logits.argmax())
        weights = self._weights[: self._n]
        np.subtract(logits, np.maximum.reduce(logits), out=weights)
        if self._scale != 1.0:
            np.multiply(weights, self._scale, out=weights)
        np.exp(weights, out=weights)
        self._kept = self._candidates(weights) if self._cuts else None
        return self._draw()

    def _pick_again(self, logits: Logits, token: int, rule: Rule) -> int:
        """After `_pick` gave a `token` that is not allowed. What is known to be refused gets no weight."""
        weights, kept = self._weights[: self._n], self._kept
        weights[token] = 0.0
        for size in (*_LIKELY, self._n):
            for _ in range(_TRIES):
                if not (weights if kept is None else weights[kept]).any():
                    return self._pick_from(logits, rule) if kept is None else self._pick_greedily(logits, rule)
                token = self._draw()
                if rule.allows(token):
                    return token
                weights[token] = 0.0
            likely = kept if kept is not None and kept.size <= size else self._greatest(size)
            weights[likely[~rule.allowed(likely)]] = 0.0
        if (weights if kept is None else weights[kept]).any():
            return self._draw()
        return self._pick_from(logits, rule) if kept is None else self._pick_greedily(logits, rule)

    def _pick_greedily(self, logits: Logits, rule: Rule) -> int:
        self._weights[: self._n] = logits
        for size in _LIKELY:
            likely = self._greatest(size)
            if (allowed := likely[rule.allowed(likely)]).size:
                return int(allowed[logits[allowed].argmax()])
        return self._pick_from(logits, rule)

    def _greatest(self, count: int) -> Indices:
        """Ids of about so many of the greatest weights: none that is left out is greater."""
        weights = self._weights[: self._n]
        maxima = self._blocks.max(axis=1) if count <= self._blocks.shape[0] else weights
        if count >= maxima.size:
            return np.arange(self._n)
        return np.flatnonzero(weights >= np.partition(maxima, -count)[-count])

    def _pick_from(self, logits: Logits, rule: Rule) -> int:
        """From all that are allowed, however unlikely they are, as if there were no others."""
        allowed = np.flatnonzero(rule.allowed(np.arange(self._n)))
        if not allowed.size:
            raise ValueError("nothing may follow")
        left = np.full(self._n, -np.inf, np.float32)
        left[allowed] = logits[allowed]
        token = self._pick(left)
        return token if rule.allows(token) else int(allowed[0])  # logits that are no numbers

    def _draw(self) -> int:
        """From the weights that are left in the cuts."""
        if self._kept is None:
            return self._draw_from_all()
        return int(self._kept[self._position(self._weights[self._kept].astype(np.float64))])

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
