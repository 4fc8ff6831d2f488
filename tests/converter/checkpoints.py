"""Writes small checkpoints with random weights, the same network in every layout: input for the tests here.

`tensors` makes a network in the published layout; `relaid` gives it in another; `reference` has its values by the names
and shapes of the GGUF; `write_checkpoint` writes a folder. All values are exact in BF16 and F32, and in F16 too with
`extremes=False`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
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

LAYOUTS = ("published", "original", "dense", "dense_blocks_5_23", "per_expert")

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


def config(shape: Shape, layout: str = "published") -> dict[str, Any]:
    """config.json's object."""
    if layout == "original":
        return _original_config(shape)
    quantization = {"quantization_config": {"quant_method": "mxfp4"}} if layout in LAYOUTS[:1] + LAYOUTS[3:4] else {}
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
        **quantization,
    }


def _original_config(shape: Shape) -> dict[str, Any]:
    return {
        "num_hidden_layers": shape.layers,
        "num_experts": shape.experts,
        "experts_per_token": shape.used,
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "swiglu_limit": 7.0,
        "head_dim": shape.head_dim,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "sliding_window": 128,
        "initial_context_length": 4096,
        "rope_theta": 150000,
        "rope_scaling_factor": 32.0,
        "rope_ntk_alpha": 1,
        "rope_ntk_beta": 32,
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


def tensors(shape: Shape, seed: int = 0, *, extremes: bool = True) -> Tensors:
    """Random tensors of the published layout. `extremes`: with some exponents whose values F16 cannot hold."""
    random = np.random.default_rng(seed)
    found: Tensors = {}

    def dense(name: str, *sizes: int) -> None:
        values = (np.rint(random.normal(0, 0.05, sizes) * 2**20) / 2**20).astype(np.float32)
        found[name] = ("BF16", (values.view(np.uint32) >> 16).astype(np.uint16))

    def experts(name: str, rows: int, columns: int) -> None:
        codes = random.integers(0, 256, (shape.experts, rows, columns // 32, 16), dtype=np.uint8)
        scales = random.integers(115, 125, codes.shape[:-1], dtype=np.uint8)
        if extremes:
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


# -- other layouts --

_ORIGINAL = {
    "input_layernorm.weight": "attn.norm.scale",
    "self_attn.sinks": "attn.sinks",
    "self_attn.o_proj.weight": "attn.out.weight",
    "self_attn.o_proj.bias": "attn.out.bias",
    "post_attention_layernorm.weight": "mlp.norm.scale",
    "mlp.router.weight": "mlp.gate.weight",
    "mlp.router.bias": "mlp.gate.bias",
    "mlp.experts.gate_up_proj_blocks": "mlp.mlp1_weight.blocks",
    "mlp.experts.gate_up_proj_scales": "mlp.mlp1_weight.scales",
    "mlp.experts.gate_up_proj_bias": "mlp.mlp1_bias",
    "mlp.experts.down_proj_blocks": "mlp.mlp2_weight.blocks",
    "mlp.experts.down_proj_scales": "mlp.mlp2_weight.scales",
    "mlp.experts.down_proj_bias": "mlp.mlp2_bias",
}
_ORIGINAL_TOP = {
    "model.embed_tokens.weight": "embedding.weight",
    "model.norm.weight": "norm.scale",
    "lm_head.weight": "unembedding.weight",
}


def relaid(content: Tensors, layout: str, dtype: str = "BF16") -> Tensors:
    """The network `content`, which is as `tensors` makes it, in another layout; all that is not bytes in `dtype`."""
    renamed = {"published": _kept, "original": _original, "per_expert": _per_expert}.get(layout) or _dense(layout)
    found: Tensors = {}
    for name, (kind, array) in renamed(content):
        found[name] = (
            (kind, array) if kind in ("U8", dtype) else encoded(bf16((kind, array)) if kind == "BF16" else array, dtype)
        )
    return found


def encoded(values: np.ndarray, dtype: str) -> tuple[str, np.ndarray]:
    """float32 values as `dtype`, which must hold them exactly."""
    if dtype == "BF16":
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        assert not (bits & 0xFFFF).any()
        return dtype, (bits >> 16).astype(np.uint16)
    stored = values.astype(DTYPES[dtype])
    assert np.array_equal(stored.astype(np.float32), values)
    return dtype, stored


_Renamed = Iterator[tuple[str, tuple[str, np.ndarray]]]


def _kept(content: Tensors) -> _Renamed:
    yield from content.items()


def _original(content: Tensors) -> _Renamed:
    for name, entry in content.items():
        if name in _ORIGINAL_TOP:
            yield _ORIGINAL_TOP[name], entry
            continue
        layer, rest = name.removeprefix("model.layers.").split(".", 1)
        if rest in _ORIGINAL:
            yield f"block.{layer}.{_ORIGINAL[rest]}", entry
        elif rest.startswith("self_attn.q_proj."):
            parts = [content[name.replace("q_proj", f"{letter}_proj")][1] for letter in "qkv"]
            yield f"block.{layer}.attn.qkv.{rest.rpartition('.')[2]}", (entry[0], np.concatenate(parts))


def _expert_values(content: Tensors) -> Iterator[tuple[str, np.ndarray]]:
    """Name without "_blocks", and values [E, rows, columns], of each matrix of experts."""
    for name in content:
        if name.endswith("_blocks"):
            base = name.removesuffix("_blocks")
            yield base, mxfp4_values(content[name][1], content[f"{base}_scales"][1])


def _dense(layout: str) -> Callable[[Tensors], _Renamed]:
    suffix = {"dense": "", "dense_blocks_5_23": "_blocks"}[layout]

    def renamed(content: Tensors) -> _Renamed:
        yield from ((name, entry) for name, entry in content.items() if entry[0] != "U8")
        for name, values in _expert_values(content):
            yield f"{name}{suffix}", ("F32", np.ascontiguousarray(values.swapaxes(1, 2)))

    return renamed


def _per_expert(content: Tensors) -> _Renamed:
    for name, entry in content.items():
        if name.endswith("_proj_bias"):
            for i, row in enumerate(entry[1]):
                yield f"{name.removesuffix('_bias')}s.{i}.bias", (entry[0], row)
        elif entry[0] != "U8":
            yield name.replace("mlp.router.", "mlp.router.linear."), entry
    for name, values in _expert_values(content):
        for i, matrix in enumerate(values):
            yield f"{name}s.{i}.weight", ("F32", matrix)


_GGUF = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_sinks.weight": "self_attn.sinks",
    "post_attention_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate_inp.weight": "mlp.router.weight",
    "ffn_gate_inp.bias": "mlp.router.bias",
    **{f"attn_{a}.{part}": f"self_attn.{b}_proj.{part}"
       for a, b in (("q", "q"), ("k", "k"), ("v", "v"), ("output", "o")) for part in ("weight", "bias")},
}  # fmt: skip


def reference(content: Tensors) -> dict[str, np.ndarray]:
    """The values of the network `content` (published layout) as float32, by the names and in the shapes of the GGUF."""
    found = {"token_embd.weight": bf16(content["model.embed_tokens.weight"])}
    experts = dict(_expert_values(content))
    for layer in range(sum(name.endswith("self_attn.sinks") for name in content)):
        at, blk = f"model.layers.{layer}.", f"blk.{layer}."
        found |= {f"{blk}{name}": bf16(content[f"{at}{source}"]) for name, source in _GGUF.items()}
        pair, pair_bias = experts[f"{at}mlp.experts.gate_up_proj"], bf16(content[f"{at}mlp.experts.gate_up_proj_bias"])
        for name, start in (("gate", 0), ("up", 1)):
            found[f"{blk}ffn_{name}_exps.weight"] = pair[:, start::2]
            found[f"{blk}ffn_{name}_exps.bias"] = pair_bias[:, start::2]
        found[f"{blk}ffn_down_exps.weight"] = experts[f"{at}mlp.experts.down_proj"]
        found[f"{blk}ffn_down_exps.bias"] = bf16(content[f"{at}mlp.experts.down_proj_bias"])
    return found | {"output_norm.weight": bf16(content["model.norm.weight"]),
                    "output.weight": bf16(content["lm_head.weight"])}  # fmt: skip


def write_checkpoint(
    folder: Path,
    shape: Shape | None = None,
    content: Tensors | None = None,
    *,
    layout: str = "published",
    dtype: str | None = None,
    shards: int = 1,
    index: bool = True,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """A whole checkpoint folder; what to convert is returned. Tensors are dealt to `shards` in turn, so that blocks and
    scales are apart. `content` is as `tensors` makes it, whatever the layout; `dtype` "BF16", "F16" or "F32".

    The original layout is put into the folder's `original/`, with the tokenizer beside it, as on the Hub.
    """
    shape = shape or Shape()
    content = tensors(shape, extremes=dtype != "F16") if content is None else content
    if layout != "published" or dtype:
        content = relaid(content, layout, dtype or "BF16")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    if layout == "original":
        folder = folder / "original"
        folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config(shape, layout), **(changes or {})}))
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


def mxfp4_values(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The values of a pair, [..., rows, columns], as float32, as OpenAI's program computes them."""
    lut = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*scales.shape, 32)
    values = np.ldexp(lut[codes], scales[..., None].astype(np.int32) - 127)
    return values.reshape(*blocks.shape[:-2], blocks.shape[-2] * 32)


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
