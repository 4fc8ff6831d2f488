import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.converter import reference
from tests.converter.checkpoints import slow_mxfp4

from inglenook_convert import mxfp4, quantize
from inglenook_convert.gguf_format import MXFP4


def random_blocks(count: int, seed: int = 0, scales: tuple[int, int] = (0, 255)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return (
        random.integers(0, 256, (count, 16), dtype=np.uint8),
        random.integers(*scales, count, dtype=np.uint8),
    )


def repacked(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    out = np.empty((len(blocks), 17), np.uint8)
    mxfp4.repack(blocks, scales, out)
    return out


def decoded_by_gguf(packed: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # the largest scales exceed float32, there as here
        return gguf.quants.dequantize(packed.reshape(1, -1), gguf.GGMLQuantizationType.MXFP4).reshape(-1, 32)


def same_values(blocks: np.ndarray, scales: np.ndarray, packed: np.ndarray) -> bool:
    """The check that the repack must pass, and that wrong repacks must fail."""
    with np.errstate(over="ignore"):
        return np.array_equal(decoded_by_gguf(packed), slow_mxfp4(blocks, scales).astype(np.float32).reshape(-1, 32))


def test_repacked_blocks_decode_to_the_same_values_for_every_scale() -> None:
    blocks, _ = random_blocks(255 * 8)
    scales = np.tile(np.arange(255, dtype=np.uint8), 8)
    assert same_values(blocks, scales, repacked(blocks, scales))


def test_swapped_nibbles_fail_the_same_check() -> None:
    blocks, scales = random_blocks(100, scales=(110, 130))
    assert not same_values(blocks, scales, repacked((blocks << 4) | (blocks >> 4), scales))


def test_codes_left_in_their_order_fail_the_same_check() -> None:
    blocks, scales = random_blocks(100, scales=(110, 130))
    assert not same_values(blocks, scales, np.concatenate([scales[:, None], blocks], axis=1))


def test_repacking_keeps_every_code() -> None:
    """Bits, not values: -0 and +0 differ. Each block's codes in order of elements must be the same."""
    blocks, scales = random_blocks(500)
    packed = repacked(blocks, scales)
    before = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(-1, 32)
    after = np.concatenate([packed[:, 1:] & 15, packed[:, 1:] >> 4], axis=1)
    assert np.array_equal(before, after)
    assert np.array_equal(packed[:, 0], scales)


@settings(deadline=None)
@given(st.binary(min_size=16, max_size=16), st.integers(0, 254))
def test_any_block(codes: bytes, scale: int) -> None:
    blocks, scales = np.frombuffer(codes, np.uint8).reshape(1, 16), np.array([scale], np.uint8)
    assert same_values(blocks, scales, repacked(blocks, scales))


def test_decoders_agree_with_the_slow_one() -> None:
    blocks, scales = random_blocks(300)
    with np.errstate(over="ignore"):
        expected = slow_mxfp4(blocks, scales).astype(np.float32).reshape(-1, 32)
    assert np.array_equal(mxfp4.decode_checkpoint(blocks, scales), expected)
    assert np.array_equal(mxfp4.decode_ggml(repacked(blocks, scales)), expected)


# Encoding. Equality with ggml on ordinary, coarse and extreme values is in test_quantize.

GRID = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
random_scales = (1e-37, 1e-30, 0.01, 0.013, 0.017, 1.0, 1e30, 6e37)


def gaussian(count: int, scale: float, seed: int = 5) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(32 * count) * scale).astype(np.float32)


def deciding_blocks(low: int = -20, high: int = 20) -> np.ndarray:
    """Blocks about the points where another exponent begins to be better: few large ones, many that gain from it.

    In units of powers of two from `low` to `high`.
    """
    random = np.random.default_rng(6)
    rest = random.choice([0.25, 0.2, 0.24, 0.75, 0.5, 1.0, 2.0, 7.5], (1000, 32)).astype(np.float32)
    rest[np.arange(1000) % 2 == 0] = 0.25  # the most that a smaller exponent can gain
    top = np.concatenate([np.linspace(4, 4.6, 500), np.linspace(6.8, 7.99999, 500)])
    rest[:, 0] = random.permutation(top)
    rest *= random.choice([-1, 1], rest.shape) * np.exp2(random.integers(low, high + 1, (1000, 1)))
    return rest.reshape(-1).astype(np.float32)


ENDS = (deciding_blocks(-130, -126), deciding_blocks(124, 125))  # of what exponent bytes and float32 can say


def squared_error(values: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """Of each block, in float64."""
    decoded = mxfp4.decode_ggml(packed.reshape(-1, 17)).astype(np.float64)
    return ((decoded - values.reshape(-1, 32)) ** 2).sum(axis=1)


def least_squared_error(values: np.ndarray) -> np.ndarray:
    """Of each block, over all exponents whose values are finite, each with the nearest of all codes."""
    rows = np.abs(values.reshape(-1, 32)).astype(np.float64)
    least = np.full(len(rows), np.inf)
    for exponent in range(253):
        unit = 2.0 ** (exponent - 127)
        distance = np.minimum.reduce([np.abs(rows - point * unit) for point in GRID])
        least = np.minimum(least, (distance**2).sum(axis=1))
    return least


@pytest.mark.parametrize("values", [deciding_blocks(), *ENDS, *(gaussian(300, scale) for scale in random_scales)])
def test_best_equals_a_search_over_all_exponents(values: np.ndarray) -> None:
    found = squared_error(values, mxfp4.encode_best(values))
    assert np.allclose(found, least_squared_error(values), rtol=1e-12, atol=0)


def test_ggmls_exponents_fail_the_same_check() -> None:
    for values in (deciding_blocks(), gaussian(300, 0.02)):
        found = squared_error(values, mxfp4.encode(values))
        assert not np.allclose(found, least_squared_error(values), rtol=1e-12, atol=0)


def test_best_chooses_larger_and_smaller_exponents() -> None:
    values = deciding_blocks()
    best, plain = (encode(values).reshape(-1, 17) for encode in (mxfp4.encode_best, mxfp4.encode))
    steps = best[:, 0].astype(int) - plain[:, 0]
    assert set(steps) == {-1, 0, 1}
    assert np.array_equal(best[steps == 0], plain[steps == 0])


def exact_errors(block: np.ndarray, exponents: range) -> list[int]:
    """The least error of a block for each exponent, in units of 2**-306, without rounding."""
    scaled = [numerator * 2**153 // denominator for numerator, denominator in map(float.as_integer_ratio, block)]
    found = []
    for exponent in exponents:
        points = [int(2 * point) << (exponent + 25) for point in GRID]
        points = [point for point in points if point < 2 ** (128 + 153)]  # what float32 cannot hold is no value
        found.append(sum(min((abs(value) - point) ** 2 for point in points) for value in scaled))
    return found


few = st.sampled_from(
    [0.0, -0.0, 0.25, -0.25, 0.24, 0.5, 0.75, 1.25, -1.75, 2.5, 3.5, 4.0, 4.4, 4.46875, 5.0, 7.0, 7.5]
)
anything = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=60)
@given(st.one_of(arrays(np.float32, 32, elements=e) for e in (few, anything, few | anything)))
def test_best_is_exactly_the_best_and_never_worse_than_ggml(block: np.ndarray) -> None:
    """`exact_errors` of each exponent is at most what ggml's codes for it have."""
    packed, plain = mxfp4.encode_best(block), mxfp4.encode(block)
    decoded = mxfp4.decode_ggml(packed.reshape(1, 17))[0]
    assert np.isfinite(decoded).all()
    mine = sum(
        (a * 2**153 // b - c * 2**153 // d) ** 2
        for (a, b), (c, d) in zip(*(map(float.as_integer_ratio, v.tolist()) for v in (block, decoded)), strict=True)
    )
    errors = exact_errors(block.tolist(), range(255))
    assert mine == min(errors) <= errors[plain[0]]


@pytest.mark.parametrize("exponent", range(-125, 128))
def test_ggmls_rounding_of_the_logarithm_below_powers_of_two(exponent: int) -> None:
    """Some floats below a power of two have its logarithm in float32; how many depends on the power."""
    largest = np.uint32(exponent + 127 << 23 | 0x7FFFFF)
    blocks = np.zeros((100, 32), np.float32)
    blocks[:, 0] = (largest - np.arange(100, dtype=np.uint32)).view(np.float32)
    blocks[:, 1:] = blocks[:, :1] * np.linspace(-0.6, 0.6, 31, dtype=np.float32)
    assert mxfp4.encode(blocks.reshape(-1)).tobytes() == reference.quantize(blocks.reshape(-1), MXFP4)


def test_values_of_the_format_return_unchanged() -> None:
    blocks, scales = random_blocks(2000, scales=(0, 253))
    values = mxfp4.decode_checkpoint(blocks, scales)
    for encode in (mxfp4.encode, mxfp4.encode_best):
        kept = np.abs(values).max(axis=1) >= 2.0**-125 if encode is mxfp4.encode else np.ones(len(values), np.bool_)
        found = mxfp4.decode_ggml(encode(values.reshape(-1)).reshape(-1, 17))
        assert np.array_equal(found[kept], values[kept])


def test_best_refuses_what_is_not_finite() -> None:
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(OverflowError):
            mxfp4.encode_best(np.array([bad, *np.ones(63)], np.float32))


def test_best_takes_many_pieces_and_none() -> None:
    values = gaussian(5000, 0.02)
    assert quantize.mxfp4_best(values).tobytes() == mxfp4.encode_best(values).tobytes()
    assert quantize.mxfp4_best(values[:0]).size == 0
