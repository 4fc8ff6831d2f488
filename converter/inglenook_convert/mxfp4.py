"""MXFP4: a checkpoint's blocks turned into ggml's, floats encoded, and decoding of either form.

A block is 32 elements with one exponent byte s: value = LUT[code] * 2**(s - 127). The checkpoint's 16 code bytes hold
elements (2i, 2i+1) in their low and high nibbles; ggml's 17 bytes are s, then (j, j+16) in low and high nibbles of
byte j. Codes and exponents are the same, so that repacking loses nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Integers = NDArray[np.int32]

NAN_SCALE = 255  # in E8M0; llama.cpp refuses a file that has it
_LUT = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
_MIDDLES = ((_LUT[:7] + _LUT[1:8]) / 2).tolist()  # between neighbours; there the smaller one is chosen
_PAIRS = np.stack([np.tile(_LUT, 16), np.repeat(_LUT, 16)], axis=1)  # of a byte: its low and its high nibble's value
_SCALES = np.array([2.0**e for e in range(-127, 128)] + [np.inf], np.float32)  # of an exponent byte
_LOW = np.uint64(0x0F0F0F0F0F0F0F0F)
_NIBBLE = np.uint64(4)
_PACKED = np.dtype([("scale", "u1"), ("codes", "V16")])
_REPACKED = 8192  # blocks at a time: all copies of them stay in the processor's cache
_LINE = 64  # bytes of the processor's cache
_MAGNITUDE = np.int32(0x7FFFFFFF)
_INFINITE = 0x7F800000
_MANTISSA = 23  # bits of a float32
_LARGEST = 252  # the largest exponent whose values are all finite in float32


def _log2_slack() -> Integers:
    """By exponent field of x: how many floats below the next power of two 2**k have log2f(x) = k.

    log2(2**k (1 - j 2**-24)) = k - j 2**-24 / ln 2, and that rounds to k up to half the distance of k to the float
    below it.
    """
    powers = (np.arange(256) - 126).astype(np.float32)
    half = (powers.astype(np.float64) - np.nextafter(powers, np.float32(-np.inf))) / 2
    slack: Integers = np.floor(half * np.log(2) * 2**24).astype(np.int32)
    return slack


_LOG2_SLACK = _log2_slack()


def repack(blocks: Bytes, scales: Bytes, out: Bytes) -> None:
    """Writes ggml blocks of 17 bytes: `blocks` [rows, n, 16] and `scales` [rows, n] of a checkpoint to `out` [.., 17].

    Of a block's halves a and c, output byte 2i has the low nibbles of their bytes i, and byte 2i+1 the high ones.
    With t = (a >> 4 ^ c) & low, the odd bytes are c ^ t and the even ones a ^ t << 4: all of it on eight bytes at
    once. Then both are widened to put one between the other, and a block's bytes are copied as one thing.
    """
    fields = out.reshape(-1).view(_PACKED).reshape(scales.shape)
    fields["scale"] = scales
    codes = fields["codes"]
    halves = blocks.view("<u8")
    height = max(1, _REPACKED * len(scales) // max(1, scales.size))
    # The same few arrays again and again, so that they stay in the cache: fresh ones take a third more time.
    a, c, t = np.empty((3, min(height, len(scales)), *scales.shape[1:]), "<u8")
    even = np.empty(16 * t.size, np.uint8)
    odd = np.zeros(_LINE + 16 * t.size, np.uint8)
    for at in range(0, len(scales), height):
        count = min(height, len(scales) - at)
        if count < len(a):
            a, c, t = a[:count], c[:count], t[:count]
            even = even[: 16 * t.size]
            odd = odd[: _LINE + 16 * t.size]
        a[:] = halves[at : at + count, ..., 0]
        c[:] = halves[at : at + count, ..., 1]
        np.right_shift(a, _NIBBLE, out=t)
        t ^= c
        t &= _LOW
        c ^= t
        t <<= _NIBBLE
        t ^= a
        even.view("<u2")[:] = t.reshape(-1).view(np.uint8)
        odd[_LINE:].view("<u2")[:] = c.reshape(-1).view(np.uint8)
        even |= odd[_LINE - 1 : -1]  # a byte further on
        codes[at : at + count] = even.view("V16").reshape(t.shape)


def encode(values: Floats) -> Bytes:
    """Blocks as ggml has them, 17 bytes for each 32 of `values` (1-D), byte for byte as ggml's quantizer makes them.

    Its exponent is floor(log2f(max|x|)) - 2. Where that is below what a byte can say (max|x| < 2**-125), C leaves it
    undefined what happens; here such a block has exponent byte 0. Raises `OverflowError` if a value is not finite.
    Source: quantize_row_mxfp4_ref in ggml-quants.c.
    """
    columns, magnitudes, largest = _columns(values)
    exponents = ((largest + _LOG2_SLACK[largest >> _MANTISSA]) >> _MANTISSA) - 2
    np.maximum(exponents, 0, out=exponents)
    codes = _codes(magnitudes * _SCALES[254 - exponents])
    if exponents.max(initial=0) > _LARGEST:  # there codes 6 and 7 are infinite, and ggml never finds them near
        np.minimum(codes, 5, out=codes, where=exponents > _LARGEST)
    return _blocks(columns, codes, exponents)


def encode_best(values: Floats) -> Bytes:
    """As `encode`, but each block with the exponent that makes the sum of squared errors smallest.

    Let a be the block's max|x| in units of 2**e, e = floor(log2 max|x|) - 2, so that 4 <= a < 8, and G(k) the values
    that exponent e + k can say, in these units: G(0) = 0 .5 1 1.5 2 3 4 6, G(1) = 0 1 2 3 4 6 8 12.

    - Upwards: G(1) has nothing that G(0) lacks but 8 and 12, so that it is nearer to no x <= 7, and can be better only
      where a > 7. In the same way G(2) is nearer than G(1) to no x <= 14, and so on: k >= 2 is never better than 1.
    - Down to k = -1: G(-1) = 0 .25 .5 .75 1 1.5 2 3 agrees with G(0) on 1..3, is nearer only to x < 1, and gains at
      most .25**2 there: 31 / 16 with all other elements. On the largest it loses (a-3)**2 - (a-4)**2 = 2a - 7 for
      a <= 5, and at least 3 beyond. So it can be better only where 2a - 7 < 31/16.
    - Further down, G(k) ends at 1.5 or before. On the largest it loses at least (4-1.5)**2 = 6.25, and it gains at most
      31/16 on the others: never better.

    So one other exponent at most is to be tried. Comparing is exact: see `_gain`.
    """
    columns, magnitudes, largest = _columns(values)
    exponents = np.maximum((largest >> _MANTISSA) - 2, 0)
    units = _SCALES[254 - exponents]
    scaled = magnitudes * units
    codes = _codes(scaled)
    top = largest.view(np.float32) * units
    up = (top > 7) & (exponents < _LARGEST)
    down = (top < (7 + 31 / 16) / 2) & (exponents > 0)
    tried = np.flatnonzero(up | down)
    factor = np.where(up[tried], np.float32(2), np.float32(0.5))
    there = scaled.take(tried, axis=1)  # indexing would give a transposed array, several times as slow to work with
    other = _codes(there / factor)
    better = _gain(there, _LUT.take(codes.take(tried, axis=1)), _LUT.take(other) * factor) > 0
    chosen = tried[better]
    codes[:, chosen] = other[:, better]
    exponents[chosen] += np.where(up[chosen], np.int32(1), np.int32(-1))
    return _blocks(columns, codes, exponents)


def decode_checkpoint(blocks: Bytes, scales: Bytes) -> Floats:
    """Values [n, 32] of `blocks` [n, 16] and `scales` [n] as a checkpoint has them; infinite beyond float32."""
    values: Floats = np.take(_PAIRS.view(np.uint64)[:, 0], blocks).view(np.float32)
    return _times(values, scales)


def decode_ggml(packed: Bytes) -> Floats:
    """Values [n, 32] of ggml blocks [n, 17]; infinite beyond float32."""
    values = np.empty((len(packed), 32), np.float32)
    for half in (0, 1):
        values[:, 16 * half : 16 * half + 16] = np.take(_PAIRS[:, half], packed[:, 1:])
    return _times(values, packed[:, 0])


def _times(values: Floats, scales: Bytes) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        values *= _SCALES[scales][:, None]
    return values


def _columns(values: Floats) -> tuple[Floats, Floats, Integers]:
    """A block in each column [32, n], their magnitudes, and the bits of each block's largest. Raises `OverflowError`.

    In columns numpy finds the largest, and multiplies by a number for each block, ten times as fast as in rows. The
    bits of floats without a sign are in the order of the floats, and integers are faster to compare.
    """
    columns = np.ascontiguousarray(values.reshape(-1, 32).T)
    magnitudes = columns.view(np.int32) & _MAGNITUDE
    largest: Integers = magnitudes.max(axis=0)
    if largest.max(initial=0) >= _INFINITE:
        raise OverflowError
    return columns, magnitudes.view(np.float32), largest


def _codes(scaled: Floats) -> Bytes:
    """The code of the value nearest to each magnitude: how many middles are below it."""
    codes: Bytes = (scaled > _MIDDLES[0]).view(np.uint8)
    above = np.empty(scaled.shape, np.bool_)
    for middle in _MIDDLES[1:]:
        codes += np.greater(scaled, middle, out=above).view(np.uint8)
    return codes


def _gain(scaled: Floats, now: Floats, other: Floats) -> NDArray[np.float64]:
    """By how much each block's sum of squared errors is smaller with the values `other` than with `now`.

    No step rounds: where the two differ the element is at least 1/8 and their difference a power of two, so that each
    term is a float32, and in float64 a sum of 32 such terms has room.
    """
    gain: NDArray[np.float64] = ((other - now) * (2 * scaled - now - other)).sum(axis=0, dtype=np.float64)
    return gain


def _blocks(columns: Floats, codes: Bytes, exponents: Integers) -> Bytes:
    """The bytes of all blocks. A zero has no sign, as in ggml's."""
    negative = (columns < 0).view(np.uint8)
    negative &= (codes > 0).view(np.uint8)
    negative <<= np.uint8(3)
    codes |= negative
    out = np.empty((codes.shape[1], 17), np.uint8)
    out[:, 0] = exponents
    out[:, 1:] = (codes[:16] | (codes[16:] << np.uint8(4))).T
    return out.reshape(-1)
