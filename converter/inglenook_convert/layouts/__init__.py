"""One module for each way in which gpt-oss checkpoints name and shape their tensors.

A layout has `NAME`, `recognises(tensors)` and `source(tensors, slot)`. The next layout is one more file, listed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from inglenook_convert.checkpoint import Checkpoint
from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import StoredTensor
from inglenook_convert.layouts import dense, dense_blocks, original, per_expert, published
from inglenook_convert.layouts.adapted import LoraLayout
from inglenook_convert.sources import Source
from inglenook_convert.tensor_map import Slot


class Layout(Protocol):
    """What a layout module offers."""

    NAME: str

    def recognises(self, tensors: Mapping[str, StoredTensor]) -> bool:
        """Whether the checkpoint with these tensors is of this layout, by names, types and ranks."""
        ...

    def source(self, tensors: Mapping[str, StoredTensor], slot: Slot) -> Source:
        """Where the values of `slot` are. Raises `ConvertError` if they are missing or of another shape or type."""
        ...


_LAYOUTS: tuple[Layout, ...] = (published, original, dense, dense_blocks, per_expert)


def layout_of(checkpoint: Checkpoint) -> Layout:
    """The layout of the checkpoint. Raises `ConvertError`, with advice where the mistake is a known one."""
    tensors = checkpoint.tensors
    for name in tensors:
        if name.endswith("$"):
            raise ConvertError(
                f"{checkpoint.folder}: tensor {name!r} shows that this was saved by transformers 5.17, which loses the"
                " experts. Save the model again with save_pretrained(..., save_original_format=False)."
            )
        if name.endswith((".absmax", ".quant_map")):
            raise ConvertError(
                f"{checkpoint.folder}: tensor {name!r} shows that this was quantized by bitsandbytes, which loses more."
                " Save the model in 16 bits, or its adapter alone, and convert that."
            )
    for layout in _LAYOUTS:
        if layout.recognises(tensors):
            return layout if checkpoint.adapter is None else LoraLayout(layout, checkpoint.adapter, tensors)
    known = ", ".join(layout.NAME for layout in _LAYOUTS)
    first = f" ({next(iter(tensors))!r} is one of them)" if tensors else ""
    raise ConvertError(
        f"{checkpoint.folder}: the tensors{first} are not in a layout of gpt-oss that can be converted: {known}."
    )
