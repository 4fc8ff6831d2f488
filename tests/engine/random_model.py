"""A tiny gpt-oss GGUF with random weights and a vocabulary of bytes and control tokens.

Random weights make every context give other logits, which is what cache tests need; the small vocabulary makes
statistics of sampling cheap. What the model says is noise: use the `demo_gguf` fixture where it should speak.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

HIDDEN = 64
LAYERS = 2
EXPERTS = 4
HEAD = 32
WINDOW = 16
CONTEXT = 8192
SPECIALS = ("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>",
            "<|message|>", "<|call|>", "<|reserved_7|>", "<|endofprompt|>")  # fmt: skip


def byte_tokens() -> list[str]:
    """The printable stand-in of each byte, as in GPT-2's vocabulary."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    shifted = [b for b in range(256) if b not in kept]
    return [chr(b) for b in kept] + [chr(256 + i) for i in range(len(shifted))]


def write(path: Path, seed: int = 0, *, arch: str = "gpt-oss", pre: str = "gpt-4o") -> Path:
    """Writes the model to `path`."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name("Random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_expert_feed_forward_length(HIDDEN)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(150000.0)
    writer.add_sliding_window(WINDOW)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(2)
    pair = "ab"
    tokens = [*byte_tokens(), pair, *SPECIALS]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if t in SPECIALS else 1 for t in tokens])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(tokens.index("<|startoftext|>"))
    writer.add_eos_token_id(tokens.index("<|return|>"))

    def add(name: str, *shape: int, scale: float | None = None) -> None:
        size = scale if scale is not None else 1.5 / np.sqrt(shape[-1])
        writer.add_tensor(name, (random.standard_normal(shape) * size).astype(np.float32))

    add("token_embd.weight", len(tokens), HIDDEN, scale=1.0)
    add("output.weight", len(tokens), HIDDEN, scale=0.4)
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    for i in range(LAYERS):
        for norm in ("attn_norm", "post_attention_norm"):
            writer.add_tensor(f"blk.{i}.{norm}.weight", np.ones(HIDDEN, np.float32))
        for name, rows, columns in (("attn_q", 4 * HEAD, HIDDEN), ("attn_k", 2 * HEAD, HIDDEN),
                                    ("attn_v", 2 * HEAD, HIDDEN), ("attn_output", HIDDEN, 4 * HEAD),
                                    ("ffn_gate_inp", EXPERTS, HIDDEN)):  # fmt: skip
            add(f"blk.{i}.{name}.weight", rows, columns)
            add(f"blk.{i}.{name}.bias", rows, scale=0.1)
        add(f"blk.{i}.attn_sinks.weight", 4, scale=1.0)
        for name in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"):
            add(f"blk.{i}.{name}.weight", EXPERTS, HIDDEN, HIDDEN)
            add(f"blk.{i}.{name}.bias", EXPERTS, HIDDEN, scale=0.1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
