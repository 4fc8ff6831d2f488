import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inglenook_convert import quantize

Q8_0 = gguf.GGMLQuantizationType.Q8_0
LARGEST = 8_000_000.0  # its scale is near the top of F16


def by_gguf(values: np.ndarray) -> bytes:
    with np.errstate(all="ignore"):
        return gguf.quants.quantize(values.reshape(1, -1), Q8_0).tobytes()


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 0.02, 1.0, 300.0, 1e6])
def test_q8_0_equals_gguf_py_on_random_values(scale: float) -> None:
    values = (np.random.default_rng(1).standard_normal(32 * 5000) * scale).astype(np.float32)
    assert quantize.q8_0(values).tobytes() == by_gguf(values)


def test_q8_0_equals_gguf_py_on_bf16_values() -> None:
    """Coarse values fall on ties of rounding much more often."""
    bits = np.random.default_rng(2).integers(0x3B00, 0x3F80, 32 * 5000).astype("<u2")
    bits |= np.random.default_rng(3).integers(0, 2, len(bits)).astype("<u2") << 15
    values = quantize.to_float32(bits.view(np.uint8), "BF16")
    assert quantize.q8_0(values).tobytes() == by_gguf(values)


def test_q8_0_equals_gguf_py_on_ties_zeros_and_extremes() -> None:
    ties = np.concatenate([[127.0], np.arange(-15.5, 15.5)]).astype(np.float32)
    below = np.nextafter(ties, np.float32(0), dtype=np.float32)
    blocks = [
        ties,
        np.concatenate([[127.0], below[1:]]),
        np.zeros(32),
        -np.zeros(32),
        np.full(32, LARGEST),
        np.full(32, 1e-38),
        np.concatenate([[1e-40], np.zeros(31)]),
        np.concatenate([[1e-45], np.full(31, -1e-45)]),
    ]
    for block in blocks:
        values = np.asarray(block, np.float32)
        if quantize_is_defined(values):
            assert quantize.q8_0(values).tobytes() == by_gguf(values), block


def quantize_is_defined(values: np.ndarray) -> bool:
    """Where 127 / max|x| exceeds float32, the reference converts infinity to an integer, which is undefined."""
    largest = np.abs(values).max()
    with np.errstate(all="ignore"):
        return bool(largest == 0 or np.isfinite(np.float32(1) / (largest / np.float32(127))))


@given(arrays(np.float32, 64, elements=st.floats(-LARGEST, LARGEST, width=32)))
def test_q8_0_equals_gguf_py_on_any_values(values: np.ndarray) -> None:
    if all(quantize_is_defined(block) for block in values.reshape(-1, 32)):
        assert quantize.q8_0(values).tobytes() == by_gguf(values)


def test_q8_0_blocks_too_small_for_a_scale_become_zero() -> None:
    values = np.full(32, 1e-44, np.float32)
    assert quantize.q8_0(values).tobytes() == bytes(34)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e9])
def test_q8_0_refuses_what_it_cannot_hold(bad: float) -> None:
    values = np.zeros(96, np.float32)
    values[40] = bad
    with pytest.raises(OverflowError):
        quantize.q8_0(values)


def test_widening_is_exact_for_every_pattern() -> None:
    bits = np.arange(65536, dtype="<u2")
    widened = quantize.to_float32(bits.view(np.uint8), "BF16")
    assert np.array_equal(widened.view(np.uint32), bits.astype(np.uint32) << 16)
    half = quantize.to_float32(bits.view(np.uint8), "F16")
    assert np.array_equal(half, bits.view("<f2").astype(np.float32), equal_nan=True)
    assert quantize.to_float32(np.array([1.5], "<f4").view(np.uint8), "F32").tolist() == [1.5]
