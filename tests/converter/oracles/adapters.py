"""A LoRA adapter of gpt-oss as PEFT would write it, and what it means, worked out matrix by matrix."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tests.converter.checkpoints import Shape, Tensors, relaid, write_safetensors

RANK, ALPHA = 4, 6


def write_adapter(folder: Path, content: Tensors, shape: Shape, base: Path, seed: int = 0) -> Tensors:
    """Writes an adapter of `base`, which holds `content`; the tensors of the adapted network in the dense layout.

    It adapts attention, router, output and, on the 3-D parameters, both matrices of the experts of the first layer.
    """
    random = np.random.default_rng(seed)
    dense = relaid(content, "dense", "F32")
    factors: Tensors = {}

    def pair(module: str, rank: int, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        a = random.normal(0, 0.3 / np.sqrt(columns), (rank, columns)).astype(np.float32)
        b = random.normal(0, 1, (rows, rank)).astype(np.float32)
        for letter, array in (("A", a), ("B", b)):
            factors[f"base_model.model.{module}.lora_{letter}.weight"] = ("F32", array)
        return a.astype(np.float64), b.astype(np.float64)

    def add(name: str, delta: np.ndarray) -> None:
        dense[name] = ("F32", (dense[name][1] + ALPHA / RANK * delta).astype(np.float32))

    linear = [f"model.layers.{layer}.self_attn.{letter}_proj" for layer in range(shape.layers) for letter in "qkvo"]
    for module in (*linear, "model.layers.1.mlp.router", "lm_head"):
        a, b = pair(module, RANK, *dense[f"{module}.weight"][1].shape)
        add(f"{module}.weight", b @ a)
    # PEFT wraps a module once for each parameter: the one that it names first is inside.
    for name, wrapper in (("down_proj", ".base_layer"), ("gate_up_proj", "")):
        module = "model.layers.0.mlp.experts"
        experts, ins, outs = dense[f"{module}.{name}"][1].shape
        a, b = pair(f"{module}{wrapper}", RANK * experts, outs, ins)
        for expert in range(experts):  # its rows of A lie together, its columns of B `experts` apart
            own_a, own_b = a[expert * RANK : (expert + 1) * RANK], b[:, expert::experts]
            delta = np.zeros_like(dense[f"{module}.{name}"][1], np.float64)
            delta[expert] = (own_b @ own_a).T
            add(f"{module}.{name}", delta)
    folder.mkdir()
    options = {
        "peft_type": "LORA",
        "base_model_name_or_path": str(base),
        "r": RANK,
        "lora_alpha": ALPHA,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "router", "lm_head"],
        "target_parameters": ["0.mlp.experts.down_proj", "0.mlp.experts.gate_up_proj"],
        "bias": "none",
        "use_dora": False,
        "use_rslora": False,
    }
    (folder / "adapter_config.json").write_text(json.dumps(options))
    write_safetensors(folder / "adapter_model.safetensors", factors)
    return dense
