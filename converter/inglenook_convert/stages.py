"""From a planned tensor to its bytes in the file, piece by piece: read, repack or quantize, hand on.

Pieces are so small that all copies of one stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from inglenook_convert import gguf_format as gguf
from inglenook_convert import mxfp4, quantize
from inglenook_convert.checkpoint import ShardReader
from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import DTYPE_BYTES, StoredTensor
from inglenook_convert.plan import PlannedTensor
from inglenook_convert.sources import DenseRows, Mxfp4Rows

_DENSE_PIECE = 1 << 18  # bytes read at once; each becomes some ten while it is quantized
_MXFP4_PIECE = 1 << 20  # each becomes some three

Bytes = NDArray[np.uint8]


def pieces(tensor: PlannedTensor, reader: ShardReader) -> Iterator[Bytes]:
    """The tensor's data in order, as 1-D arrays of bytes that are valid until the next one is asked for."""
    if isinstance(tensor.source, Mxfp4Rows):
        assert tensor.kind is gguf.MXFP4
        yield from _repacked(tensor.source, reader)
    else:
        yield from _dense(tensor, tensor.source, reader)


def _repacked(source: Mxfp4Rows, reader: ShardReader) -> Iterator[Bytes]:
    rows = source.scales.nbytes // source.width
    for first, count in _spans(rows, source.width * 16, source.step, _MXFP4_PIECE):
        blocks = _read(reader, source.blocks, first * source.width * 16, count * source.width * 16)
        scales = _read(reader, source.scales, first * source.width, count * source.width)
        if source.step > 1:
            blocks = blocks.reshape(count, -1)[source.start :: source.step].reshape(-1)
            scales = scales.reshape(count, -1)[source.start :: source.step].reshape(-1)
        if scales.max(initial=0) == mxfp4.NAN_SCALE:
            raise ConvertError(
                f"{source.scales.file}: tensor {source.scales.name!r} has the scale 255 (not a number)."
                " The file is damaged: get it again."
            )
        out = np.empty((len(scales), gguf.MXFP4.size), np.uint8)
        mxfp4.repack(blocks.reshape(-1, 16), scales, out)
        yield out.reshape(-1)


def _dense(tensor: PlannedTensor, source: DenseRows, reader: ShardReader) -> Iterator[Bytes]:
    stored = source.tensor
    encode = quantize.ENCODERS[tensor.kind]
    row_bytes = source.width * DTYPE_BYTES[stored.dtype]
    for first, count in _spans(stored.nbytes // row_bytes, row_bytes, source.step, _DENSE_PIECE):
        raw = _read(reader, stored, first * row_bytes, count * row_bytes)
        if source.step > 1:
            raw = raw.reshape(count, row_bytes)[source.start :: source.step].reshape(-1)
        values = quantize.to_float32(raw, stored.dtype)
        try:
            yield encode(values)
        except OverflowError:
            raise ConvertError(
                f"{stored.file}: tensor {stored.name!r} has values that are infinite, not a number, or too large"
                f" for {tensor.kind.name}. The file is damaged: get it again."
            ) from None


def _spans(rows: int, row_bytes: int, step: int, piece: int) -> Iterator[tuple[int, int]]:
    """(first row, rows) of each piece of about `piece` bytes, in multiples of `step` rows."""
    height = max(1, piece // (row_bytes * step)) * step
    for first in range(0, rows, height):
        yield first, min(height, rows - first)


def _read(reader: ShardReader, tensor: StoredTensor, start: int, count: int) -> Bytes:
    raw = np.empty(count, np.uint8)
    reader.read_into(tensor, start, raw.data)
    return raw
