"""llama.cpp's own quantizers, called in the installed library: what ours must equal byte for byte."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import llama_cpp
import numpy as np
from llama_cpp._ggml import libggml

from inglenook_convert.gguf_format import TensorType


def _library() -> ctypes.CDLL:
    """As `inglenook.engine.llama` finds it."""
    if sys.platform == "win32":
        return ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "ggml-base.dll"))
    return libggml


_ggml = _library()
_quantize = _ggml.ggml_quantize_chunk
_quantize.restype = ctypes.c_size_t
_quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]


def quantize(values: np.ndarray, kind: TensorType) -> bytes:
    """The bytes of `values` (1-D float32) as one row of type `kind`."""
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    out = np.zeros(kind.nbytes([values.size]), np.uint8)
    assert _quantize(kind.code, values.ctypes.data, out.ctypes.data, 0, 1, values.size, None) == out.size
    return out.tobytes()


def dequantize(raw: np.ndarray, kind: TensorType) -> np.ndarray:
    """The values of `raw` (1-D uint8), a block type."""
    function = getattr(_ggml, f"dequantize_row_{kind.name.lower()}")
    function.restype, function.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    out = np.zeros(raw.size // kind.size * kind.block, np.float32)
    function(raw.ctypes.data, out.ctypes.data, out.size)
    return out
