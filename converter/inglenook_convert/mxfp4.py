"""MXFP4: the safetensors form of a block turned into ggml's, and decoding of either.

A block is 32 elements with one exponent byte s: value = LUT[code] * 2**(s - 127). The checkpoint's 16 code bytes hold
elements (2i, 2i+1) in their low and high nibbles; ggml's 17 bytes are s, then (j, j+16) in low and high nibbles of
byte j. Codes and exponents are the same, so that repacking loses nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Lanes = NDArray[np.uint64]

NAN_SCALE = 255  # in E8M0; llama.cpp refuses a file that has it
_LUT = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
_LOW = np.uint64(0x0F0F0F0F0F0F0F0F)
_HIGH = np.uint64(0xF0F0F0F0F0F0F0F0)
_NIBBLE = np.uint64(4)


def repack(blocks: Bytes, scales: Bytes, out: Bytes) -> None:
    """Writes ggml blocks: `blocks` [n, 16] contiguous and `scales` [n] of a checkpoint to `out` [n, 17].

    Works on eight bytes at once: with a and c the two halves of a block, bytes 0, 2, .. of the result are the low
    nibbles of a and c, bytes 1, 3, .. their high ones.
    """
    lanes: Lanes = blocks.view("<u8")
    first, second = lanes[:, 0], lanes[:, 1]
    even = (first & _LOW) | ((second & _LOW) << _NIBBLE)
    odd = ((first >> _NIBBLE) & _LOW) | (second & _HIGH)
    out[:, 0] = scales
    out[:, 1::2] = even.view(np.uint8).reshape(-1, 8)
    out[:, 2::2] = odd.view(np.uint8).reshape(-1, 8)


def decode_checkpoint(blocks: Bytes, scales: Bytes) -> NDArray[np.float32]:
    """Values [n, 32] of `blocks` [n, 16] and `scales` [n] as a checkpoint has them."""
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(-1, 32)
    return _values(codes, scales)


def decode_ggml(packed: Bytes) -> NDArray[np.float32]:
    """Values [n, 32] of ggml blocks [n, 17]."""
    codes = np.concatenate([packed[:, 1:] & 15, packed[:, 1:] >> 4], axis=-1)
    return _values(codes, packed[:, 0])


def _values(codes: Bytes, scales: Bytes) -> NDArray[np.float32]:
    exponents = scales.astype(np.int32)[:, None] - 127
    values: NDArray[np.float32] = np.ldexp(_LUT[codes], exponents)
    return values
