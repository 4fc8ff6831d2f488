"""What config.json says of a gpt-oss model, checked: llama.cpp has some of these numbers built in.

Standard library only; everything here is headers and JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inglenook_convert.errors import ConvertError

SWIGLU_LIMIT = 7.0  # built into llama.cpp's gpt-oss graph
_LARGEST = 1 << 24  # far above any real count; keeps products of sizes small


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


def parse_config(raw: Mapping[str, Any]) -> Config:
    """Reads config.json's object. Raises `ConvertError` for another architecture or what llama.cpp cannot compute."""
    fields = _Fields(raw)
    if raw.get("model_type") != "gpt_oss":
        kind = raw.get("model_type") or "unknown"
        raise ConvertError(f"config.json: model_type is {kind!r}; only gpt_oss checkpoints can be converted.")
    layers = fields.count("num_hidden_layers")
    _refuse_unsupported(raw, layers)
    rope = raw.get("rope_parameters") or raw.get("rope_scaling")
    if not isinstance(rope, dict) or rope.get("rope_type", rope.get("type")) != "yarn":
        raise ConvertError("config.json: rope_scaling is not of type yarn, as it is in gpt-oss.")
    scaling = _Fields(rope)
    return Config(
        layers=layers,
        hidden=_multiple_of_32(fields, "hidden_size"),
        intermediate=_multiple_of_32(fields, "intermediate_size"),
        experts=fields.count("num_local_experts"),
        experts_used=fields.count("num_experts_per_tok", fallback="experts_per_token"),
        heads=fields.count("num_attention_heads"),
        kv_heads=fields.count("num_key_value_heads"),
        head_dim=_multiple_of_32(fields, "head_dim"),
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


def _refuse_unsupported(raw: Mapping[str, Any], layers: int) -> None:
    limit = raw.get("swiglu_limit", SWIGLU_LIMIT)
    if limit != SWIGLU_LIMIT:
        raise ConvertError(f"config.json: swiglu_limit is {limit!r}; llama.cpp computes with {SWIGLU_LIMIT} only.")
    if raw.get("tie_word_embeddings"):
        raise ConvertError("config.json: tie_word_embeddings is set; gpt-oss has an output matrix of its own.")
    kinds = raw.get("layer_types")
    alternating = [("sliding_attention", "full_attention")[layer % 2] for layer in range(layers)]
    if kinds is not None and kinds != alternating:
        raise ConvertError("config.json: layer_types do not alternate from sliding_attention; llama.cpp needs that.")
    quantization = raw.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    if method not in (None, "mxfp4"):
        raise ConvertError(
            f"config.json: quant_method is {method!r}; only mxfp4 or an unquantized checkpoint can be converted."
        )


def _multiple_of_32(fields: _Fields, name: str) -> int:
    number = fields.count(name)
    if number % 32:
        raise ConvertError(f"config.json: {name} is {number}, not a multiple of 32, which the GGUF types need.")
    return number


class _Fields:
    """Typed look-ups in a JSON object."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw

    def count(self, name: str, fallback: str = "") -> int:
        value = self._raw.get(name, self._raw.get(fallback))
        if type(value) is not int or not 0 < value <= _LARGEST:
            raise ConvertError(f"config.json: {name} is {value!r}; a whole number above zero is needed.")
        return value

    def real(self, name: str, default: float | None = None) -> float:
        value = self._raw.get(name, default)
        if type(value) not in (int, float) or not 0 < value < 1e30:
            raise ConvertError(f"config.json: {name} is {value!r}; a number above zero is needed.")
        return float(value)
