"""GGUF files of any gpt-oss shape without weights: a header, and after it a hole that reads as zeros.

They take a few kilobytes of disk whatever their size, and llama.cpp loads them like any other; the true 20b shape only
with `dry_run`, which allocates nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import llama_cpp.llama_cpp as lib

from inglenook_convert.gguf_format import (
    BF16,
    F32,
    MXFP4,
    Q4_0,
    Q8_0,
    KeyValue,
    TensorInfo,
    TensorType,
    ValueType,
    encode_header,
    padded,
)

KINDS = {kind.name: kind for kind in (BF16, MXFP4, Q4_0, Q8_0)}
MIB = 1 << 20


@dataclass(frozen=True)
class Shape:
    """As in `inglenook.core.memory.Header`; the defaults are small. `others` is the type of what is not experts."""

    layers: int = 3
    hidden: int = 256
    inter: int = 256
    experts: int = 8
    used: int = 4
    heads: int = 8
    kv_heads: int = 2
    head: int = 32
    vocabulary: int = 4096
    window: int = 128
    n_ctx: int = 131072
    others: str = "Q8_0"


FULL = Shape(24, 2880, 2880, 32, 4, 64, 8, 64, 201088)


def write(path: Path, shape: Shape) -> Path:
    """Writes the file."""
    tensors, offset = [], 0
    for name, kind, size in _tensors(shape):
        tensors.append(TensorInfo(name, kind, size, offset))
        offset += padded(kind.nbytes(size))
    numbers = {
        "context_length": shape.n_ctx,
        "embedding_length": shape.hidden,
        "block_count": shape.layers,
        "feed_forward_length": shape.inter,
        "expert_feed_forward_length": shape.inter,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head,
        "attention.value_length": shape.head,
        "attention.sliding_window": shape.window,
        "expert_count": shape.experts,
        "expert_used_count": shape.used,
        "vocab_size": shape.vocabulary,
    }
    metadata = [
        KeyValue("general.architecture", ValueType.STRING, "gpt-oss"),
        KeyValue("general.name", ValueType.STRING, "Shape"),
        KeyValue("tokenizer.ggml.model", ValueType.STRING, "no_vocab"),
        KeyValue("gpt-oss.attention.layer_norm_rms_epsilon", ValueType.FLOAT32, 1e-5),
        KeyValue("gpt-oss.rope.freq_base", ValueType.FLOAT32, 150000.0),
        *(KeyValue(f"gpt-oss.{key}", ValueType.UINT32, value) for key, value in numbers.items()),
    ]
    header = encode_header(metadata, tensors)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + offset)
    return path


def _tensors(shape: Shape) -> Iterator[tuple[str, TensorType, tuple[int, ...]]]:
    others = KINDS[shape.others]
    hidden, q, kv = shape.hidden, shape.heads * shape.head, shape.kv_heads * shape.head
    yield "token_embd.weight", others, (shape.vocabulary, hidden)
    for i in range(shape.layers):
        at = f"blk.{i}"
        yield f"{at}.attn_norm.weight", F32, (hidden,)
        for name, rows, columns in (("q", q, hidden), ("k", kv, hidden), ("v", kv, hidden), ("output", hidden, q)):
            yield f"{at}.attn_{name}.weight", others, (rows, columns)
            yield f"{at}.attn_{name}.bias", F32, (rows,)
        yield f"{at}.attn_sinks.weight", F32, (shape.heads,)
        yield f"{at}.post_attention_norm.weight", F32, (hidden,)
        yield f"{at}.ffn_gate_inp.weight", F32, (shape.experts, hidden)
        yield f"{at}.ffn_gate_inp.bias", F32, (shape.experts,)
        for name, rows, columns in (
            ("gate", shape.inter, hidden),
            ("up", shape.inter, hidden),
            ("down", hidden, shape.inter),
        ):
            yield f"{at}.ffn_{name}_exps.weight", MXFP4, (shape.experts, rows, columns)
            yield f"{at}.ffn_{name}_exps.bias", F32, (shape.experts, rows)
    yield "output_norm.weight", F32, (hidden,)
    yield "output.weight", others, (shape.vocabulary, hidden)


@contextmanager
def dry_run(path: Path) -> Iterator[lib.llama_model_p]:
    """The model as llama.cpp has it when it is to allocate nothing."""
    params = lib.llama_model_default_params()
    params.no_alloc, params.load_mode, params.use_extra_bufts = True, lib.LLAMA_LOAD_MODE_NONE, False
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    assert model
    yield model
    lib.llama_model_free(model)


@contextmanager
def said(level_name: str = "INFO") -> Iterator[list[str]]:
    """What llama.cpp says meanwhile to the log that `llama.start` gave it."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("llama.cpp")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(level_name)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


def dry_context(model: lib.llama_model_p, n_ctx: int, batch: int, cache_type: str) -> tuple[int, int]:
    """Bytes of cache and compute buffers that a context would take, says llama.cpp's log; after `llama.start`."""
    params = lib.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = n_ctx, batch, batch
    params.n_seq_max = params.n_outputs_max = 1
    params.flash_attn_type, params.swa_full = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED, False
    params.type_k = params.type_v = {"f16": lib.GGML_TYPE_F16, "q8_0": lib.GGML_TYPE_Q8_0}[cache_type]
    with said() as lines:
        context = lib.llama_init_from_model(model, params)
    assert context
    lib.llama_free(context)
    text = "\n".join(lines)
    cache = sum(float(size) for size in re.findall(r" size = +([\d.]+) MiB \(", text))
    compute = sum(float(size) for size in re.findall(r"compute buffer size = +([\d.]+) MiB", text))
    return round(cache * MIB), round(compute * MIB)
