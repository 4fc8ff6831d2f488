"""From planned tensors to their bytes in the file, piece by piece: read, repack or quantize, hand on.

A piece is what one thread does at a time. It is done in tiles so small that all copies of one stay in the processor's
cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inglenook_convert import gguf_format as gguf
from inglenook_convert import halves, mxfp4, quantize, values
from inglenook_convert.errors import ConvertError
from inglenook_convert.plan import PlannedTensor
from inglenook_convert.reader import ShardReader
from inglenook_convert.sources import DenseRows, Mxfp4Rows

_PIECE = 1 << 22  # elements
_MXFP4_TILE = 1 << 19  # elements; half a byte each, and some five copies of them
_DENSE_TILE = 1 << 16  # elements; up to four bytes each, and some ten copies of them

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows [first, first + count) of a tensor."""

    tensor: PlannedTensor
    first: int
    count: int

    @property
    def nbytes(self) -> int:
        """Bytes of its data in the file."""
        return self.tensor.kind.nbytes((self.count, values.width_of(self.tensor.source)))

    @property
    def memory(self) -> int:
        """About how many bytes it takes to produce this."""
        source = self.tensor.source
        width = values.width_of(source)
        # What must be read at once is there as stored, as floats, and once more while it is put in order.
        return self.nbytes + 12 * values.good_rows(source) * width


def pieces(tensors: Iterable[PlannedTensor]) -> Iterator[Piece]:
    """The pieces of all `tensors`, in order."""
    for tensor in tensors:
        source = tensor.source
        for first, count in _spans(0, values.rows_of(source), _height(_PIECE, tensor)):
            yield Piece(tensor, first, count)


def produce(piece: Piece, reader: ShardReader, out: Bytes | None = None) -> Bytes:
    """The data of `piece` as the file has it, 1-D, in `out` if that is given. For any thread. Raises `ConvertError`."""
    tensor = piece.tensor
    if out is None:
        out = np.empty(piece.nbytes, np.uint8)
    if values.is_mxfp4(tensor.source) and tensor.kind == gguf.MXFP4:
        assert isinstance(tensor.source, Mxfp4Rows)
        _repack(tensor.source, piece, reader, out.reshape(-1, gguf.MXFP4.size))
    else:
        _encode(piece, reader, out)
    return out


def _repack(source: Mxfp4Rows, piece: Piece, reader: ShardReader, out: Bytes) -> None:
    at = 0
    for first, count in _spans(piece.first, piece.count, _height(_MXFP4_TILE, piece.tensor)):
        blocks, scales = values.blocks(source, first, count, reader)
        mxfp4.repack(blocks, scales, out[at : at + scales.size])
        at += scales.size


def _encode(piece: Piece, reader: ShardReader, out: Bytes) -> None:
    try:
        if values.is_bf16(piece.tensor.source) and piece.tensor.kind in halves.ENCODERS:
            _encode_halves(piece, reader, out)
        else:
            _encode_floats(piece, reader, out)
    except OverflowError:
        source = piece.tensor.source
        stored = source.stored[0]
        adapter = next((f", merged with {t.file}," for t in source.stored if t.file.parent != stored.file.parent), "")
        raise ConvertError(
            f"{stored.file}: tensor {stored.name!r}{adapter} has values that are infinite, not a number, or too"
            f" large for {piece.tensor.kind.name}. The file is damaged: get it again."
        ) from None


def _encode_halves(piece: Piece, reader: ShardReader, out: Bytes) -> None:
    tensor, source = piece.tensor, piece.tensor.source
    assert isinstance(source, DenseRows)
    encode = halves.ENCODERS[tensor.kind]
    at = 0
    for first, count in _spans(piece.first, piece.count, _height(halves.TILE, tensor)):
        stored = values.halves(source, first, count, reader)
        size = tensor.kind.nbytes(stored.shape)
        encode(stored, out[at : at + size])
        at += size


def _encode_floats(piece: Piece, reader: ShardReader, out: Bytes) -> None:
    tensor, source = piece.tensor, piece.tensor.source
    encode = _encoder(tensor)
    at = 0
    for first, count in _spans(piece.first, piece.count, _height(_DENSE_TILE, tensor)):
        floats = values.floats(source, first, count, reader)
        for start in range(0, len(floats), _DENSE_TILE):
            data = encode(floats[start : start + _DENSE_TILE])
            out[at : at + len(data)] = data
            at += len(data)


def _encoder(tensor: PlannedTensor) -> Callable[[Floats], Bytes]:
    if tensor.kind == gguf.MXFP4 and tensor.best:
        return quantize.mxfp4_best
    return quantize.ENCODERS[tensor.kind]


def _height(elements: int, tensor: PlannedTensor) -> int:
    """The rows of about so many elements, in a multiple that is good to read."""
    good = values.good_rows(tensor.source)
    return max(1, elements // (values.width_of(tensor.source) * good)) * good


def _spans(first: int, count: int, height: int) -> Iterator[tuple[int, int]]:
    """(first row, rows) of parts of at most `height` rows."""
    for start in range(first, first + count, height):
        yield start, min(height, first + count - start)
