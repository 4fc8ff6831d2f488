"""Compares a GGUF file with its checkpoint, tensor by tensor, and tells by how much each type has rounded.

Every tensor must be, byte for byte, what this converter makes of the checkpoint; how near that is to the checkpoint's
values is seen by decoding it. Both are read once, front to back, in pieces that other processes look at.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inglenook_convert import gguf_format as gguf
from inglenook_convert import quantize, values
from inglenook_convert.errors import ConvertError
from inglenook_convert.gguf_format import KeyValue
from inglenook_convert.headers import GgufSummary, HeaderError, check_gguf
from inglenook_convert.plan import Plan, PlannedTensor
from inglenook_convert.processes import worked
from inglenook_convert.reader import ShardReader
from inglenook_convert.split import headers_of_set
from inglenook_convert.stages import Piece, produce
from inglenook_convert.verified import TensorResult, Verified

_MEMORY = 200 << 20  # bytes; of pieces that are looked at or wait for it
_TILE = 1 << 16  # elements; all copies of a tile stay in the processor's cache
_CHUNK = 1 << 20  # bytes

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

Report = Callable[[str, str, int], None]
"""Called with the phase "verify", tensor name and bytes looked at so far."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Of a piece or a tensor: sums of squares of errors and of values, and how many blocks differ."""

    error: float
    norm: float
    differing: int

    def __add__(self, other: _Found) -> _Found:
        return _Found(self.error + other.error, self.norm + other.norm, self.differing + other.differing)


def read_summaries(files: Sequence[Path]) -> list[GgufSummary]:
    """What the headers of a model's files say. Raises `HeaderError`, also if they are not one whole set in order."""
    summaries = [check_gguf(file) for file in files]
    for number, (file, summary) in enumerate(zip(files, summaries, strict=True)):
        if (summary.values.get("split.no", 0), summary.parts) != (number, len(files)):
            raise HeaderError(f"{file} does not say that it is file {number + 1} of {len(files)}. Get the set again,"
                              " and keep the names of its files.")  # fmt: skip
        for info in summary.tensors:
            if info.kind not in quantize.DECODERS:
                raise ConvertError(f"{file}: tensor {info.name!r} is {info.kind.name}, which this converter never"
                                   " writes, so that it cannot be verified.")  # fmt: skip
    return summaries


def with_types_of(plan: Plan, summaries: Sequence[GgufSummary]) -> Plan:
    """The plan with the types that the files have."""
    kinds = {info.name: info.kind for summary in summaries for info in summary.tensors}
    return replace(plan, tensors=tuple(
        replace(tensor, info=replace(tensor.info, kind=kinds.get(tensor.info.name, tensor.kind)))
        for tensor in plan.tensors
    ))  # fmt: skip


def verify_files(
    files: Sequence[Path], summaries: Sequence[GgufSummary], plan: Plan, metadata: Sequence[KeyValue], report: Report
) -> Verified:
    """Compares the `files` of one model, whose headers are `summaries`, with `plan` and `metadata`.

    Raises `ConvertError` that names the first tensor that is missing, superfluous, of another type or shape, or wrong.
    """
    expected = _matched(files, summaries, plan)
    same_header = _headers_are(files, summaries, metadata)
    results: list[TensorResult] = []
    digests: list[str] = []
    before = 0
    for file, summary in zip(files, summaries, strict=True):
        tensors = [expected[info.name] for info in summary.tensors]
        digest = hashlib.sha256()
        with file.open("rb", buffering=0) as stream:
            if hasattr(os, "posix_fadvise"):  # what is on the disk counts, not what the system remembers of it
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            contents = _Contents(file, stream, summary, digest.update)
            with closing(_results(file, contents, tensors)) as found:  # so that no process outlives an interruption
                for name, end, result in found:
                    report("verify", name, before + summary.data_offset + end)
                    if result:
                        results.append(result)
            contents.finish()
        digests.append(digest.hexdigest())
        before += summary.file_bytes
    return Verified(tuple(files), tuple(digests), before, tuple(results), same_header)


def _matched(files: Sequence[Path], summaries: Sequence[GgufSummary], plan: Plan) -> dict[str, PlannedTensor]:
    """The tensors of the plan by name, placed as the files have them. Raises `ConvertError` where they differ."""
    missing = {tensor.info.name: tensor for tensor in plan.tensors}
    found: dict[str, PlannedTensor] = {}
    for file, summary in zip(files, summaries, strict=True):
        for info in summary.tensors:
            tensor = missing.pop(info.name, None)
            if tensor is None:
                raise ConvertError(f"{file}: tensor {info.name!r} is not one of this checkpoint's, or occurs twice.")
            if (tensor.info.shape, tensor.kind) != (info.shape, info.kind):
                raise ConvertError(f"{file}: tensor {info.name!r} is {info.kind.name} {list(info.shape)} where the"
                                   f" checkpoint gives {tensor.kind.name} {list(tensor.info.shape)}.")  # fmt: skip
            found[info.name] = replace(tensor, info=info)
    for name in missing:
        raise ConvertError(f"{files[0]}: tensor {name!r} is missing. Convert the checkpoint again.")
    return found


def _headers_are(files: Sequence[Path], summaries: Sequence[GgufSummary], metadata: Sequence[KeyValue]) -> bool:
    infos = [summary.tensors for summary in summaries]
    headers = headers_of_set(metadata, infos) if len(files) > 1 else [gguf.encode_header(metadata, infos[0])]
    for file, summary, header in zip(files, summaries, headers, strict=True):
        with file.open("rb") as stream:
            if len(header) != summary.data_offset or stream.read(len(header)) != header:
                return False
    return True


class _Contents:
    """Reads a whole file, front to back; every byte goes to `hashed`."""

    def __init__(self, file: Path, stream: FileIO, summary: GgufSummary, hashed: Callable[[memoryview], None]) -> None:
        self._file, self._stream, self._summary, self._hashed = file, stream, summary, hashed
        self._at = 0
        self._name = ""  # of the tensor that was read last

    def read(self, piece: Piece, data: memoryview) -> None:
        """Fills `data` with what the file has for the piece, which is the next one."""
        if piece.first == 0:
            self._skip_to(self._summary.data_offset + piece.tensor.info.offset)
        self._name = piece.tensor.info.name
        self._read(data)

    def finish(self) -> None:
        """Reads what is left."""
        self._skip_to(self._summary.file_bytes)

    def _skip_to(self, end: int) -> None:
        while self._at < end:
            data = np.empty(min(_CHUNK, end - self._at), np.uint8)
            self._read(data.data)
            if self._name and data.any():
                raise ConvertError(f"{self._file}: there is data where zeros should be, behind tensor {self._name!r}.")

    def _read(self, data: memoryview) -> None:
        rest = data
        while rest:
            if not (done := self._stream.readinto(rest)):
                raise ConvertError(f"{self._file} became shorter while it was read.")
            rest = rest[done:]
        self._at += len(data)
        self._hashed(data)


def _results(
    file: Path, contents: _Contents, tensors: Sequence[PlannedTensor]
) -> Generator[tuple[str, int, TensorResult | None]]:
    """Looks at all pieces; name, place in the data, and at the end of each tensor what was found of it."""
    total: _Found | None = None
    with worked(_compare, tensors, _MEMORY, contents.read) as compared:
        for piece, _, found in compared:
            tensor = piece.tensor
            rows = piece.first + piece.count
            end = tensor.info.offset + tensor.kind.nbytes((rows, values.width_of(tensor.source)))
            total = found if total is None else total + found
            if rows < values.rows_of(tensor.source):
                yield tensor.info.name, end, None
            else:
                yield tensor.info.name, end, _judged(file, tensor, total)
                total = None


def _judged(file: Path, tensor: PlannedTensor, found: _Found) -> TensorResult:
    result = TensorResult(tensor.info.name, tensor.kind, found.error, found.norm)
    if found.differing:
        units, what = tensor.nbytes // tensor.kind.size, "values" if tensor.kind.block == 1 else "blocks"
        raise ConvertError(
            f"{file}: tensor {result.name!r} is not what the checkpoint gives as {result.kind.name}:"
            f" {found.differing:,} of {units:,} {what} differ (relative RMSE {result.relative:.2g})."
            " It is damaged, or was quantized in another way."
        )
    return result


def _compare(piece: Piece, reader: ShardReader, data: Bytes) -> _Found:
    tensor = piece.tensor
    differing = _differing(data, produce(piece, reader), tensor.kind)
    if tensor.kind == gguf.MXFP4:
        if values.is_mxfp4(tensor.source):
            return _Found(0.0, 0.0, differing)  # codes and scales are the checkpoint's: nothing was rounded
        if differing:  # there are two ways to choose the scales, and the file does not tell which was taken
            other = replace(piece, tensor=replace(tensor, best=not tensor.best))
            differing = min(differing, _differing(data, produce(other, reader), tensor.kind))
    error = norm = 0.0
    at = 0
    decode = quantize.DECODERS[tensor.kind]
    for first, count in _tiles(piece):
        wanted = values.floats(tensor.source, first, count, reader)
        for start in range(0, len(wanted), _TILE):
            tile = wanted[start : start + _TILE]
            size = tensor.kind.nbytes(tile.shape)
            # A damaged scale may be infinite or no number; then so is the error that is told.
            with np.errstate(all="ignore"):
                error += _square(decode(data[at : at + size]) - tile)
            norm += _square(tile)
            at += size
    return _Found(error, norm, differing)


def _tiles(piece: Piece) -> Iterator[tuple[int, int]]:
    """(first row, rows) of parts of a piece, as they are good to read."""
    source = piece.tensor.source
    good = values.good_rows(source)
    height = max(1, _TILE // (values.width_of(source) * good)) * good
    for start in range(piece.first, piece.first + piece.count, height):
        yield start, min(height, piece.first + piece.count - start)


def _differing(data: Bytes, expected: Bytes, kind: gguf.TensorType) -> int:
    """How many blocks differ."""
    if np.array_equal(data, expected):
        return 0
    return int((data != expected).reshape(-1, kind.size).any(axis=1).sum())


def _square(numbers: Floats) -> float:
    """The sum of squares."""
    return float(np.einsum("i,i", numbers, numbers, dtype=np.float64))
