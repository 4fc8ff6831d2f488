"""Bounds checks of safetensors and GGUF headers, so that a broken or hostile file is refused with a reason.

The application calls `check_gguf` before it hands a file to llama.cpp, which aborts on some of these; the converter
reads every checkpoint through `read_safetensors`. Pure: standard library only, nothing is written, memory and time are
bounded whatever the file says. Sources: the safetensors README; gguf.cpp of ggml for what llama.cpp insists on.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from inglenook_convert import gguf_format as gguf
from inglenook_convert.errors import ConvertError
from inglenook_convert.gguf_format import TensorInfo, TensorType, ValueType

SAFETENSORS_HEADER_LIMIT = 8 << 20  # bytes; the 120b with a tensor for each expert has 3 MB; JSON takes 30 times that
GGUF_HEADER_LIMIT = 256 << 20  # bytes; gpt-oss has 13 MB, nearly all of it the vocabulary
GGUF_MAX_KEYS = 10_000
GGUF_MAX_TENSORS = 100_000
_NAME_LIMIT = 65_535  # bytes of a key or tensor name
_STORED_NAME_LIMIT = 256  # characters of a tensor's name in a checkpoint, which messages repeat; real ones have 60
_KEPT_STRING = 4_096  # bytes; longer strings (chat templates) are skipped
_CHUNK = 1 << 20

DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


class HeaderError(ConvertError):
    """The file is missing or unreadable, or its header is malformed; the message names it and says what is wrong."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a safetensors file: `offset` in bytes from the start of `file`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """An array in a GGUF header: `count` elements, whose bytes are [start, end) of the file.

    `shortest` has the bytes of the shortest string; 0 if they are no strings, or there are none.
    """

    kind: ValueType
    count: int
    start: int
    end: int
    shortest: int = 0


@dataclass(frozen=True, slots=True)
class GgufSummary:
    """What a GGUF header says. `tensor_bytes` without padding; `values` has the metadata's scalars and short strings.

    `tensors` have their offsets from `data_offset`, and are in that order, one after the other.
    `architecture` and `name` are empty where the file has none; `parts` is the number of files of a split model.
    """

    architecture: str
    name: str
    version: int
    n_tensors: int
    tensor_bytes: int
    file_bytes: int
    data_offset: int
    parts: int = 1
    tensors: tuple[TensorInfo, ...] = field(default=(), repr=False)
    values: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    arrays: Mapping[str, ArrayInfo] = field(default_factory=dict, repr=False)


def file_size(path: Path) -> int:
    """Bytes of the regular file `path`. Raises `HeaderError` if it is missing, empty or something else."""
    try:
        size = path.stat().st_size
        regular = path.is_file()
    except FileNotFoundError:
        raise HeaderError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise HeaderError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if not regular:
        raise HeaderError(f"{path} is not a file.")
    if size == 0:
        raise HeaderError(f"{path} is empty. Get it again.")
    return size


# -- safetensors --


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file by name, in the order of their data. Raises `HeaderError`."""
    size = file_size(path)
    try:
        with path.open("rb") as file:
            prefix = file.read(8)
            if len(prefix) < 8:
                raise HeaderError(f"{path} is not a safetensors file: it has only {size} bytes.")
            length = int.from_bytes(prefix, "little")
            if not 2 <= length <= SAFETENSORS_HEADER_LIMIT:
                raise HeaderError(f"{path} is not a safetensors file: its header would be {length} bytes long.")
            if length > size - 8:
                raise HeaderError(f"{path} is cut off inside its header. Get the file again.")
            raw = file.read(length)
    except OSError as error:
        raise HeaderError(f"{path} cannot be read: {error.strerror or error}.") from None
    return _parse_safetensors(path, raw, size)


def _parse_safetensors(path: Path, raw: bytes, size: int) -> dict[str, StoredTensor]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise HeaderError(f"{path}: the name {shown(name)} occurs twice in the header.")
            found[name] = value
        return found

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise HeaderError(f"{path}: the header is not valid JSON. Get the file again.") from None
    if not isinstance(header, dict):
        raise HeaderError(f"{path}: the header is not a JSON object.")
    header.pop("__metadata__", None)
    start = 8 + len(raw)
    tensors = [_stored_tensor(path, name, entry, start, size) for name, entry in header.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
    end = start
    for tensor in tensors:
        if tensor.offset < end:
            raise HeaderError(f"{path}: tensor {shown(tensor.name)} overlaps the one before it.")
        end = tensor.offset + tensor.nbytes
    return {tensor.name: tensor for tensor in tensors}


def _stored_tensor(path: Path, name: str, entry: object, start: int, size: int) -> StoredTensor:
    where = f"{path}: tensor {shown(name)}"
    if len(name) > _STORED_NAME_LIMIT:
        raise HeaderError(f"{where} has a name of {len(name)} characters.")
    if not isinstance(entry, dict):
        raise HeaderError(f"{where} is not described by an object.")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise HeaderError(f"{where} has the unknown type {shown(dtype)}.")
    if not isinstance(shape, list) or len(shape) > 8 or not all(_is_size(n) for n in shape):
        raise HeaderError(f"{where} has an impossible shape {shown(shape)}.")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(n) for n in offsets):
        raise HeaderError(f"{where} has impossible offsets {shown(offsets)}.")
    begin, end = offsets
    nbytes = prod(shape) * DTYPE_BYTES[dtype]
    if end - begin != nbytes:
        raise HeaderError(f"{where} has {end - begin} bytes where {dtype} {shape} takes {nbytes}.")
    if start + end > size:
        raise HeaderError(f"{where} lies beyond the end of the file, which is cut off. Get the file again.")
    return StoredTensor(name, dtype, tuple(shape), path, start + begin, nbytes)


def _is_size(number: object) -> bool:
    return type(number) is int and 0 <= number < 1 << 62


def shown(value: object) -> str:
    """`value`, which a file says, for a message: on one line, and not longer than a line."""
    try:
        text = repr(value)
    except RecursionError:  # parsed just within the limit, and this is a little deeper
        return "something deeply nested"
    return text if len(text) <= 120 else text[:117] + "..."


# -- GGUF --


def check_gguf(path: Path, size: int | None = None) -> GgufSummary:
    """Reads the header of a GGUF file and checks all its counts, lengths and offsets against the file's size.

    Where `path` has only the beginning of a file, `size` is that of the whole; a header that goes on then is cut off.
    Any architecture is accepted: the caller looks at `summary.architecture`. Raises `HeaderError` for a file that is
    missing, empty, not GGUF, of another version, cut off or inconsistent.
    """
    size = max(file_size(path), size or 0)
    try:
        with path.open("rb") as file:
            return _Gguf(path, file, size).summary()
    except OSError as error:
        raise HeaderError(f"{path} cannot be read: {error.strerror or error}.") from None


class _Gguf:
    """A GGUF header being read from front to back through a small buffer, within the size of the file."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self._path = path
        self._file = file
        self._size = size
        self._limit = min(size, GGUF_HEADER_LIMIT)
        self._buffer = b""
        self._start = 0  # the buffer's place in the file
        self._at = 0  # the place in the buffer
        self._arrays: dict[str, ArrayInfo] = {}

    def summary(self) -> GgufSummary:
        version, n_tensors, n_keys = self._preamble()
        values = self._metadata(n_keys)
        alignment = values.get("general.alignment", gguf.ALIGNMENT)
        if type(alignment) is not int or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
            raise self._wrong(f"the alignment {shown(alignment)} is not a power of two")
        tensors = self._tensors(n_tensors, alignment)
        last = tensors[-1] if tensors else None
        data_bytes = last.offset + last.kind.nbytes(last.shape) if last else 0
        data_offset = gguf.padded(self._start + self._at, alignment)
        if data_offset + data_bytes > self._size:
            missing = data_offset + data_bytes - self._size
            raise HeaderError(f"{self._path} is cut off: {missing} bytes are missing at its end. Get the file again.")
        parts = values.get("split.count", 1)
        return GgufSummary(
            architecture=_text(values.get("general.architecture")),
            name=_text(values.get("general.name")),
            version=version,
            n_tensors=n_tensors,
            tensor_bytes=sum(tensor.kind.nbytes(tensor.shape) for tensor in tensors),
            file_bytes=self._size,
            data_offset=data_offset,
            parts=parts if type(parts) is int and parts > 0 else 1,
            tensors=tensors,
            values=values,
            arrays=self._arrays,
        )

    def _preamble(self) -> tuple[int, int, int]:
        if self._take(min(4, self._size)) != gguf.MAGIC:
            raise HeaderError(f"{self._path} is not a GGUF file. Choose a file that ends in .gguf.")
        version = self._number(ValueType.UINT32)
        if version & 0xFFFF == 0:
            raise self._wrong("it was made for a big-endian machine")
        if version not in (2, gguf.VERSION):
            raise self._wrong(f"it has version {version}, and 2 and 3 are supported")
        n_tensors, n_keys = self._number(ValueType.UINT64), self._number(ValueType.UINT64)
        if n_tensors > GGUF_MAX_TENSORS:
            raise self._wrong(f"it claims to have {n_tensors} tensors")
        if n_keys > GGUF_MAX_KEYS:
            raise self._wrong(f"it claims to have {n_keys} metadata keys")
        return version, n_tensors, n_keys

    def _metadata(self, count: int) -> dict[str, str | int | float | bool]:
        values: dict[str, str | int | float | bool] = {}
        seen: set[str] = set()
        for _ in range(count):
            key = self._name("a metadata key")
            if key in seen:
                raise self._wrong(f"the key {shown(key)} occurs twice")
            seen.add(key)
            kind = self._value_type(key)
            if kind is ValueType.ARRAY:
                self._skip_array(key)
            elif kind is ValueType.STRING:
                length = self._number(ValueType.UINT64)
                if length <= _KEPT_STRING:
                    values[key] = self._take(length).decode("utf-8", "replace")
                else:
                    self._skip(length)
            else:
                values[key] = self._number(kind)
        return values

    def _value_type(self, key: str) -> ValueType:
        code = self._number(ValueType.UINT32)
        try:
            return ValueType(code)
        except ValueError:
            raise self._wrong(f"the key {shown(key)} has the unknown type {code}") from None

    def _skip_array(self, key: str) -> None:
        kind = self._value_type(key)
        count = self._number(ValueType.UINT64)
        if kind is ValueType.ARRAY:
            raise self._wrong(f"the key {shown(key)} has an array of arrays")
        start = self._start + self._at
        shortest = 0
        if kind is ValueType.STRING:
            shortest = self._skip_strings(count)
        else:
            self._skip(count * gguf.SCALARS[kind].size)
        self._arrays[key] = ArrayInfo(kind, count, start, self._start + self._at, shortest)

    def _skip_strings(self, count: int) -> int:
        """Passes over `count` strings; the shortest one's bytes. Only lengths are looked at: there are 650,000."""
        if count > (self._limit - self._start - self._at) // 8:
            raise self._cut()
        unpack = struct.Struct("<Q").unpack_from
        shortest = self._size if count else 0
        while count:
            self._fill(8)
            buffer, at, last = self._buffer, self._at, len(self._buffer) - 8
            while count and at <= last:
                length = unpack(buffer, at)[0]
                if length < shortest:
                    shortest = length
                at += 8 + length
                count -= 1
            self._skip(at - self._at)
        return shortest

    def _tensors(self, count: int, alignment: int) -> tuple[TensorInfo, ...]:
        """Reads and checks `count` tensor entries."""
        found: dict[str, TensorInfo] = {}
        offset = 0
        for _ in range(count):
            name = self._name("a tensor's name")
            if name in found:
                raise self._wrong(f"the tensor {shown(name)} occurs twice")
            kind, shape = self._tensor(name)
            claimed = self._number(ValueType.UINT64)
            if claimed != offset:
                raise self._wrong(f"the tensor {shown(name)} is at {claimed} where {offset} is expected")
            found[name] = TensorInfo(name, kind, shape, offset)
            offset += gguf.padded(kind.nbytes(shape), alignment)
        return tuple(found.values())

    def _tensor(self, name: str) -> tuple[TensorType, tuple[int, ...]]:
        where = f"the tensor {shown(name)}"
        if len(name.encode("utf-8", "replace")) > gguf.MAX_TENSOR_NAME:
            raise self._wrong(f"{where} has too long a name")
        rank = self._number(ValueType.UINT32)
        if rank > gguf.MAX_DIMENSIONS:
            raise self._wrong(f"{where} has {rank} dimensions")
        shape = [self._number(ValueType.UINT64) for _ in range(rank)]
        code = self._number(ValueType.UINT32)
        kind = gguf.TENSOR_TYPES.get(code)
        if kind is None:
            raise self._wrong(f"{where} has the unknown type {code}")
        if any(n >= 1 << 62 for n in shape) or prod(shape) >= 1 << 62:
            raise self._wrong(f"{where} has an impossible shape")
        if shape and shape[0] % kind.block:
            raise self._wrong(f"{where} has rows of {shape[0]}, which are not whole blocks of {kind.name}")
        return kind, tuple(reversed(shape))

    # -- reading --

    def _wrong(self, what: str) -> HeaderError:
        return HeaderError(f"{self._path} is not a usable GGUF file: {what}. Get the file again or choose another.")

    def _cut(self) -> HeaderError:
        if self._limit < self._size:
            return self._wrong(f"its header would be longer than {GGUF_HEADER_LIMIT >> 20} MB")
        return HeaderError(f"{self._path} is cut off inside its header, or damaged. Get the file again.")

    def _fill(self, count: int) -> None:
        """Makes `count` bytes (at most a few kilobytes) available in the buffer."""
        if len(self._buffer) - self._at >= count:
            return
        position = self._start + self._at
        if position + count > self._limit:
            raise self._cut()
        self._file.seek(position)
        self._buffer = self._file.read(min(_CHUNK, self._limit - position))
        self._start, self._at = position, 0
        if len(self._buffer) < count:
            raise self._cut()

    def _skip(self, count: int) -> None:
        if self._start + self._at + count > self._limit:
            raise self._cut()
        self._at += count
        if self._at > len(self._buffer):
            self._start, self._at, self._buffer = self._start + self._at, 0, b""

    def _take(self, count: int) -> bytes:
        self._fill(count)
        self._at += count
        return self._buffer[self._at - count : self._at]

    def _number(self, kind: ValueType) -> Any:
        form = gguf.SCALARS[kind]
        return form.unpack(self._take(form.size))[0]

    def _name(self, what: str) -> str:
        length = self._number(ValueType.UINT64)
        if length > _NAME_LIMIT:
            raise self._wrong(f"{what} would be {length} bytes long")
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise self._wrong(f"{what} is not valid UTF-8") from None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
