"""What several layouts share: the names that transformers gives to all but the experts, and looking a tensor up."""

from __future__ import annotations

import re
from collections.abc import Mapping

from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import StoredTensor
from inglenook_convert.sources import DenseRows
from inglenook_convert.tensor_map import Slot

FLOATS = ("BF16", "F16", "F32")
BYTES = ("U8",)

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
}
_EXPERTS = {
    "ffn_gate_exps.weight": "gate_up_proj",
    "ffn_gate_exps.bias": "gate_up_proj_bias",
    "ffn_up_exps.weight": "gate_up_proj",
    "ffn_up_exps.bias": "gate_up_proj_bias",
    "ffn_down_exps.weight": "down_proj",
    "ffn_down_exps.bias": "down_proj_bias",
}
_EXPERTS_OF_A_LAYER = re.compile(r"model\.layers\.\d+\.mlp\.experts\.(.+)")


def transformers_name(slot: Slot) -> str:
    """The name in transformers' GptOssForCausalLM of the parameter that has the values of `slot`."""
    if slot.layer is None:
        return _MODEL[slot.key]
    rest = _LAYER.get(slot.key) or f"mlp.experts.{_EXPERTS[slot.key]}"
    return f"model.layers.{slot.layer}.{rest}"


def interleaving(slot: Slot) -> tuple[int, int]:
    """(start, step) in the matrix that has `slot`: gate and up alternate in its rows, and in its bias."""
    return {"ffn_gate_exps": (0, 2), "ffn_up_exps": (1, 2)}.get(slot.key.partition(".")[0], (0, 1))


def dense(tensors: Mapping[str, StoredTensor], name: str, slot: Slot) -> DenseRows:
    """Everything but the experts' weights. Raises `ConvertError`."""
    start, step = interleaving(slot)
    stored = tensor(tensors, name, (*slot.shape[:-1], slot.shape[-1] * step), FLOATS)
    return DenseRows(stored, 1 if step > 1 else slot.shape[-1], start, step)


def tensor(
    tensors: Mapping[str, StoredTensor], name: str, shape: tuple[int, ...], dtypes: tuple[str, ...]
) -> StoredTensor:
    """The tensor `name`. Raises `ConvertError` if it is missing or of another shape or type."""
    found = tensors.get(name)
    if found is None:
        folder = next((f"{stored.file.parent}: " for stored in tensors.values()), "")
        raise ConvertError(f"{folder}tensor {name!r} is missing from the checkpoint. Get its files again.")
    if found.dtype not in dtypes or found.shape != shape:
        seen, wanted = f"{found.dtype} {list(found.shape)}", f"{' or '.join(dtypes)} {list(shape)}"
        raise ConvertError(f"{found.file}: tensor {name!r} is {seen}, and config.json calls for {wanted}.")
    return found


def has_experts(tensors: Mapping[str, StoredTensor], name: str, dtypes: tuple[str, ...], rank: int) -> bool:
    """Whether in any layer the experts have a tensor of one of `dtypes` and this rank, named by the pattern `name`."""
    return any(
        stored.dtype in dtypes and len(stored.shape) == rank and (found := _EXPERTS_OF_A_LAYER.fullmatch(key))
        and re.fullmatch(name, found.group(1))
        for key, stored in tensors.items()
    )  # fmt: skip
