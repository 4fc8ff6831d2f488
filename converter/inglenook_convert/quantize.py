"""Floats to GGUF types, byte for byte as ggml's reference quantizers do it, and back.

The encoders cut what they get into pieces that fit the processor's cache. Bits are used as integers where numpy is
several times as fast with those. "Reference" is quantize_row_*_ref in ggml-quants.c, without fused multiply-adds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inglenook_convert import gguf_format as gguf
from inglenook_convert import mxfp4

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Encoder = Callable[[Floats], Bytes]
Decoder = Callable[[Bytes], Floats]

_PIECE = 1 << 16  # elements; some six arrays of this size are in use at a time
_MAGNITUDE = np.int32(0x7FFFFFFF)
_SIGN = np.uint32(0x80000000)
_BELOW_HALF = np.uint32(0x3EFFFFFF)  # the largest float32 below 0.5
_F16_END = 65520.0  # from here on the nearest F16 is infinity

# Blocks of 32 elements. Q8_0 has a code in a byte; the others have the lower four bits of elements j and j + 16 in the
# low and high half of byte j, and "fifth" has bit 4 of element i in its bit i.
Q8_0_BLOCK = np.dtype([("scale", "<f2"), ("codes", "u1", 32)])
Q8_0_WHOLE = np.dtype([("scale", "<f2"), ("codes", "V32")])  # the same, and copied as one thing
_Q5_1 = np.dtype([("scale", "<f2"), ("low", "<f2"), ("fifth", "u1", 4), ("codes", "u1", 16)])
_Q5_0 = np.dtype([("scale", "<f2"), ("fifth", "u1", 4), ("codes", "u1", 16)])
_Q4_1 = np.dtype([("scale", "<f2"), ("low", "<f2"), ("codes", "u1", 16)])
_Q4_0 = np.dtype([("scale", "<f2"), ("codes", "u1", 16)])


def to_float32(raw: Bytes, dtype: str) -> Floats:
    """The values stored in `raw` (1-D, contiguous) as little-endian BF16, F16 or F32."""
    if dtype == "BF16":
        widened = raw.view("<u2").astype(np.uint32)
        widened <<= np.uint32(16)
        return widened.view(np.float32)
    return raw.view("<f2" if dtype == "F16" else "<f4").astype(np.float32, copy=False)


def f32(values: Floats) -> Bytes:
    """The values as they are. Raises `OverflowError` if one is not finite."""
    if not np.isfinite(values).all():
        raise OverflowError
    return values.view(np.uint8)


def f16(values: Floats) -> Bytes:
    """The nearest F16, the even one of two. Raises `OverflowError` from 65520 on and for what is not finite."""
    with np.errstate(over="ignore"):
        halves = values.astype("<f2")
    if (halves.view("<u2") & 0x7FFF).max(initial=0) >= 0x7C00:
        raise OverflowError
    return halves.view(np.uint8)


def bf16(values: Floats) -> Bytes:
    """The nearest BF16, the even one of two. Raises `OverflowError` for what is not finite, also after rounding."""
    bits = values.view(np.uint32)
    rounded = bits >> np.uint32(16)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits  # the largest NaNs wrap around
    rounded >>= np.uint32(16)
    halves = rounded.astype("<u2")
    if (halves & 0x7FFF).max(initial=0) >= 0x7F80 or not np.isfinite(values).all():
        raise OverflowError
    return halves.view(np.uint8)


def q8_0(values: Floats) -> Bytes:
    """Blocks of Q8_0, 34 bytes for each 32 of `values` (1-D): scale = max|x| / 127, codes rounded half away from zero.

    Raises `OverflowError` if a value is not finite or its scale is more than F16 holds.
    """
    scale = _largest(values) / np.float32(127)
    codes = values * np.repeat(inverse_of(scale), 32)
    # The cast truncates. Adding 0.5 itself would round 0.49999997 up, since the sum is rounded too.
    signed = codes.view(np.uint32) & _SIGN
    signed |= _BELOW_HALF
    codes += signed.view(np.float32)
    blocks = np.empty(scale.size, Q8_0_BLOCK)
    blocks["scale"] = scale
    blocks.view(Q8_0_WHOLE)["codes"] = codes.astype(np.int8).view("V32")
    return blocks.view(np.uint8)


def _largest(values: Floats) -> Floats:
    """The largest magnitude of each block of 32.

    After a step every element is the largest of twice as many from there on. Half of what is computed is of no use,
    and all of it is faster than anything in numpy that goes block by block.
    """
    largest = values.view(np.int32) & _MAGNITUDE
    other = np.empty_like(largest)
    for distance in (1, 2, 4, 8, 16):
        np.maximum(largest[:-distance], largest[distance:], out=other[:-distance])
        largest, other = other, largest
    return largest[::32].view(np.float32)


def _from_extreme(layout: np.dtype[Any], middle: int, values: Floats) -> Bytes:
    """Q4_0 and Q5_0: the element of the largest magnitude, the first of several, becomes code 0, and zero `middle`."""
    columns = _columns(values)
    low, high = columns.min(axis=0), columns.max(axis=0)
    extreme = np.where(high > -low, high, low)
    tied = np.flatnonzero(high == -low)
    extreme[tied] = _first(columns[:, tied], high[tied])
    # Adding zero takes the sign from -0, which the reference does not look at.
    scale = (extreme + np.float32(0)) / np.float32(-middle)
    columns *= inverse_of(scale)
    columns += np.float32(middle + 0.5)
    codes = columns.astype(np.uint8)
    codes -= (codes == 2 * middle).view(np.uint8)  # what the other end of the range would be
    return _blocks(layout, codes, scale=scale)


def _from_range(layout: np.dtype[Any], top: int, values: Floats) -> Bytes:
    """Q4_1 and Q5_1: the least element becomes code 0 and the largest `top`."""
    columns = _columns(values)
    low, high = columns.min(axis=0), columns.max(axis=0)
    zero = np.flatnonzero(low == 0)  # 0 and -0 are equal, and the reference takes the first
    low[zero] = _first(columns[:, zero], low[zero])
    if not _fits_f16(low):
        raise OverflowError
    with np.errstate(over="ignore"):
        scale = np.abs(high - low) / np.float32(top)  # -0 - 0 is -0
    inverse = inverse_of(scale)
    columns -= low
    columns *= inverse
    columns += np.float32(0.5)
    return _blocks(layout, columns.astype(np.uint8), scale=scale, low=low)


def _columns(values: Floats) -> Floats:
    """A copy with a block in each column [32, n]: numpy works along long rows several times as fast as along short."""
    return values.reshape(-1, 32).T.copy()


def _first(columns: Floats, magnitude: Floats) -> Floats:
    """The first element of each column that has this magnitude."""
    rows = (np.abs(columns) == magnitude).argmax(axis=0)
    found: Floats = columns[rows, np.arange(len(rows))]
    return found


def _fits_f16(numbers: Floats) -> bool:
    return bool(np.abs(numbers).max(initial=0) < _F16_END)  # NaN does not


def inverse_of(scale: Floats) -> Floats:
    """1 / scale. Raises `OverflowError` if a scale is not finite or F16 cannot hold it.

    Where the inverse is infinite the reference is undefined. Here it is 0 then, which makes the block a constant, as
    its scale in F16, which is 0, does anyway.
    """
    if not _fits_f16(scale):
        raise OverflowError
    with np.errstate(divide="ignore", over="ignore"):
        inverse: Floats = np.float32(1) / scale
    inverse[~np.isfinite(inverse)] = 0
    return inverse


def _blocks(layout: np.dtype[Any], codes: Bytes, **fields: Floats) -> Bytes:
    """The bytes of all blocks: `codes` [32, n], and a number for each block by field."""
    out = np.empty(codes.shape[1], layout)
    for name, numbers in fields.items():
        out[name] = numbers
    if "fifth" in (layout.names or ()):
        fifth = (codes >> np.uint8(4)).reshape(4, 8, -1) << np.arange(8, dtype=np.uint8)[:, None]
        out["fifth"] = np.bitwise_or.reduce(fifth, axis=1).T
        codes &= np.uint8(15)
    out["codes"] = (codes[:16] | (codes[16:] << np.uint8(4))).T
    return out.view(np.uint8)


def _decode_q8_0(raw: Bytes) -> Floats:
    blocks = raw.view(Q8_0_BLOCK)
    return _placed(blocks["codes"].view(np.int8).astype(np.float32), blocks)


def _decode(layout: np.dtype[Any], middle: int, raw: Bytes) -> Floats:
    blocks = raw.view(layout)
    codes = np.concatenate([blocks["codes"] & np.uint8(15), blocks["codes"] >> np.uint8(4)], axis=1)
    if "fifth" in (layout.names or ()):
        codes |= np.unpackbits(blocks["fifth"], axis=1, bitorder="little") << np.uint8(4)
    values = codes.astype(np.float32)
    values -= np.float32(middle)
    return _placed(values, blocks)


def _placed(values: Floats, blocks: NDArray[Any]) -> Floats:
    """The codes `values` [n, 32] with the blocks' scales and offsets, as one row."""
    with np.errstate(invalid="ignore"):  # a damaged file may have infinite scales
        values *= blocks["scale"].astype(np.float32)[:, None]
        if "low" in (blocks.dtype.names or ()):
            values += blocks["low"].astype(np.float32)[:, None]
    return values.reshape(-1)


def _decode_mxfp4(raw: Bytes) -> Floats:
    return mxfp4.decode_ggml(raw.reshape(-1, 17)).reshape(-1)


def _in_pieces(encode: Encoder) -> Encoder:
    def encode_all(values: Floats) -> Bytes:
        if values.size <= _PIECE:
            return encode(values)
        return np.concatenate([encode(values[at : at + _PIECE]) for at in range(0, values.size, _PIECE)])

    return encode_all


ENCODERS: dict[gguf.TensorType, Encoder] = {
    gguf.F32: f32,
    gguf.F16: _in_pieces(f16),
    gguf.BF16: _in_pieces(bf16),
    gguf.Q8_0: _in_pieces(q8_0),
    gguf.Q5_1: _in_pieces(partial(_from_range, _Q5_1, 31)),
    gguf.Q5_0: _in_pieces(partial(_from_extreme, _Q5_0, 16)),
    gguf.Q4_1: _in_pieces(partial(_from_range, _Q4_1, 15)),
    gguf.Q4_0: _in_pieces(partial(_from_extreme, _Q4_0, 8)),
    gguf.MXFP4: _in_pieces(mxfp4.encode),
}
"""By type: 1-D float32, a whole number of blocks, to the bytes of the type, 1-D. They raise `OverflowError`."""

mxfp4_best = _in_pieces(mxfp4.encode_best)
"""As `ENCODERS[MXFP4]`, with the exponents of the least squared error."""

DECODERS: dict[gguf.TensorType, Decoder] = {
    gguf.F32: partial(to_float32, dtype="F32"),
    gguf.F16: partial(to_float32, dtype="F16"),
    gguf.BF16: partial(to_float32, dtype="BF16"),
    gguf.Q8_0: _decode_q8_0,
    gguf.Q5_1: partial(_decode, _Q5_1, 0),
    gguf.Q5_0: partial(_decode, _Q5_0, 16),
    gguf.Q4_1: partial(_decode, _Q4_1, 0),
    gguf.Q4_0: partial(_decode, _Q4_0, 8),
    gguf.MXFP4: _decode_mxfp4,
}
"""By type: the bytes of the type, 1-D, to the values they stand for, 1-D float32."""
