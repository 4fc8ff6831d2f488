"""Where the values of one GGUF tensor are in a checkpoint: the vocabulary in which a layout speaks to the stages."""

from __future__ import annotations

from dataclasses import dataclass

from inglenook_convert.headers import StoredTensor


@dataclass(frozen=True, slots=True)
class DenseRows:
    """BF16, F16 or F32 values in rows of `width` elements; every `step`-th row from `start` on is taken."""

    tensor: StoredTensor
    width: int
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


Source = DenseRows | Mxfp4Rows
