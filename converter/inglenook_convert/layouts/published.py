"""The layout of openai/gpt-oss-20b, -120b and -safeguard on the Hub, and of the demo model.

Experts are MXFP4 in pairs of `*_blocks` (U8 [E, rows, columns/32, 16]) and `*_scales` (U8 [E, rows, columns/32]); the
gate is in the even rows of `gate_up_proj`, up in the odd ones. Everything else is BF16, named as transformers names it.
"""

from __future__ import annotations

from collections.abc import Mapping

from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import StoredTensor
from inglenook_convert.sources import DenseRows, Mxfp4Rows, Source
from inglenook_convert.tensor_map import Role, Slot

NAME = "published gpt-oss with MXFP4 experts"

_MODEL = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_q.bias": "self_attn.q_proj.bias",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_k.bias": "self_attn.k_proj.bias",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_v.bias": "self_attn.v_proj.bias",
    "attn_output.weight": "self_attn.o_proj.weight",
    "attn_output.bias": "self_attn.o_proj.bias",
    "attn_sinks.weight": "self_attn.sinks",
    "post_attention_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate_inp.weight": "mlp.router.weight",
    "ffn_gate_inp.bias": "mlp.router.bias",
    "ffn_gate_exps.weight": "mlp.experts.gate_up_proj",
    "ffn_gate_exps.bias": "mlp.experts.gate_up_proj_bias",
    "ffn_up_exps.weight": "mlp.experts.gate_up_proj",
    "ffn_up_exps.bias": "mlp.experts.gate_up_proj_bias",
    "ffn_down_exps.weight": "mlp.experts.down_proj",
    "ffn_down_exps.bias": "mlp.experts.down_proj_bias",
}
_DENSE = ("BF16", "F16", "F32")


def recognises(tensors: Mapping[str, StoredTensor]) -> bool:
    """By the first layer's pair of blocks and scales, of bytes."""
    pair = [tensors.get(f"model.layers.0.mlp.experts.gate_up_proj_{part}") for part in ("blocks", "scales")]
    return all(tensor is not None and tensor.dtype == "U8" for tensor in pair)


def source(tensors: Mapping[str, StoredTensor], slot: Slot) -> Source:
    """See `Layout.source`."""
    name = _MODEL[slot.key] if slot.layer is None else f"model.layers.{slot.layer}.{_LAYER[slot.key]}"
    # Gate and up alternate in the rows of one matrix, and so in the elements of its bias.
    start, step = {"ffn_gate_exps": (0, 2), "ffn_up_exps": (1, 2)}.get(slot.key.partition(".")[0], (0, 1))
    if slot.role is Role.EXPERTS:
        experts, rows, columns = slot.shape
        shape = (experts, rows * step, columns // 32)
        blocks = _tensor(tensors, f"{name}_blocks", (*shape, 16), ("U8",))
        scales = _tensor(tensors, f"{name}_scales", shape, ("U8",))
        return Mxfp4Rows(blocks, scales, columns // 32, start, step)
    tensor = _tensor(tensors, name, (*slot.shape[:-1], slot.shape[-1] * step), _DENSE)
    return DenseRows(tensor, 1 if step > 1 else slot.shape[-1], start, step)


def _tensor(
    tensors: Mapping[str, StoredTensor], name: str, shape: tuple[int, ...], dtypes: tuple[str, ...]
) -> StoredTensor:
    tensor = tensors.get(name)
    if tensor is None:
        raise ConvertError(f"tensor {name!r} is missing from the checkpoint. Get its files again.")
    if tensor.dtype not in dtypes or tensor.shape != shape:
        found, wanted = f"{tensor.dtype} {list(tensor.shape)}", f"{' or '.join(dtypes)} {list(shape)}"
        raise ConvertError(f"{tensor.file}: tensor {name!r} is {found}, and config.json calls for {wanted}.")
    return tensor
