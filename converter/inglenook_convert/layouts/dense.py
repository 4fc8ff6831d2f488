"""Fine-tunes as transformers holds them in memory: the experts dense, [E, H, 2F] and [E, F, H].

So they are the other way round than in the published layout, with gate and up in even and odd columns.
"""

from __future__ import annotations

from collections.abc import Mapping

from inglenook_convert.headers import StoredTensor
from inglenook_convert.layouts import naming
from inglenook_convert.sources import DenseColumns, Source
from inglenook_convert.tensor_map import Role, Slot

NAME = "fine-tuned gpt-oss with dense experts"


def recognises(tensors: Mapping[str, StoredTensor]) -> bool:
    """By matrices of floats, one for each expert in a tensor."""
    return naming.has_experts(tensors, r"(gate_up|down)_proj", naming.FLOATS, 3)


def source(tensors: Mapping[str, StoredTensor], slot: Slot) -> Source:
    """See `Layout.source`."""
    name = naming.transformers_name(slot)
    return columns(tensors, name, slot) if slot.role is Role.EXPERTS else naming.dense(tensors, name, slot)


def columns(tensors: Mapping[str, StoredTensor], name: str, slot: Slot) -> DenseColumns:
    """The experts' weights in the tensor `name`. Raises `ConvertError`."""
    start, step = naming.interleaving(slot)
    experts, rows, width = slot.shape
    return DenseColumns(naming.tensor(tensors, name, (experts, width, rows * step), naming.FLOATS), start, step)
