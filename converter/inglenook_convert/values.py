"""The values of a source, as float32 or as MXFP4 blocks, for any range of its rows.

Safe for several threads if the reader is. Nothing is kept between calls, and a call holds little more than it returns.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from inglenook_convert import mxfp4
from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import DTYPE_BYTES, StoredTensor
from inglenook_convert.reader import ShardReader
from inglenook_convert.sources import DenseColumns, DenseRows, Joined, LowRank, Merged, Mxfp4Rows, Source

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_PANEL = 16 << 20  # bytes of float32 that `good_rows` of a transposed matrix come to at most
_LINES = 512 << 10  # bytes of a transposed matrix read at once: what is picked from them stays in the cache
_LORA_ROWS = 256  # so many rows make reading the factor that all rows share cheap


def rows_of(source: Source) -> int:
    """Rows of the GGUF tensor, all its leading dimensions flattened; 1 for a 1-D tensor."""
    match source:
        case DenseRows():
            return prod(source.tensor.shape) // (width_of(source) * source.step)
        case DenseColumns():
            return source.tensor.shape[0] * source.tensor.shape[2] // source.step
        case Mxfp4Rows():
            return source.scales.nbytes // (source.width * source.step)
        case Joined():
            return sum(map(rows_of, source.parts))
        case Merged():
            return rows_of(source.base)


def width_of(source: Source) -> int:
    """Elements of a row."""
    match source:
        case DenseRows():
            return source.tensor.shape[-1] // source.step if _takes_elements(source) else source.width
        case DenseColumns():
            return source.tensor.shape[1]
        case Mxfp4Rows():
            return source.width * 32
        case Joined():
            return width_of(source.parts[0])
        case Merged():
            return width_of(source.base)


def good_rows(source: Source) -> int:
    """Reading is cheap in multiples of so many rows; from a row that is such a multiple it is cheapest."""
    match source:
        case DenseColumns():
            rows = source.tensor.shape[2] // source.step
            panels = min(rows, -(-rows * width_of(source) * 4 // _PANEL))
            while rows % panels:
                panels += 1
            return rows // panels
        case Merged():
            each = rows_of(source) // len(source.changes)
            # A transposed product needs all of its `b` for any row.
            whole = any(change is not None and change.transposed for change in source.changes)
            return each if whole else max(good_rows(source.base), min(each, _LORA_ROWS))
        case _:
            return 1


def is_mxfp4(source: Source) -> bool:
    """Whether the values are stored as MXFP4, so that `blocks` has them exactly."""
    return isinstance(source, Mxfp4Rows)


def is_bf16(source: Source) -> bool:
    """Whether the values are stored as BF16 in rows that `halves` can read."""
    return isinstance(source, DenseRows) and source.tensor.dtype == "BF16"


def halves(source: DenseRows, first: int, count: int, reader: ShardReader) -> NDArray[np.uint16]:
    """Rows [first, first + count) of BF16 as they are stored, 1-D. Raises `ConvertError` if a file is too short."""
    return _stored_rows(source, first, count, reader).view("<u2")


def floats(source: Source, first: int, count: int, reader: ShardReader) -> Floats:
    """Rows [first, first + count) as float32, 1-D, count * width elements.

    Raises `ConvertError` if a file is too short or an MXFP4 scale is 255. Other values are given as they are, so that
    there may be infinities and NaN among them.
    """
    match source:
        case DenseRows():
            return _rows(source, first, count, reader)
        case DenseColumns():
            return _columns(source, first, count, reader)
        case Mxfp4Rows():
            codes, scales = blocks(source, first, count, reader)
            return mxfp4.decode_checkpoint(codes.reshape(-1, 16), scales.reshape(-1)).reshape(-1)
        case Joined():
            spans = _spans(first, count, rows_of(source.parts[0]))
            return np.concatenate([_rows(source.parts[i], at, rows, reader) for i, at, rows in spans])
        case Merged():
            return _merged(source, first, count, reader)


def blocks(source: Mxfp4Rows, first: int, count: int, reader: ShardReader) -> tuple[Bytes, Bytes]:
    """Codes [count, width, 16] and scales [count, width] of rows [first, first + count), as they are stored.

    Raises `ConvertError` for the scale 255, which is no number.
    """
    start, rows = first * source.step, count * source.step
    taken = slice(source.start, None, source.step)
    codes = _read(reader, source.blocks, start * source.width * 16, rows * source.width * 16)
    codes = codes.reshape(rows, source.width, 16)[taken]
    scales = _read(reader, source.scales, start * source.width, rows * source.width).reshape(rows, -1)[taken]
    if scales.max(initial=0) == mxfp4.NAN_SCALE:
        raise ConvertError(
            f"{source.scales.file}: tensor {source.scales.name!r} has the scale 255 (not a number)."
            " The file is damaged: get it again."
        )
    return codes, scales


def _takes_elements(source: DenseRows) -> bool:
    return source.width == 1 and source.step > 1


def _rows(source: DenseRows, first: int, count: int, reader: ShardReader) -> Floats:
    return _widened(_stored_rows(source, first, count, reader), source.tensor.dtype)


def _stored_rows(source: DenseRows, first: int, count: int, reader: ShardReader) -> Bytes:
    # In units of what is taken: rows, or single elements.
    unit = width_of(source) // source.width
    taken, size = count * unit, DTYPE_BYTES[source.tensor.dtype]
    row_bytes = source.width * size
    raw = _read(reader, source.tensor, first * unit * source.step * row_bytes, taken * source.step * row_bytes)
    if source.step == 1:
        return raw
    stored = raw.view(f"V{row_bytes}")[source.start :: source.step]
    return np.ascontiguousarray(stored).view(np.uint8)


def _columns(source: DenseColumns, first: int, count: int, reader: ShardReader) -> Floats:
    _, width, line = source.tensor.shape
    out = np.empty((count, width), np.float32)
    done = 0
    for expert, at, rows in _spans(first, count, line // source.step):
        _transposed(source, expert, at, reader, out[done : done + rows])
        done += rows
    return out.reshape(-1)


def _transposed(source: DenseColumns, expert: int, first: int, reader: ShardReader, out: Floats) -> None:
    """Fills `out` [rows, width] with rows of one expert."""
    _, width, line = source.tensor.shape
    dtype = source.tensor.dtype
    size = DTYPE_BYTES[dtype]
    rows = len(out)
    start, taken = first * source.step, rows * source.step
    # Lines are read whole, several at once, unless only a small part of each is needed.
    whole = taken * 4 >= line
    height = max(1, _LINES // (line * size)) if whole else 1
    for top in range(0, width, height):
        lines = min(height, width - top)
        at = (expert * width + top) * line
        if whole:
            raw = _read(reader, source.tensor, at * size, lines * line * size).reshape(lines, -1)
            raw = raw[:, start * size : (start + taken) * size]
        else:
            raw = _read(reader, source.tensor, (at + start) * size, taken * size).reshape(1, -1)
        stored = raw.view(_STORED[dtype])[:, source.start :: source.step]
        out[:, top : top + lines] = _widened(np.ascontiguousarray(stored.T).view(np.uint8).reshape(-1), dtype).reshape(
            rows, lines
        )


def _merged(source: Merged, first: int, count: int, reader: ShardReader) -> Floats:
    values = floats(source.base, first, count, reader)
    matrix = values.reshape(count, -1)
    done = 0
    for i, at, rows in _spans(first, count, rows_of(source) // len(source.changes)):
        change = source.changes[i]
        if change is not None:
            with np.errstate(over="ignore", invalid="ignore"):  # whoever encodes the values refuses infinities
                left, right = _factors(change, at, rows, reader)
                matrix[done : done + rows] += left @ right
        done += rows
    return values


def _factors(change: LowRank, first: int, count: int, reader: ShardReader) -> tuple[Floats, Floats]:
    """Factors [count, rank] and [rank, width] of rows [first, first + count) of the change."""
    a = _whole(change.a, reader)
    start, rows = first * change.step, count * change.step
    if change.transposed:
        b = _whole(change.b, reader)[:, change.column :: change.columns]
        left, right = a[:, start : start + rows].T, b.T
    else:
        row = change.b.shape[1]
        size = DTYPE_BYTES[change.b.dtype] * row
        b = _widened(_read(reader, change.b, start * size, rows * size), change.b.dtype).reshape(rows, row)
        left, right = b[:, change.column :: change.columns], a
    return left[change.start :: change.step] * np.float32(change.scale), right


def _whole(tensor: StoredTensor, reader: ShardReader) -> Floats:
    return _widened(_read(reader, tensor, 0, tensor.nbytes), tensor.dtype).reshape(tensor.shape)


def _spans(first: int, count: int, each: int) -> list[tuple[int, int, int]]:
    """(part, its first row, rows) of each part, of `each` rows, that has some of the rows [first, first + count)."""
    found = []
    while count:
        part, at = divmod(first, each)
        rows = min(count, each - at)
        found.append((part, at, rows))
        first, count = first + rows, count - rows
    return found


_STORED = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}


def _widened(raw: Bytes, dtype: str) -> Floats:
    """The values stored in `raw` (1-D, contiguous)."""
    stored = raw.view(_STORED[dtype])
    if dtype == "BF16":
        bits = stored.astype(np.uint32)
        bits <<= np.uint32(16)
        return bits.view(np.float32)
    return stored.astype(np.float32, copy=False)


def _read(reader: ShardReader, tensor: StoredTensor, start: int, count: int) -> Bytes:
    assert 0 <= start <= start + count <= tensor.nbytes, tensor.name
    raw = np.empty(count, np.uint8)
    reader.read_into(tensor, start, raw.data)
    return raw
