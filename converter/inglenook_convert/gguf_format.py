"""The GGUF container: its constants, the sizes of tensor types, and a file header as bytes.

Written here rather than with gguf-py, because the exact size of a file must be known before anything is written, and
because packing the 650,000 strings of the gpt-oss vocabulary takes gguf-py two seconds. Standard library only.
Source: the GGUF specification in the ggml repository (docs/gguf.md), version 3, little endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import prod

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32
MAX_DIMENSIONS = 4
MAX_TENSOR_NAME = 63


@dataclass(frozen=True, slots=True)
class TensorType:
    """A storage type of ggml: blocks of `block` elements take `size` bytes; `code` stands in the file."""

    code: int
    name: str
    block: int
    size: int

    def nbytes(self, shape: Sequence[int]) -> int:
        """Bytes of a tensor with this shape (rows are a whole number of blocks)."""
        return prod(shape) // self.block * self.size


F32 = TensorType(0, "F32", 1, 4)
F16 = TensorType(1, "F16", 1, 2)
Q4_0 = TensorType(2, "Q4_0", 32, 18)
Q4_1 = TensorType(3, "Q4_1", 32, 20)
Q5_0 = TensorType(6, "Q5_0", 32, 22)
Q5_1 = TensorType(7, "Q5_1", 32, 24)
Q8_0 = TensorType(8, "Q8_0", 32, 34)
BF16 = TensorType(30, "BF16", 1, 2)
MXFP4 = TensorType(39, "MXFP4", 32, 17)

TENSOR_TYPES = {
    kind.code: kind
    for kind in (
        F32,
        F16,
        Q4_0,
        Q4_1,
        Q5_0,
        Q5_1,
        Q8_0,
        TensorType(9, "Q8_1", 32, 40),
        TensorType(10, "Q2_K", 256, 84),
        TensorType(11, "Q3_K", 256, 110),
        TensorType(12, "Q4_K", 256, 144),
        TensorType(13, "Q5_K", 256, 176),
        TensorType(14, "Q6_K", 256, 210),
        TensorType(15, "Q8_K", 256, 292),
        TensorType(16, "IQ2_XXS", 256, 66),
        TensorType(17, "IQ2_XS", 256, 74),
        TensorType(18, "IQ3_XXS", 256, 98),
        TensorType(19, "IQ1_S", 256, 50),
        TensorType(20, "IQ4_NL", 32, 18),
        TensorType(21, "IQ3_S", 256, 110),
        TensorType(22, "IQ2_S", 256, 82),
        TensorType(23, "IQ4_XS", 256, 136),
        TensorType(24, "I8", 1, 1),
        TensorType(25, "I16", 1, 2),
        TensorType(26, "I32", 1, 4),
        TensorType(27, "I64", 1, 8),
        TensorType(28, "F64", 1, 8),
        TensorType(29, "IQ1_M", 256, 56),
        BF16,
        TensorType(34, "TQ1_0", 256, 54),
        TensorType(35, "TQ2_0", 256, 66),
        MXFP4,
        TensorType(40, "NVFP4", 64, 36),
        TensorType(41, "Q1_0", 128, 18),
    )
}


class ValueType(IntEnum):
    """The type of a metadata value; the number stands in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


SCALARS = {
    ValueType.UINT8: struct.Struct("<B"),
    ValueType.INT8: struct.Struct("<b"),
    ValueType.UINT16: struct.Struct("<H"),
    ValueType.INT16: struct.Struct("<h"),
    ValueType.UINT32: struct.Struct("<I"),
    ValueType.INT32: struct.Struct("<i"),
    ValueType.FLOAT32: struct.Struct("<f"),
    ValueType.BOOL: struct.Struct("<?"),
    ValueType.UINT64: struct.Struct("<Q"),
    ValueType.INT64: struct.Struct("<q"),
    ValueType.FLOAT64: struct.Struct("<d"),
}


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One entry of the metadata. A tuple is written as an array of `kind`."""

    key: str
    kind: ValueType
    value: bool | int | float | str | tuple[int, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor's entry: `shape` outermost first (the file has it reversed), `offset` from the start of the data."""

    name: str
    kind: TensorType
    shape: tuple[int, ...]
    offset: int


def padded(count: int, alignment: int = ALIGNMENT) -> int:
    """`count` rounded up to the next multiple of `alignment`."""
    return -(-count // alignment) * alignment


def encode_header(metadata: Sequence[KeyValue], tensors: Sequence[TensorInfo]) -> bytes:
    """All that comes before the tensor data, padded to the alignment."""
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    for entry in metadata:
        parts += [_string(entry.key), _value(entry)]
    for tensor in tensors:
        rank = len(tensor.shape)
        parts.append(_string(tensor.name))
        parts.append(struct.pack(f"<I{rank}QIQ", rank, *reversed(tensor.shape), tensor.kind.code, tensor.offset))
    header = b"".join(parts)
    return header.ljust(padded(len(header)), b"\0")


def _value(entry: KeyValue) -> bytes:
    if isinstance(entry.value, tuple):
        head = struct.pack("<IIQ", ValueType.ARRAY, entry.kind, len(entry.value))
        return head + b"".join(_elements(entry.kind, entry.value))
    return struct.pack("<I", entry.kind) + b"".join(_elements(entry.kind, (entry.value,)))


def _elements(kind: ValueType, values: Iterable[object]) -> Iterable[bytes]:
    if kind is ValueType.STRING:
        return (_string(str(value)) for value in values)
    return map(SCALARS[kind].pack, values)


def _string(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(8, "little") + raw
