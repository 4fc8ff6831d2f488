"""Writes small checkpoints of the published layout with random weights, and mangles them: input for the tests here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SPECIALS = ("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>",
            "<|message|>", "<|call|>", "<|endofprompt|>")  # fmt: skip
PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DTYPES = {"U8": np.dtype("u1"), "BF16": np.dtype("<u2"), "F16": np.dtype("<f2"), "F32": np.dtype("<f4")}

Tensors = dict[str, tuple[str, np.ndarray]]
"""Name to safetensors dtype and array; BF16 as its 16 bits."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; hidden, intermediate and the attention's width all differ by default."""

    layers: int = 2
    hidden: int = 64
    intermediate: int = 96
    experts: int = 4
    used: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    vocabulary: int = 320


def byte_tokens() -> list[str]:
    """The printable stand-in of each byte, as in GPT-2's vocabulary."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(b) for b in kept] + [chr(256 + i) for i in range(256 - len(kept))]


def config(shape: Shape) -> dict[str, Any]:
    """config.json's object."""
    return {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_local_experts": shape.experts,
        "num_experts_per_tok": shape.used,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": 131072,
        "sliding_window": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 150000.0,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": 4096,
        },
        "layer_types": ["sliding_attention" if i % 2 == 0 else "full_attention" for i in range(shape.layers)],
        "swiglu_limit": 7.0,
        "tie_word_embeddings": False,
        "quantization_config": {"quant_method": "mxfp4"},
    }


def tokenizer() -> dict[str, Any]:
    """tokenizer.json's object: bytes, one merge as a pair, and the special tokens from id 257 on."""
    texts = [*byte_tokens(), "ab"]
    return {
        "added_tokens": [{"id": 257 + i, "content": text, "special": True} for i, text in enumerate(SPECIALS)],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Split", "pattern": {"Regex": PATTERN}}, {"type": "ByteLevel"}],
        },
        "model": {"type": "BPE", "vocab": {text: i for i, text in enumerate(texts)}, "merges": [["a", "b"]]},
    }


def tensors(shape: Shape, seed: int = 0) -> Tensors:
    """Random tensors of the published layout."""
    random = np.random.default_rng(seed)
    found: Tensors = {}

    def dense(name: str, *sizes: int) -> None:
        values = random.normal(0, 0.05, sizes).astype(np.float32)
        found[name] = ("BF16", (values.view(np.uint32) >> 16).astype(np.uint16))

    def experts(name: str, rows: int, columns: int) -> None:
        codes = random.integers(0, 256, (shape.experts, rows, columns // 32, 16), dtype=np.uint8)
        scales = random.integers(115, 125, codes.shape[:-1], dtype=np.uint8)
        scales.reshape(-1)[:4] = 0, 1, 2, 130
        found[f"{name}_blocks"] = ("U8", codes)
        found[f"{name}_scales"] = ("U8", scales)
        dense(f"{name}_bias", shape.experts, rows)

    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    dense("model.embed_tokens.weight", shape.vocabulary, shape.hidden)
    for layer in range(shape.layers):
        at = f"model.layers.{layer}."
        dense(f"{at}input_layernorm.weight", shape.hidden)
        dense(f"{at}post_attention_layernorm.weight", shape.hidden)
        for name, rows, columns in (("q", q, shape.hidden), ("k", kv, shape.hidden), ("v", kv, shape.hidden),
                                    ("o", shape.hidden, q)):  # fmt: skip
            dense(f"{at}self_attn.{name}_proj.weight", rows, columns)
            dense(f"{at}self_attn.{name}_proj.bias", rows)
        dense(f"{at}self_attn.sinks", shape.heads)
        dense(f"{at}mlp.router.weight", shape.experts, shape.hidden)
        dense(f"{at}mlp.router.bias", shape.experts)
        experts(f"{at}mlp.experts.gate_up_proj", 2 * shape.intermediate, shape.hidden)
        experts(f"{at}mlp.experts.down_proj", shape.hidden, shape.intermediate)
    dense("model.norm.weight", shape.hidden)
    dense("lm_head.weight", shape.vocabulary, shape.hidden)
    return found


def write_safetensors(path: Path, content: Tensors) -> None:
    """One safetensors file."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, array) in content.items():
        assert array.dtype == DTYPES[dtype]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for _, array in content.values():
            file.write(array.tobytes())


def write_checkpoint(
    folder: Path,
    shape: Shape | None = None,
    content: Tensors | None = None,
    *,
    shards: int = 1,
    index: bool = True,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """A whole checkpoint folder. Tensors are dealt to `shards` in turn, so that blocks and scales are apart."""
    shape = shape or Shape()
    content = tensors(shape) if content is None else content
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config(shape), **(changes or {})}))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    if shards == 1:
        write_safetensors(folder / "model.safetensors", content)
        return folder
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard:05d}-of-{shards:05d}.safetensors"
        part = {name: entry for i, (name, entry) in enumerate(content.items()) if i % shards == shard}
        write_safetensors(folder / file, part)
        weight_map.update(dict.fromkeys(part, file))
    if index:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def bf16(entry: tuple[str, np.ndarray]) -> np.ndarray:
    """The values of a BF16 tensor as float32."""
    return (entry[1].astype(np.uint32) << 16).view(np.float32)


def slow_mxfp4(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The values of a pair, [..., rows, columns], one element at a time, after the definition of the format."""
    lut = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    flat, exponents = blocks.reshape(-1, 16), scales.reshape(-1)
    out = np.empty((len(flat), 32), np.float64)
    for block, exponent, row in zip(flat.tolist(), exponents.tolist(), out, strict=True):
        for element in range(32):
            byte = block[element // 2]
            code = byte >> 4 if element % 2 else byte & 15
            row[element] = lut[code & 7] * (-1.0 if code & 8 else 1.0) * 2.0 ** (exponent - 127)
    return out.reshape(*blocks.shape[:-2], blocks.shape[-2] * 32)
