import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.converter import reference

from inglenook_convert import gguf_format, quantize
from inglenook_convert.gguf_format import BF16, F16, F32, MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, TensorType

KINDS = list(quantize.ENCODERS)
BLOCKS = [kind for kind in KINDS if kind.block == 32]
LARGEST = float(np.finfo(np.float32).max)
by_name = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def encoded(values: np.ndarray, kind: TensorType) -> bytes:
    """By our encoder, which must leave the values alone."""
    values.flags.writeable = False
    return quantize.ENCODERS[kind](values).tobytes()


def is_defined(block: np.ndarray, kind: TensorType) -> bool:
    """Whether C says what happens: not where it casts infinity, or a negative exponent, to an integer."""
    largest = np.abs(block).max()
    if kind is MXFP4:
        return bool(largest == 0 or largest >= 2.0**-125)
    steps = {Q8_0: 127, Q5_0: 16, Q4_0: 8, Q5_1: 31, Q4_1: 15}[kind]
    with np.errstate(all="ignore"):
        span = block.max() - block.min() if kind in (Q5_1, Q4_1) else largest
        return bool(span / np.float32(steps) == 0 or np.isfinite(np.float32(1) / (span / np.float32(steps))))


def bf16_values(count: int, low: int = 0x3B00, high: int = 0x3F80) -> np.ndarray:
    """Coarse values: they fall on ties of rounding, and equal each other, much more often."""
    random = np.random.default_rng(2)
    bits = random.integers(low, high, count).astype("<u2") | random.integers(0, 2, count).astype("<u2") << 15
    return quantize.to_float32(bits.view(np.uint8), "BF16")


def check(values: np.ndarray, kind: TensorType) -> None:
    """Equal to ggml, or refused because ggml's bytes stand for something that is not finite."""
    if kind in BLOCKS and not all(is_defined(block, kind) for block in values.reshape(-1, 32)):
        return
    expected = reference.quantize(values, kind)
    finite = np.isfinite(quantize.DECODERS[kind](np.frombuffer(expected, np.uint8))).all()
    if finite:
        assert encoded(values, kind) == expected
    else:
        with pytest.raises(OverflowError):
            encoded(values, kind)


@by_name
@pytest.mark.parametrize("scale", [1e-30, 1e-6, 0.02, 1.0, 300.0, 1e4])
def test_equals_ggml_on_random_values(scale: float, kind: TensorType) -> None:
    values = (np.random.default_rng(1).standard_normal(32 * 5000) * scale).astype(np.float32)
    assert encoded(values, kind) == reference.quantize(values, kind)


@by_name
def test_equals_ggml_on_coarse_values(kind: TensorType) -> None:
    for values in (bf16_values(32 * 5000), bf16_values(32 * 5000, 0x3E80, 0x3E90)):
        assert encoded(values, kind) == reference.quantize(values, kind)


@by_name
def test_equals_gguf_py(kind: TensorType) -> None:
    values = bf16_values(32 * 500)
    expected = gguf.quants.quantize(values.reshape(1, -1), gguf.GGMLQuantizationType(kind.code))
    assert encoded(values, kind) == expected.tobytes()


def special_blocks() -> list[np.ndarray]:
    halves = np.arange(-15.5, 15.5)
    ramp = np.linspace(-1, 1, 32)
    blocks = [
        *(np.concatenate([[top], halves]) for top in (127.0, 16.0, -16.0, 31.0)),
        *(np.arange(32) / n for n in (2, 4, 8)),
        *(sign * np.concatenate([[1.0, -1.0], ramp[2:]]) for sign in (1, -1)),  # ends of equal magnitude
        np.concatenate([ramp[:9], [-1.0, 1.0], ramp[11:]]),
        *(np.full(32, value) for value in (0.0, -0.0, 1.0, -1.0, 0.3, -0.3, 1e-38, 1e-42, 65504.0 * 8, LARGEST)),
        *(np.concatenate([zeros, rest]) for zeros in ([0.0, -0.0], [-0.0, 0.0])
          for rest in (np.zeros(30), -np.zeros(30), np.arange(30.0), -np.arange(30.0))),
        np.concatenate([[1e-40], np.zeros(31)]),
        np.concatenate([[1e-45], np.full(31, -1e-45)]),
        np.concatenate([[65519.0 * 127, 3.0], ramp[2:]]),
        np.concatenate([[65519.0, -65519.0], ramp[2:]]),
        np.concatenate([[LARGEST, -LARGEST], ramp[2:]]),
    ]  # fmt: skip
    rows = [np.asarray(block, np.float32) for block in blocks]
    for row in rows[:10]:
        for side in (0, 1e9):
            near = np.nextafter(row, np.float32(side))
            rows += [near, np.concatenate([row[:1], near[1:]])]
    return rows


@by_name
def test_equals_ggml_on_ties_zeros_and_extremes(kind: TensorType) -> None:
    for block in special_blocks():
        check(block, kind)


few = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -3.5, 7.0, -8.0, 1e-40, 2.0**-125])
anything = st.floats(width=32, allow_nan=False, allow_infinity=False)
moderate = st.floats(-8e5, 8e5, width=32)


@settings(deadline=None)
@given(st.one_of(arrays(np.float32, 64, elements=e) for e in (few, anything, moderate, few | moderate)))
def test_equals_ggml_on_any_values(values: np.ndarray) -> None:
    for kind in KINDS:
        check(values.copy(), kind)


@pytest.mark.parametrize("kind", [F16, BF16], ids=lambda kind: kind.name)
def test_halves_equal_ggml_about_every_rounding_step(kind: TensorType) -> None:
    """All patterns of the upper half of a float32, and those of the lower about its ties, for both types."""
    lower = np.array([0, 1, 0x0FFF, 0x1000, 0x1001, 0x2000, 0x3000, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    bits = np.arange(65536, dtype=np.uint32)[:, None] << 16 | lower
    values = bits.reshape(-1).view(np.float32)
    largest = 65520 if kind is F16 else np.uint32(0x7F7F8000).view(np.float32)
    values = values[np.abs(values) < largest]
    assert encoded(values, kind) == reference.quantize(values, kind)
    for beyond in (largest, -largest):
        with pytest.raises(OverflowError):
            encoded(np.array([0, beyond], np.float32), kind)


@by_name
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite(kind: TensorType, bad: float) -> None:
    for at in (0, 40, 95):
        values = np.ones(96, np.float32)
        values[at] = bad
        with pytest.raises(OverflowError):
            encoded(values, kind)


def test_refuses_every_nan() -> None:
    """Their patterns overflow when BF16 is rounded by adding to them."""
    for bits in (0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF):
        with pytest.raises(OverflowError):
            encoded(np.array([bits], np.uint32).view(np.float32), BF16)


@pytest.mark.parametrize("kind", BLOCKS, ids=lambda kind: kind.name)
def test_blocks_too_small_for_a_scale_stay_as_small(kind: TensorType) -> None:
    """There C's result is undefined; ours must be finite, and zero as nearly as the values are."""
    for tiny in (1e-38, 1e-41, 1e-44):
        values = (np.linspace(-1, 1, 64) * tiny).astype(np.float32)
        found = quantize.DECODERS[kind](np.frombuffer(encoded(values, kind), np.uint8))
        assert np.abs(found - values).max() <= tiny


def random_bytes(kind: TensorType, count: int = 3000) -> np.ndarray:
    """Blocks with every kind of code and finite scales."""
    random = np.random.default_rng(3)
    raw = random.integers(0, 256, (count, kind.size), dtype=np.uint8)
    if kind is MXFP4:
        raw[:, 0] = np.minimum(raw[:, 0], 252)
    else:
        numbers = {Q8_0: 1, Q5_0: 1, Q4_0: 1, Q5_1: 2, Q4_1: 2}[kind]
        finite = random.standard_normal((count, numbers)) * np.logspace(-8, 4, count)[:, None]
        raw[:, : 2 * numbers] = finite.astype("<f2").view(np.uint8)
    return raw.reshape(-1)


@pytest.mark.parametrize("kind", BLOCKS, ids=lambda kind: kind.name)
def test_decoders_equal_ggml(kind: TensorType) -> None:
    raw = random_bytes(kind)
    found = quantize.DECODERS[kind](raw)
    expected = reference.dequantize(raw, kind)
    assert np.array_equal(found, expected)
    assert kind is MXFP4 or found.tobytes() == expected.tobytes()  # ggml takes the sign from MXFP4's -0
    by_gguf = gguf.quants.dequantize(raw.reshape(1, -1), gguf.GGMLQuantizationType(kind.code))
    assert np.array_equal(found, by_gguf.reshape(-1))


@pytest.mark.parametrize("kind", [F32, F16, BF16], ids=lambda kind: kind.name)
def test_floats_return_as_they_were(kind: TensorType) -> None:
    values = bf16_values(4096)
    assert quantize.DECODERS[kind](np.frombuffer(encoded(values, kind), np.uint8)).tobytes() == values.tobytes()


def test_there_is_a_decoder_for_each_encoder_and_the_sizes_are_those_of_the_format() -> None:
    assert quantize.DECODERS.keys() == quantize.ENCODERS.keys()
    values = np.zeros(320, np.float32)
    for kind in KINDS:
        assert len(encoded(values, kind)) == kind.nbytes([320])
        assert gguf_format.TENSOR_TYPES[kind.code] is kind


@by_name
def test_no_values_are_no_bytes(kind: TensorType) -> None:
    assert encoded(np.zeros(0, np.float32), kind) == b""


def test_widening_is_exact_for_every_pattern() -> None:
    bits = np.arange(65536, dtype="<u2")
    widened = quantize.to_float32(bits.view(np.uint8), "BF16")
    assert np.array_equal(widened.view(np.uint32), bits.astype(np.uint32) << 16)
    half = quantize.to_float32(bits.view(np.uint8), "F16")
    assert np.array_equal(half, bits.view("<f2").astype(np.float32), equal_nan=True)
    assert quantize.to_float32(np.array([1.5], "<f4").view(np.uint8), "F32").tolist() == [1.5]
