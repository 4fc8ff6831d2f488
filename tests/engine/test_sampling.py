"""The sampler draws from exactly the distribution that its settings describe."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inglenook.core.inference import Sampling
from inglenook.engine.sampling import Sampler

Floats = npt.NDArray[np.float64]


def random_logits(n: int, seed: int = 0, scale: float = 2.0) -> npt.NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(n) * scale).astype(np.float32)


def softmax(logits: npt.NDArray[np.float32], temperature: float = 1.0) -> Floats:
    weights = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    return weights / weights.sum()


def expected(logits: npt.NDArray[np.float32], sampling: Sampling) -> Floats:
    """Plainly: sort everything, cut, renormalise."""
    p = softmax(logits, sampling.temperature)
    order = np.argsort(-p, kind="stable")
    if sampling.top_k:
        order = order[: sampling.top_k]
    if sampling.top_p < 1:
        share = np.cumsum(p[order]) / p[order].sum()
        order = order[: int(np.searchsorted(share, sampling.top_p * (1 - 1e-9))) + 1]
    order = order[p[order] >= sampling.min_p * p.max()]
    kept = np.zeros_like(p)
    kept[order] = p[order]
    return kept / kept.sum()


def chi_square(counts: Floats, p: Floats) -> tuple[float, float]:
    """The statistic over cells of at least 10 expected counts (the rest are one cell), and a bound 6 sigma out."""
    want = p * counts.sum()
    large = want >= 10
    want = np.append(want[large], max(want[~large].sum(), 1e-9))
    got = np.append(counts[large], counts[~large].sum())
    if want[-1] < 10:
        want, got = want[:-1], got[:-1]
    statistic = float(((got - want) ** 2 / want).sum())
    degrees = want.size - 1
    return statistic, degrees + 6 * np.sqrt(2 * degrees) + 6


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(seed=1),
        Sampling(0.5, seed=2),
        Sampling(1.7, seed=3),
        Sampling(top_k=7, seed=4),
        Sampling(top_p=0.8, seed=5),
        Sampling(min_p=0.1, seed=6),
        Sampling(0.8, 0.9, 30, 0.05, 7),
    ],
)
@pytest.mark.parametrize("n", [40, 300, 1000])
def test_distribution(sampling: Sampling, n: int):
    logits = random_logits(n)
    sampler = Sampler(sampling, n)
    counts = np.bincount([sampler.pick(logits) for _ in range(20_000)], minlength=n).astype(float)
    p = expected(logits, sampling)
    assert counts[p == 0].sum() == 0  # nothing that was cut
    statistic, bound = chi_square(counts, p)
    assert statistic < bound


def test_the_test_sees_a_wrong_distribution():
    logits = random_logits(300)
    sampler = Sampler(Sampling(1.05, seed=1), 300)
    counts = np.bincount([sampler.pick(logits) for _ in range(20_000)], minlength=300).astype(float)
    statistic, bound = chi_square(counts, softmax(logits))
    assert statistic > bound


def test_exact_over_the_real_vocabulary():
    """The smallest of 201,088 probabilities are kept: no cut at all at the default settings."""
    n = 201_088
    logits = np.zeros(n, np.float32)
    sampler = Sampler(Sampling(seed=0), n)
    picked = np.array([sampler.pick(logits) for _ in range(3000)])
    parts = np.bincount(picked * 10 // n, minlength=10).astype(float)
    statistic, bound = chi_square(parts, np.full(10, 0.1))
    assert statistic < bound
    assert np.unique(picked).size > 2900


@pytest.mark.parametrize("temperature", [1e-7, 1e-38, 1e-40, 1e-300, math.nan])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_hardly_any_temperature_is_none(temperature: float, top_p: float):
    logits = np.random.default_rng(1).normal(0, 20, 500).astype(np.float32)
    assert Sampler(Sampling(temperature, top_p, seed=1), logits.size).pick(logits) == logits.argmax()


@settings(deadline=None)
@given(
    logits=arrays(np.float32, st.integers(1, 600), elements=st.floats(-50, 50, width=32)),
    seed=st.integers(0, 2**32),
    temperature=st.floats(0.05, 3),
    top_p=st.floats(0, 1),
    top_k=st.integers(0, 700),
    min_p=st.floats(0, 1),
)
def test_cuts_are_respected(logits, seed: int, temperature: float, top_p: float, top_k: int, min_p: float):
    sampling = Sampling(temperature, top_p, top_k, min_p, seed)
    sampler = Sampler(sampling, logits.size)
    weights = np.exp((logits - logits.max()) * np.float32(1 / temperature))
    for _ in range(5):
        token = sampler.pick(logits)
        if top_k:
            assert (weights > weights[token]).sum() < top_k
        if top_p < 1 and not top_k:
            above = weights[weights > weights[token]].sum(dtype=np.float64)
            assert above <= top_p * weights.sum(dtype=np.float64) * (1 + 1e-6)
        assert weights[token] >= min_p * (1 - 1e-5)


def test_temperature_0_is_greedy():
    logits = random_logits(5000)
    assert {Sampler(Sampling(0.0), 5000).pick(logits) for _ in range(20)} == {int(logits.argmax())}


def test_a_seed_repeats():
    def draw(seed: int | None) -> list[int]:
        sampler = Sampler(Sampling(seed=seed), 5000)
        return [sampler.pick(random_logits(5000, i)) for i in range(50)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)
    assert draw(None) != draw(None)


def test_logits_that_are_no_numbers_give_a_token():
    logits = np.full(1000, np.nan, np.float32)
    with np.errstate(invalid="ignore"):
        assert 0 <= Sampler(Sampling(), 1000).pick(logits) < 1000
        assert 0 <= Sampler(Sampling(0.0), 1000).pick(logits) < 1000


class Only:
    """Allows what `mask` has; counts what it is asked."""

    def __init__(self, mask) -> None:
        self.mask = mask
        self.asked = 0

    def allows(self, token: int) -> bool:
        return bool(self.mask[token])

    def allowed(self, tokens):
        self.asked += tokens.size
        return self.mask[tokens]


def constrained(logits, mask, sampling: Sampling):
    """What is allowed within the cuts, with the probabilities that it has without the rest; or the likeliest."""
    kept = np.where(mask, expected(logits, sampling), 0.0)
    if not kept.any():
        kept[np.where(mask, logits, -np.inf).argmax()] = 1.0
    return kept / kept.sum()


@pytest.mark.parametrize("sampling", [Sampling(seed=3), Sampling(0.7, top_p=0.8, top_k=40, seed=5)], ids=str)
@pytest.mark.parametrize("allowed", ["half", "few", "unlikely", "after many that are not"])
def test_exact_among_what_is_allowed(sampling: Sampling, allowed: str):
    n = 300
    logits = random_logits(n)
    order = np.argsort(-logits)
    mask = np.zeros(n, np.bool_)
    few = {"few": order[[3, 7, 50]], "unlikely": order[-20:], "after many that are not": order[100:]}
    mask[few.get(allowed, order[::2])] = True
    sampler, rule = Sampler(sampling, n), Only(mask)
    counts = np.bincount([sampler.pick(logits, rule) for _ in range(1500)], minlength=n).astype(float)
    wanted = constrained(logits, mask, sampling)
    assert counts[wanted == 0].sum() == 0
    known = wanted > 0
    if known.sum() > 1:
        statistic, bound = chi_square(counts[known], wanted[known])
        assert statistic < bound
        if allowed == "half":  # the control: what is nearly right is noticed
            shifted = wanted[known] ** 1.3
            statistic, bound = chi_square(counts[known], shifted / shifted.sum())
            assert statistic > bound


def test_the_likeliest_that_is_allowed_at_temperature_0():
    logits = random_logits(20_000)
    order = np.argsort(-logits)
    for best in (0, 1, 50, 5000, 19_999):
        mask = np.zeros(20_000, np.bool_)
        mask[order[best:]] = True
        assert Sampler(Sampling(0.0), 20_000).pick(logits, Only(mask)) == order[best]


def test_all_are_asked_about_only_when_the_likeliest_are_refused():
    n = 20_000
    logits = random_logits(n)
    order = np.argsort(-logits)
    mask = np.ones(n, np.bool_)
    rule, sampler = Only(mask), Sampler(Sampling(seed=1), n)
    for _ in range(200):
        sampler.pick(logits, rule)
    assert rule.asked == 0
    logits = logits.copy()
    logits[order[:500]] += 30
    mask[order[:500]] = False
    for _ in range(50):
        assert mask[sampler.pick(logits, rule)]
    assert 0 < rule.asked < 50 * n


def test_what_is_allowed_may_have_no_weight_at_all():
    logits = np.full(1000, -200.0, np.float32)
    logits[:900] = 0.0
    mask = np.zeros(1000, np.bool_)
    mask[950:] = True
    for sampling in (Sampling(seed=1), Sampling(top_p=0.5, seed=1), Sampling(0.0)):
        picked = {Sampler(sampling, 1000).pick(logits, Only(mask)) for _ in range(5)}
        assert picked <= set(range(950, 1000))
    with pytest.raises(ValueError, match="nothing"):
        Sampler(Sampling(), 1000).pick(logits, Only(np.zeros(1000, np.bool_)))
