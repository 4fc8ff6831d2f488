"""What transformers 5.23 makes of a dequantized model: dense experts under the names of the published blocks.

There are no scales; everything else is as in `dense`. transformers itself cannot load these files again.
"""

from __future__ import annotations

from collections.abc import Mapping

from inglenook_convert.headers import StoredTensor
from inglenook_convert.layouts import dense, naming
from inglenook_convert.sources import Source
from inglenook_convert.tensor_map import Role, Slot

NAME = "gpt-oss with dense experts, saved by transformers 5.23"


def recognises(tensors: Mapping[str, StoredTensor]) -> bool:
    """By matrices of floats where the published layout has bytes."""
    return naming.has_experts(tensors, r"(gate_up|down)_proj_blocks", naming.FLOATS, 3)


def source(tensors: Mapping[str, StoredTensor], slot: Slot) -> Source:
    """See `Layout.source`."""
    if slot.role is Role.EXPERTS:
        return dense.columns(tensors, f"{naming.transformers_name(slot)}_blocks", slot)
    return dense.source(tensors, slot)
