"""The layout of openai/gpt-oss-20b, -120b and -safeguard on the Hub, and of the demo model.

Experts are MXFP4 in pairs of `*_blocks` (U8 [E, rows, columns/32, 16]) and `*_scales` (U8 [E, rows, columns/32]); the
gate is in the even rows of `gate_up_proj`, up in the odd ones. Everything else is BF16, named as transformers names it.
"""

from __future__ import annotations

from collections.abc import Mapping

from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import StoredTensor
from inglenook_convert.layouts import naming
from inglenook_convert.sources import Mxfp4Rows, Source
from inglenook_convert.tensor_map import Role, Slot

NAME = "published gpt-oss with MXFP4 experts"


def recognises(tensors: Mapping[str, StoredTensor]) -> bool:
    """By blocks of bytes."""
    return naming.has_experts(tensors, r"(gate_up|down)_proj_blocks", naming.BYTES, 4)


def source(tensors: Mapping[str, StoredTensor], slot: Slot) -> Source:
    """See `Layout.source`."""
    name = naming.transformers_name(slot)
    if slot.role is Role.EXPERTS:
        return mxfp4(tensors, f"{name}_blocks", f"{name}_scales", slot)
    return naming.dense(tensors, name, slot)


def mxfp4(tensors: Mapping[str, StoredTensor], blocks: str, scales: str, slot: Slot) -> Mxfp4Rows:
    """The experts' weights in tensors of these names. Raises `ConvertError`."""
    start, step = naming.interleaving(slot)
    experts, rows, columns = slot.shape
    if columns % 32:
        where = f"{tensors[blocks].file}: " if blocks in tensors else ""
        raise ConvertError(
            f"{where}tensor {blocks!r} has blocks of 32 elements, and config.json has rows of {columns}."
        )
    shape = (experts, rows * step, columns // 32)
    return Mxfp4Rows(
        naming.tensor(tensors, blocks, (*shape, 16), naming.BYTES),
        naming.tensor(tensors, scales, shape, naming.BYTES),
        columns // 32,
        start,
        step,
    )
