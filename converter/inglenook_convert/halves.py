"""BF16 as it is stored to Q8_0 and to BF16, byte for byte as `quantize` does it with the floats.

Most of what a published checkpoint has beside its experts goes this way. On sixteen bits numpy is twice as fast as on
the floats, and without their signs even the codes fit a byte until they are done.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from inglenook_convert import gguf_format as gguf
from inglenook_convert import quantize
from inglenook_convert.quantize import Q8_0_BLOCK, Q8_0_WHOLE

Bytes = NDArray[np.uint8]
Halves = NDArray[np.uint16]

TILE = 1 << 17  # elements; all copies of them stay in the processor's cache, and a call is a small part of the time
_MAGNITUDE = np.uint16(0x7FFF)
_INFINITE = 0x7F80
_SIXTEEN = np.uint32(16)
_ONE = np.uint8(1)
_LOW_BITS = np.uint64(0x7F7F7F7F7F7F7F7F)


def bf16(halves: Halves, out: Bytes) -> None:
    """Copies them. Raises `OverflowError` if one is not finite."""
    if (halves & _MAGNITUDE).max(initial=0) >= _INFINITE:
        raise OverflowError
    out[:] = halves.view(np.uint8)


def q8_0(halves: Halves, out: Bytes) -> None:
    """Blocks of Q8_0, for which see `quantize.q8_0`.

    The codes are made twice as large as they are to be, so that what the cast cuts off tells how to round: a half, away
    from zero, is an odd number. Their signs come last, from two's complement.
    """
    magnitudes = halves & _MAGNITUDE
    largest = _largest(magnitudes).astype(np.uint32)
    if largest.max(initial=0) >= _INFINITE:
        raise OverflowError
    largest <<= _SIXTEEN
    scale = largest.view(np.float32) / np.float32(127)
    inverse = quantize.inverse_of(scale)
    with np.errstate(over="ignore"):
        inverse += inverse
    if np.isinf(inverse).any():
        out[:] = quantize.q8_0(quantize.to_float32(halves.view(np.uint8), "BF16"))
        return
    widened = magnitudes.astype(np.uint32)
    widened <<= _SIXTEEN
    doubled = widened.view(np.float32)
    doubled *= np.repeat(inverse, 32)
    codes = doubled.astype(np.uint8)
    codes += _ONE
    eight = codes.view(np.uint64)  # a shift of single bytes takes three times as long
    eight >>= np.uint64(1)
    eight &= _LOW_BITS
    negative = (halves.view(np.int16) < 0).view(np.uint8)
    np.negative(negative, out=negative)
    codes += negative
    codes ^= negative
    out.view(Q8_0_BLOCK)["scale"] = scale
    out.view(Q8_0_WHOLE)["codes"] = codes.view("V32")


def _largest(magnitudes: Halves) -> Halves:
    """The largest of each block of 32: as in `quantize`, but the half of no use is left out after the first step."""
    other = np.empty_like(magnitudes)
    np.maximum(magnitudes[:-16], magnitudes[16:], out=other[:-16])
    largest = other.view("V32")[::2].copy().view(np.uint16)
    other = np.empty_like(largest)
    for distance in (1, 2, 4, 8):
        np.maximum(largest[:-distance], largest[distance:], out=other[:-distance])
        largest, other = other, largest
    return largest[::16]


ENCODERS: dict[gguf.TensorType, Callable[[Halves, Bytes], None]] = {gguf.BF16: bf16, gguf.Q8_0: q8_0}
"""By type: stored BF16, 1-D, a whole number of blocks and at most `TILE`, to its bytes. They raise `OverflowError`."""
