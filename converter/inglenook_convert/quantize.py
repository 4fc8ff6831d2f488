"""Dense values to GGUF types, byte for byte as ggml's reference quantizers do it.

Callers pass pieces that fit the processor's cache; nothing here keeps more than a few copies of a piece.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from inglenook_convert import gguf_format as gguf

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_Q8_0 = np.dtype([("scale", "<f2"), ("codes", "V32")])
_SIGN = np.uint32(0x80000000)
_BELOW_HALF = np.uint32(0x3EFFFFFF)  # the largest float32 below 0.5


def to_float32(raw: Bytes, dtype: str) -> Floats:
    """The values stored in `raw` (1-D, contiguous) as little-endian BF16, F16 or F32."""
    if dtype == "BF16":
        widened = raw.view("<u2").astype(np.uint32)
        widened <<= np.uint32(16)
        return widened.view(np.float32)
    return raw.view("<f2" if dtype == "F16" else "<f4").astype(np.float32, copy=False)


def q8_0(values: Floats) -> Bytes:
    """Blocks of Q8_0, 34 bytes for each 32 of `values` (1-D): scale = max|x| / 127, codes rounded half away from zero.

    Raises `OverflowError` if a value is not finite or its scale is more than F16 holds. Source: quantize_row_q8_0_ref
    in ggml-quants.c. Bits are used as integers where numpy is several times as fast with those.
    """
    magnitudes = values.view(np.uint32) & ~_SIGN
    scale = magnitudes.reshape(-1, 32).max(axis=1).view(np.float32) / np.float32(127)
    if scale.size and not scale.max() <= np.finfo(np.float16).max:  # also if it is NaN
        raise OverflowError
    # Where the inverse is infinite the reference is undefined; such blocks become zero, as their F16 scale is anyway.
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / scale
    inverse[~np.isfinite(inverse)] = 0
    scaled = values.reshape(-1, 32) * inverse[:, None]
    # The cast truncates. Adding 0.5 itself would round 0.49999997 up, since the sum is rounded too.
    signed = scaled.view(np.uint32) & _SIGN
    signed |= _BELOW_HALF
    scaled += signed.view(np.float32)
    out = np.empty(len(scale), _Q8_0)
    out["scale"] = scale
    out["codes"] = scaled.astype(np.int8).view("V32").reshape(-1)
    return out.view(np.uint8)


def f32(values: Floats) -> Bytes:
    """The values as they are."""
    return values.view(np.uint8)


ENCODERS: dict[gguf.TensorType, Callable[[Floats], Bytes]] = {gguf.F32: f32, gguf.Q8_0: q8_0}
