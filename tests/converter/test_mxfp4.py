import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.converter.checkpoints import slow_mxfp4

from inglenook_convert import mxfp4


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


@given(st.binary(min_size=16, max_size=16), st.integers(0, 254))
def test_any_block(codes: bytes, scale: int) -> None:
    blocks, scales = np.frombuffer(codes, np.uint8).reshape(1, 16), np.array([scale], np.uint8)
    assert same_values(blocks, scales, repacked(blocks, scales))


@pytest.mark.filterwarnings("ignore:overflow")
def test_decoders_agree_with_the_slow_one() -> None:
    blocks, scales = random_blocks(300)
    expected = slow_mxfp4(blocks, scales).astype(np.float32).reshape(-1, 32)
    assert np.array_equal(mxfp4.decode_checkpoint(blocks, scales), expected)
    assert np.array_equal(mxfp4.decode_ggml(repacked(blocks, scales)), expected)
