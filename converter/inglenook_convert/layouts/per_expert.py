"""Fine-tunes in which each expert is a linear layer of its own, as Unsloth's 16-bit models have them.

`experts.gate_up_projs.K` [2F, H] and `experts.down_projs.K` [H, F], with biases; gate and up alternate in the rows. The
router is a linear layer, too, one name further down.
"""

from __future__ import annotations

from collections.abc import Mapping

from inglenook_convert.headers import StoredTensor
from inglenook_convert.layouts import naming
from inglenook_convert.sources import DenseRows, Joined, Source
from inglenook_convert.tensor_map import Slot

NAME = "fine-tuned gpt-oss with a linear layer for each expert"


def recognises(tensors: Mapping[str, StoredTensor]) -> bool:
    """By matrices of floats with a number in their names."""
    return naming.has_experts(tensors, r"(gate_up|down)_projs\.\d+\.weight", naming.FLOATS, 2)


def source(tensors: Mapping[str, StoredTensor], slot: Slot) -> Source:
    """See `Layout.source`."""
    kind, _, part = slot.key.partition(".")
    name = naming.transformers_name(slot)
    if not kind.endswith("_exps"):
        return naming.dense(tensors, name.replace(".mlp.router.", ".mlp.router.linear."), slot)
    name = f"{name.removesuffix('_bias')}s"
    start, step = naming.interleaving(slot)
    experts, rows, *columns = slot.shape
    shape = (rows * step, *columns)
    width = columns[0] if columns else 1 if step > 1 else rows
    return Joined(
        tuple(
            DenseRows(naming.tensor(tensors, f"{name}.{i}.{part}", shape, naming.FLOATS), width, start, step)
            for i in range(experts)
        )
    )
