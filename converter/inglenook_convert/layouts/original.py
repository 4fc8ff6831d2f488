"""The layout of the folder `original/` in OpenAI's repositories, as their own program reads it.

Names are of its own making; q, k and v are one matrix, in this order of rows. Experts as in the published layout.
Source: gpt_oss/torch/weights.py and model.py in openai/gpt-oss.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from inglenook_convert.headers import StoredTensor
from inglenook_convert.layouts import naming
from inglenook_convert.layouts.published import mxfp4
from inglenook_convert.sources import DenseRows, Source, part_of
from inglenook_convert.tensor_map import Role, Slot

NAME = "original/ of openai's repositories"

_MODEL = {
    "token_embd.weight": "embedding.weight",
    "output_norm.weight": "norm.scale",
    "output.weight": "unembedding.weight",
}
_LAYER = {
    "attn_norm.weight": "attn.norm.scale",
    "attn_output.weight": "attn.out.weight",
    "attn_output.bias": "attn.out.bias",
    "attn_sinks.weight": "attn.sinks",
    "post_attention_norm.weight": "mlp.norm.scale",
    "ffn_gate_inp.weight": "mlp.gate.weight",
    "ffn_gate_inp.bias": "mlp.gate.bias",
    "ffn_gate_exps.weight": "mlp.mlp1_weight",
    "ffn_gate_exps.bias": "mlp.mlp1_bias",
    "ffn_up_exps.weight": "mlp.mlp1_weight",
    "ffn_up_exps.bias": "mlp.mlp1_bias",
    "ffn_down_exps.weight": "mlp.mlp2_weight",
    "ffn_down_exps.bias": "mlp.mlp2_bias",
}
_FUSED = {"attn_q": "", "attn_k": "Q", "attn_v": "QK"}  # and the sizes of what comes before in its rows


def recognises(tensors: Mapping[str, StoredTensor]) -> bool:
    """By blocks of bytes."""
    return any(
        tensor.dtype == "U8"
        and len(tensor.shape) == 4
        and re.fullmatch(r"block\.\d+\.mlp\.mlp[12]_weight\.blocks", name)
        for name, tensor in tensors.items()
    )


def source(tensors: Mapping[str, StoredTensor], slot: Slot) -> Source:
    """See `Layout.source`."""
    if slot.layer is None:
        return naming.dense(tensors, _MODEL[slot.key], slot)
    kind, _, part = slot.key.partition(".")
    if kind in _FUSED:
        rows = slot.sizes["Q"] + 2 * slot.sizes["K"]
        fused = naming.tensor(tensors, f"block.{slot.layer}.attn.qkv.{part}", (rows, *slot.shape[1:]), naming.FLOATS)
        first = sum(slot.sizes[letter] for letter in _FUSED[kind])
        return DenseRows(part_of(fused, first, slot.shape[0]), slot.shape[-1])
    name = f"block.{slot.layer}.{_LAYER[slot.key]}"
    if slot.role is Role.EXPERTS:
        return mxfp4(tensors, f"{name}.blocks", f"{name}.scales", slot)
    return naming.dense(tensors, name, slot)
