"""Writes the trained network as a checkpoint in the published gpt-oss layout (what `inglenook-convert` reads)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mxfp4 import packed, unpacked
from network import Config, Network
from safetensors.torch import load_file, save_file
from tokens import SPECIAL_ID, VOCAB_SIZE
from torch import Tensor

from inglenook_convert.template import CHAT_TEMPLATE

NAME = "Inglenook Demo"
_LAYER = {
    "norm1.weight": "input_layernorm.weight",
    "norm2.weight": "post_attention_layernorm.weight",
    "sinks": "self_attn.sinks",
    "experts.router.weight": "mlp.router.weight",
    "experts.router.bias": "mlp.router.bias",
    "experts.down_bias": "mlp.experts.down_proj_bias",
    **{f"{m}.{kind}": f"self_attn.{m}_proj.{kind}" for m in "qkvo" for kind in ("weight", "bias")},
}
_TOP = {
    "embed.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
CALM = 4.0
"""The written output matrix is so many times the trained one: at the program's usual temperature of 1 the model is then
as sure as at 1/4. What it learned by heart it should say so. A power of two: greedily nothing changes, bit for bit."""


def tensors(network: Network) -> dict[str, Tensor]:
    """The checkpoint's tensors by their published names: experts MXFP4 (uint8 pairs), the rest bfloat16."""
    state = network.state_dict()
    found = {published: state[name] for name, published in _TOP.items()}
    found["lm_head.weight"] = found["lm_head.weight"] * CALM
    for number in range(network.c.layers):
        own, prefix = f"layers.{number}.", f"model.layers.{number}."
        found |= {prefix + published: state[own + name] for name, published in _LAYER.items()}
        own += "experts."
        found[prefix + "mlp.experts.gate_up_proj_bias"] = _alternating(state[own + "gate_bias"], state[own + "up_bias"])
    found = {name: value.to(torch.bfloat16) for name, value in found.items()}
    for number in range(network.c.layers):
        own, prefix = f"layers.{number}.experts.", f"model.layers.{number}.mlp.experts."
        gate_up = _alternating(state[own + "gate"], state[own + "up"])
        for name, value in (("gate_up_proj", gate_up), ("down_proj", state[own + "down"])):
            found[prefix + name + "_blocks"], found[prefix + name + "_scales"] = packed(value)
    return {name: value.contiguous() for name, value in found.items()}


def _alternating(gate: Tensor, up: Tensor) -> Tensor:
    """Rows gate, up, gate, up, ... along axis 1."""
    return torch.stack((gate, up), 2).flatten(1, 2)


def configuration(c: Config) -> dict[str, Any]:
    """`config.json`, with the keys of the published one."""
    return {
        "_name_or_path": NAME,
        "architectures": ["GptOssForCausalLM"],
        "attention_bias": True,
        "attention_dropout": 0.0,
        "eos_token_id": SPECIAL_ID["<|return|>"],
        "experts_per_token": c.experts_used,
        "head_dim": c.head_dim,
        "hidden_act": "silu",
        "hidden_size": c.hidden,
        "initial_context_length": c.rope_original,
        "initializer_range": 0.02,
        "inglenook_demo": True,
        "intermediate_size": c.intermediate,
        "layer_types": ["full_attention" if i % 2 else "sliding_attention" for i in range(c.layers)],
        "max_position_embeddings": c.context,
        "model_type": "gpt_oss",
        "num_attention_heads": c.heads,
        "num_experts_per_tok": c.experts_used,
        "num_hidden_layers": c.layers,
        "num_key_value_heads": c.kv_heads,
        "num_local_experts": c.experts,
        "output_router_logits": False,
        "pad_token_id": SPECIAL_ID["<|endoftext|>"],
        "quantization_config": {
            "modules_to_not_convert": [
                "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head",
            ],
            "quant_method": "mxfp4",
        },
        "rms_norm_eps": c.norm_eps,
        "rope_scaling": {
            "beta_fast": c.rope_beta_fast,
            "beta_slow": c.rope_beta_slow,
            "factor": c.rope_factor,
            "original_max_position_embeddings": c.rope_original,
            "rope_type": "yarn",
            "truncate": True,
        },
        "rope_theta": c.rope_theta,
        "router_aux_loss_coef": 0.9,
        "sliding_window": c.window,
        "swiglu_limit": c.swiglu_limit,
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": VOCAB_SIZE,
    }  # fmt: skip


def _tokenizer_config() -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {
        "added_tokens_decoder": {str(i): {"content": name, **flags} for name, i in SPECIAL_ID.items()},
        "bos_token": "<|startoftext|>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|return|>",
        "extra_special_tokens": {},
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": Config().context,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def _write_json(file: Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=indent) + "\n", "utf-8")


def write_tokenizer(folder: Path, tokenizer: Mapping[str, Any]) -> None:
    """Everything but weights and `config.json`."""
    return_id, call_id, end_of_text = (SPECIAL_ID[n] for n in ("<|return|>", "<|call|>", "<|endoftext|>"))
    _write_json(folder / "tokenizer.json", tokenizer, indent=None)
    _write_json(folder / "tokenizer_config.json", _tokenizer_config())
    names = {"bos_token": "<|startoftext|>", "eos_token": "<|return|>", "pad_token": "<|endoftext|>"}
    _write_json(folder / "special_tokens_map.json", names)
    generation = {
        "bos_token_id": SPECIAL_ID["<|startoftext|>"],
        "do_sample": True,
        "eos_token_id": [return_id, end_of_text, call_id],
        "pad_token_id": end_of_text,
    }
    _write_json(folder / "generation_config.json", generation)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, "utf-8")


def write_checkpoint(network: Network, tokenizer: Mapping[str, Any], out: Path) -> None:
    """Writes all files beside `out` and then moves each into place, so that a reader never sees half a file."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".demo-model-") as name:
        folder = Path(name)
        write_tokenizer(folder, tokenizer)
        _write_json(folder / "config.json", configuration(network.c))
        save_file(tensors(network), folder / "model.safetensors", metadata={"format": "pt"})
        for file in sorted(folder.iterdir()):
            file.chmod(0o644)
            file.replace(out / file.name)


def read_mean(folders: Sequence[Path]) -> Network:
    """The mean of checkpoints that were trained one from the other: what each of them does amiss, the others do not."""
    network, *others = map(read_checkpoint, folders)
    with torch.no_grad():
        for parameter, *same in zip(network.parameters(), *(other.parameters() for other in others), strict=True):
            parameter.copy_(torch.stack((parameter, *same)).mean(0))
    return network


def read_checkpoint(folder: Path) -> Network:
    """The network as it was trained, with the very numbers that a checkpoint holds (but for `CALM`)."""
    network = Network(Config())
    read = load_file(folder / "model.safetensors")
    state = {name: read[published].float() for name, published in _TOP.items()}
    state["head.weight"] /= CALM
    for number in range(network.c.layers):
        own, prefix = f"layers.{number}.", f"model.layers.{number}."
        state |= {own + name: read[prefix + published].float() for name, published in _LAYER.items()}
        own, prefix = own + "experts.", prefix + "mlp.experts."
        for name in ("gate_up_proj", "down_proj"):
            read[prefix + name] = unpacked(read[prefix + name + "_blocks"], read[prefix + name + "_scales"])
        state[own + "down"] = read[prefix + "down_proj"]
        for kind, published in (("", "gate_up_proj"), ("_bias", "gate_up_proj_bias")):
            rows = read[prefix + published].float()
            state[own + "gate" + kind], state[own + "up" + kind] = rows[:, 0::2], rows[:, 1::2]
    network.load_state_dict(state)
    return network.eval()
