"""Dense values to GGUF types, byte for byte as ggml's reference quantizers do it.

Callers pass pieces that fit the processor's cache; nothing here keeps more than a few copies of a piece.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_Q8_0 = np.dtype([("scale", "<f2"), ("codes", "i1", (32,))])


def to_float32(raw: Bytes, dtype: str) -> Floats:
    """The values stored in `raw` (1-D, contiguous) as little-endian BF16, F16 or F32."""
    if dtype == "BF16":
        widened = raw.view("<u2").astype(np.uint32)
        widened <<= np.uint32(16)
        return widened.view(np.float32)
    return raw.view("<f2" if dtype == "F16" else "<f4").astype(np.float32, copy=False)


def q8_0(values: Floats) -> Bytes:
    """Blocks of Q8_0, 34 bytes for each 32 of `values` (1-D, finite): scale = max|x| / 127, codes rounded half away.

    Raises `OverflowError` if a scale exceeds what F16 holds. Source: quantize_row_q8_0_ref in ggml-quants.c.
    """
    blocks = values.reshape(-1, 32)
    scale = np.abs(blocks).max(axis=1) / np.float32(127)
    if scale.size and not scale.max() <= np.finfo(np.float16).max:  # also if it is NaN
        raise OverflowError
    # A scale so small that its inverse is infinite makes codes of infinity or NaN in the reference too (undefined
    # there); such blocks become zero, as their F16 scale is zero anyway.
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / scale
    inverse[~np.isfinite(inverse)] = 0
    scaled = blocks * inverse[:, None]
    # Half away from zero, in float32: floor(|x|) and then one more if the rest is at least a half. Adding 0.5 first
    # would round 0.49999997 up.
    magnitude = np.abs(scaled)
    whole = np.floor(magnitude)
    magnitude -= whole
    whole += magnitude >= np.float32(0.5)
    np.copysign(whole, scaled, out=whole)
    out = np.empty(len(blocks), _Q8_0)
    out["scale"] = scale
    out["codes"] = whole
    return out.view(np.uint8)
