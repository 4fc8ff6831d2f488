"""Writes LoRA adapters as PEFT does, and merges them by PEFT's own formulas: input and oracle for the tests here.

Names, shapes and formulas were checked once against peft 0.19.1 with transformers 5.17: the same files, and the same
merged values.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tests.converter.checkpoints import Shape, Tensors, write_safetensors

PREFIX = "base_model.model."


@dataclass
class Adapter:
    """Being built: what will be in its files, and what it adds to the base's values, by the names of the GGUF."""

    shape: Shape
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        self.options = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "init_lora_weights": True, **self.options}
        self.tensors: Tensors = {}
        self.added: dict[str, np.ndarray] = {}
        self._random = np.random.default_rng(self.seed)

    def linear(self, layer: int, module: str, name: str, rows: int, columns: int, scale: float, rank: int = 4) -> None:
        """A pair for the layer's `module`, whose weight is the tensor `name` of the GGUF."""
        a, b = self._pair(f"model.layers.{layer}.{module}", (rank, columns), (rows, rank))
        self.added[f"blk.{layer}.{name}.weight"] = scale * b @ a

    def wrapped(
        self, layer: int, parameter: str, depth: int, scale: float, *, turned: bool = False, rank: int = 2
    ) -> None:
        """A pair for the 3-D parameter "gate_up_proj" or "down_proj", inside `depth` other wrappers."""
        shape = self.shape
        first, second = self._sizes(parameter)
        inner, outer = (second, first) if turned else (first, second)
        module = f"model.layers.{layer}.mlp.experts{'.base_layer' * depth}"
        a, b = self._pair(module, (rank * shape.experts, inner), (outer, rank * shape.experts))
        a, b = a.reshape(shape.experts, -1, inner), b.reshape(outer, -1, shape.experts)
        self._experts(layer, parameter, scale * np.einsum("ore,eri->eoi" if turned else "ore,eri->eio", b, a))

    def expert(self, layer: int, parameter: str, number: int, scale: float, rank: int = 4) -> None:
        """A pair for the linear layer of one expert."""
        columns, rows = self._sizes(parameter)
        a, b = self._pair(f"model.layers.{layer}.mlp.experts.{parameter}s.{number}", (rank, columns), (rows, rank))
        change = np.zeros((self.shape.experts, columns, rows), np.float32)
        change[number] = (scale * b @ a).T
        self._experts(layer, parameter, change)

    def write(self, folder: Path, **changes: Any) -> Path:
        """The adapter's folder; `changes` of its options."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "adapter_config.json").write_text(json.dumps({**self.options, **changes}))
        write_safetensors(folder / "adapter_model.safetensors", self.tensors)
        return folder

    def _sizes(self, parameter: str) -> tuple[int, int]:
        hidden, intermediate = self.shape.hidden, self.shape.intermediate
        return {"gate_up_proj": (hidden, 2 * intermediate), "down_proj": (intermediate, hidden)}[parameter]

    def _pair(self, module: str, *shapes: tuple[int, int]) -> list[np.ndarray]:
        # Few bits, so that products are exact and the order of sums does not matter.
        pair = [(self._random.integers(-8, 9, shape) / 64).astype(np.float32) for shape in shapes]
        for letter, array in zip("AB", pair, strict=True):
            self.tensors[f"{PREFIX}{module}.lora_{letter}.weight"] = ("F32", array)
        return pair

    def _experts(self, layer: int, parameter: str, change: np.ndarray) -> None:
        """`change` [E, first, second], as transformers has the parameter."""
        rows = change.swapaxes(1, 2)
        parts = {"down": rows} if parameter == "down_proj" else {"gate": rows[:, ::2], "up": rows[:, 1::2]}
        for part, values in parts.items():
            name = f"blk.{layer}.ffn_{part}_exps.weight"
            self.added[name] = self.added.get(name, 0) + values
