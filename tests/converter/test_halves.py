"""BF16 on its sixteen bits: the same bytes, and the same refusals, as by way of the floats."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inglenook_convert import halves, quantize
from inglenook_convert.gguf_format import TensorType

by_name = pytest.mark.parametrize("kind", list(halves.ENCODERS), ids=lambda kind: kind.name)


def encoded(bits: np.ndarray, kind: TensorType) -> bytes:
    """By the encoder, which must leave the values alone."""
    bits.flags.writeable = False
    out = np.empty(kind.nbytes(bits.shape), np.uint8)
    halves.ENCODERS[kind](bits, out)
    return out.tobytes()


def by_floats(bits: np.ndarray, kind: TensorType) -> bytes:
    return quantize.ENCODERS[kind](quantize.to_float32(bits.view(np.uint8), "BF16")).tobytes()


def with_signs(bits: np.ndarray, seed: int = 0) -> np.ndarray:
    return bits | np.random.default_rng(seed).integers(0, 2, bits.shape).astype("<u2") << 15


@by_name
@pytest.mark.parametrize(("low", "high"), [(0x3B00, 0x3F80), (0x3E80, 0x3E90), (0, 0x100), (0x500, 0x900), (0, 0x4A00)])
def test_as_by_way_of_the_floats(kind: TensorType, low: int, high: int) -> None:
    """Narrow ranges have many ties, and the smallest values scales of which the inverse is beyond float32."""
    bits = with_signs(np.random.default_rng(low).integers(low, high, 32 * 4001).astype("<u2"))
    assert encoded(bits, kind) == by_floats(bits, kind)


def test_every_pattern_beside_each_largest_one() -> None:
    """Blocks of one large value and 31 that run through all smaller ones: every rounding that a block may need."""
    kind = quantize.gguf.Q8_0
    for top in range(0x3F80, 0x4000):
        smaller = np.arange(0x3B80, 0x3B80 + 31 * 37, dtype="<u2").reshape(-1, 31)
        bits = np.concatenate([np.full((len(smaller), 1), top, "<u2"), np.minimum(smaller, top)], axis=1)
        bits = with_signs(bits, top).reshape(-1)
        assert encoded(bits, kind) == by_floats(bits, kind)


@settings(deadline=None)
@given(arrays("<u2", 96, elements=st.integers(0, 0xFFFF).filter(lambda bits: bits & 0x7F80 != 0x7F80)))
def test_any_finite_values(bits: np.ndarray) -> None:
    for kind in halves.ENCODERS:
        try:
            expected = by_floats(bits, kind)
        except OverflowError:
            with pytest.raises(OverflowError):
                encoded(bits, kind)
        else:
            assert encoded(bits, kind) == expected


@by_name
@pytest.mark.parametrize("bad", [0x7F80, 0xFF80, 0x7FC0, 0xFFFF, 0x7F81])
def test_refuses_what_is_not_finite(kind: TensorType, bad: int) -> None:
    for at in (0, 40, 95):
        bits = np.full(96, 0x3F80, "<u2")
        bits[at] = bad
        with pytest.raises(OverflowError):
            encoded(bits, kind)


@by_name
def test_no_values_are_no_bytes(kind: TensorType) -> None:
    assert encoded(np.zeros(0, "<u2"), kind) == b""
