"""What config.json says of a gpt-oss model, checked: llama.cpp has some of these numbers built in.

Three forms are read: transformers 4 (`rope_scaling`, `rope_theta`), transformers 5 (`rope_parameters` has both), and
that of the folder `original/` (openai/gpt-oss, gpt_oss/torch). Standard library only; everything here is JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import shown

SWIGLU_LIMIT = 7.0  # built into llama.cpp's gpt-oss graph
_LARGEST = 1 << 24  # far above any real size; keeps products of sizes small
# What costs memory or time before a tensor has been looked at has a limit of its own.
_LARGEST_OF = {
    "num_hidden_layers": 512,  # llama.cpp's LLAMA_MAX_LAYERS
    "num_local_experts": 1024,  # and LLAMA_MAX_EXPERTS
    "vocab_size": 1 << 20,
}
_ORIGINAL_NORM_EPSILON = 1e-5  # not in the file: a default argument in gpt_oss/torch/model.py


@dataclass(frozen=True, slots=True)
class Config:
    """A gpt-oss model's sizes. Counts unless said otherwise; `head_dim` is elements of one attention head."""

    layers: int
    hidden: int
    intermediate: int
    experts: int
    experts_used: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    window: int
    norm_epsilon: float
    rope_base: float
    rope_factor: float
    rope_original_context: int
    rope_beta_fast: float
    rope_beta_slow: float
    is_demo: bool = False

    def dimensions(self) -> dict[str, int]:
        """Sizes by the letters that `tensor_map` uses."""
        return {
            "H": self.hidden,
            "F": self.intermediate,
            "E": self.experts,
            "Q": self.heads * self.head_dim,
            "K": self.kv_heads * self.head_dim,
            "A": self.heads,
            "V": self.vocabulary,
        }


def is_original(raw: Mapping[str, Any]) -> bool:
    """Whether this is the config.json of a folder `original/`, which does not name its architecture."""
    return "model_type" not in raw and {"num_experts", "rope_scaling_factor", "initial_context_length"} <= raw.keys()


def parse_config(raw: Mapping[str, Any]) -> Config:
    """Reads config.json's object. Raises `ConvertError` for another architecture or what llama.cpp cannot compute."""
    if is_original(raw):
        raw = _from_original(raw)
    _refuse_other_architectures(raw)
    fields = _Fields(raw)
    layers = fields.count("num_hidden_layers")
    _refuse_unsupported(raw, layers)
    rope = _rope(raw)
    scaling = _Fields(rope)
    config = Config(
        layers=layers,
        hidden=fields.count("hidden_size"),
        intermediate=fields.count("intermediate_size"),
        experts=fields.count("num_local_experts"),
        experts_used=fields.count("num_experts_per_tok", fallback="experts_per_token"),
        heads=fields.count("num_attention_heads"),
        kv_heads=fields.count("num_key_value_heads"),
        head_dim=fields.count("head_dim"),
        vocabulary=fields.count("vocab_size"),
        context=fields.count("max_position_embeddings"),
        window=fields.count("sliding_window"),
        norm_epsilon=fields.real("rms_norm_eps"),
        rope_base=(scaling if "rope_theta" in rope else fields).real("rope_theta"),
        rope_factor=scaling.real("factor"),
        rope_original_context=(scaling if "original_max_position_embeddings" in rope else fields).count(
            "original_max_position_embeddings", fallback="initial_context_length"
        ),
        rope_beta_fast=scaling.real("beta_fast", 32.0),
        rope_beta_slow=scaling.real("beta_slow", 1.0),
        is_demo=raw.get("inglenook_demo") is True,
    )
    if config.experts_used > config.experts:
        raise _wrong(f"{config.experts_used} of {config.experts} experts are to be used. It contradicts itself")
    if config.heads % config.kv_heads:
        raise _wrong(f"{config.heads} attention heads cannot share {config.kv_heads} key-value heads")
    if config.head_dim % 2:
        raise _wrong(f"head_dim is {config.head_dim}, and rotary embeddings need pairs")
    return config


def _from_original(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The same in the published form."""
    fields = _Fields(raw)
    trained, factor = fields.count("initial_context_length"), fields.real("rope_scaling_factor")
    names = {"num_experts": "num_local_experts", "experts_per_token": "num_experts_per_tok"}
    return {
        "model_type": "gpt_oss",
        "rms_norm_eps": _ORIGINAL_NORM_EPSILON,
        "max_position_embeddings": round(min(trained * factor, 1e18)),
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": factor,
            "beta_fast": raw.get("rope_ntk_beta", 32.0),
            "beta_slow": raw.get("rope_ntk_alpha", 1.0),
            "original_max_position_embeddings": trained,
        },
        **{names.get(name, name): value for name, value in raw.items()},
    }


def _refuse_other_architectures(raw: Mapping[str, Any]) -> None:
    kind, classes = raw.get("model_type"), raw.get("architectures")
    if kind != "gpt_oss":
        raise ConvertError(
            f"config.json: model_type is {shown(kind)}; only gpt_oss checkpoints can be converted."
            " For other models use llama.cpp's convert_hf_to_gguf.py."
        )
    if classes and classes != ["GptOssForCausalLM"]:
        raise ConvertError(
            f"config.json: architectures is {shown(classes)}; only GptOssForCausalLM, which writes text, can be"
            " converted."
        )


def _refuse_unsupported(raw: Mapping[str, Any], layers: int) -> None:
    limit = raw.get("swiglu_limit", SWIGLU_LIMIT)
    if limit != SWIGLU_LIMIT:
        raise _wrong(f"swiglu_limit is {shown(limit)}, and llama.cpp computes with {SWIGLU_LIMIT} only")
    if raw.get("hidden_act", "silu") != "silu":
        raise _wrong(f"hidden_act is {shown(raw['hidden_act'])}, and llama.cpp computes gpt-oss with silu only")
    if raw.get("tie_word_embeddings"):
        raise ConvertError(
            "config.json: tie_word_embeddings is set, and gpt-oss has an output matrix of its own. Save the model"
            " again with an lm_head, or correct the setting if the checkpoint has one."
        )
    kinds = raw.get("layer_types")
    if kinds is not None and kinds != [("sliding_attention", "full_attention")[layer % 2] for layer in range(layers)]:
        raise _wrong("layer_types do not alternate from sliding_attention on, and llama.cpp computes no other order")
    quantization = raw.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
    if method not in (None, "mxfp4"):
        raise ConvertError(
            f"config.json: quant_method is {shown(method)}; only mxfp4 and unquantized checkpoints can be converted."
            " Get the model without this quantization, or dequantize it with the program that made it."
        )


def _rope(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    rope = raw.get("rope_parameters") or raw.get("rope_scaling")
    if not isinstance(rope, dict) or rope.get("rope_type", rope.get("type")) != "yarn":
        raise _wrong("the rope scaling is not of type yarn, as it is in gpt-oss")
    for name in ("attention_factor", "mscale", "mscale_all_dim"):
        if rope.get(name) is not None:
            raise _wrong(
                f"the rope scaling has {name} {shown(rope[name])}, which llama.cpp does not compute for gpt-oss"
            )
    return rope


def _wrong(what: str) -> ConvertError:
    return ConvertError(f"config.json: {what}. Check that it is this checkpoint's own.")


class _Fields:
    """Typed look-ups in a JSON object."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw

    def count(self, name: str, fallback: str = "") -> int:
        value = self._raw.get(name, self._raw.get(fallback))
        largest = _LARGEST_OF.get(name, _LARGEST)
        if type(value) is not int or not 0 < value <= largest:
            raise _wrong(f"{name} is {shown(value)} where a whole number from 1 to {largest} is needed")
        return value

    def real(self, name: str, default: float | None = None) -> float:
        value = self._raw.get(name, default)
        if type(value) not in (int, float) or not 1e-30 < value < 1e30:  # what a float of the file can hold
            raise _wrong(f"{name} is {shown(value)} where a number above zero is needed")
        return float(value)
