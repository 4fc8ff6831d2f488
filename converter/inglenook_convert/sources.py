"""Where the values of one GGUF tensor are in a checkpoint: the vocabulary in which a layout speaks to the stages.

Pure: `values` reads them. The rows of a source are the rows of the GGUF tensor, all leading dimensions flattened.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from inglenook_convert.headers import DTYPE_BYTES, StoredTensor


@dataclass(frozen=True, slots=True)
class DenseRows:
    """BF16, F16 or F32 values in rows of `width` elements; every `step`-th row from `start` on is taken.

    Where `width` is 1 and `step` is not, single elements of a bias are taken; its rows are then those of the tensor.
    """

    tensor: StoredTensor
    width: int
    start: int = 0
    step: int = 1

    @property
    def stored(self) -> tuple[StoredTensor, ...]:
        """The tensors of the checkpoint that this reads."""
        return (self.tensor,)


@dataclass(frozen=True, slots=True)
class DenseColumns:
    """BF16, F16 or F32 values [experts, width, columns]: rows are an expert's columns, every `step`-th from `start`."""

    tensor: StoredTensor
    start: int = 0
    step: int = 1

    @property
    def stored(self) -> tuple[StoredTensor, ...]:
        """The tensors of the checkpoint that this reads."""
        return (self.tensor,)


@dataclass(frozen=True, slots=True)
class Mxfp4Rows:
    """MXFP4 in rows of `width` blocks: 16 bytes of codes each in `blocks`, one exponent byte each in `scales`.

    Byte i of a block has element 2i in its low nibble and 2i+1 in its high one. Rows are taken as in `DenseRows`.
    """

    blocks: StoredTensor
    scales: StoredTensor
    width: int
    start: int = 0
    step: int = 1

    @property
    def stored(self) -> tuple[StoredTensor, ...]:
        """The tensors of the checkpoint that this reads."""
        return (self.blocks, self.scales)


@dataclass(frozen=True, slots=True)
class Joined:
    """The rows of all `parts`, one part for each expert, after each other."""

    parts: tuple[DenseRows, ...]

    @property
    def stored(self) -> tuple[StoredTensor, ...]:
        """The tensors of the checkpoint that this reads."""
        return tuple(part.tensor for part in self.parts)


@dataclass(frozen=True, slots=True)
class LowRank:
    """What LoRA adds to a matrix: scale * b @ a, with `a` [rank, in] and `b` [out, rank].

    Of `b` [out, rank * columns] only every `columns`-th column from `column` on is meant. The product's rows, or where
    it is `transposed` its columns, become rows as in `DenseRows`: every `step`-th from `start` on.
    """

    a: StoredTensor
    b: StoredTensor
    scale: float
    column: int = 0
    columns: int = 1
    transposed: bool = False
    start: int = 0
    step: int = 1


@dataclass(frozen=True, slots=True)
class Merged:
    """`base` with a change for each of its experts, or one for all its rows; None leaves an expert as it is."""

    base: DenseRows | DenseColumns | Mxfp4Rows | Joined
    changes: tuple[LowRank | None, ...]
    stored: tuple[StoredTensor, ...]  # all that this reads, by the names in the checkpoint


Source = DenseRows | DenseColumns | Mxfp4Rows | Joined | Merged


def part_of(tensor: StoredTensor, first: int, count: int) -> StoredTensor:
    """`count` entries of the first dimension of `tensor` from `first` on, as a tensor of the same name."""
    entry = prod(tensor.shape[1:]) * DTYPE_BYTES[tensor.dtype]
    return replace(tensor, shape=(count, *tensor.shape[1:]), offset=tensor.offset + first * entry, nbytes=count * entry)
