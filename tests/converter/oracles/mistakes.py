"""What a converter could get wrong, done to its input instead: a check that is worth its name fails on each."""

from __future__ import annotations

import numpy as np
from tests.converter.checkpoints import Tensors, relaid


def swapped_gate_and_up(content: Tensors) -> Tensors:
    def swapped(array: np.ndarray) -> np.ndarray:
        return np.stack([array[:, 1::2], array[:, ::2]], axis=2).reshape(array.shape)

    return {
        name: (kind, swapped(array) if "gate_up_proj" in name else array) for name, (kind, array) in content.items()
    }


def swapped_nibbles(content: Tensors) -> Tensors:
    def swapped(array: np.ndarray) -> np.ndarray:
        return (array >> 4) | (array << 4)

    return {
        name: (kind, swapped(array) if name.endswith("_blocks") else array) for name, (kind, array) in content.items()
    }


def dropped_sinks(content: Tensors) -> Tensors:
    """The share of a sink at minus infinity is none; BF16 holds -1e30 nearly."""
    far = np.full(1, -1e30, np.float32).view(np.uint32)[0] >> 16
    return {
        name: (kind, np.full_like(array, far) if "sinks" in name else array) for name, (kind, array) in content.items()
    }


def missed_transpose(content: Tensors) -> Tensors:
    """The dense down_proj [E, F, H] in the other order, which no header tells when F = H."""
    return {
        name: (kind, np.ascontiguousarray(array.swapaxes(1, 2)) if name.endswith("down_proj") else array)
        for name, (kind, array) in relaid(content, "dense", "F32").items()
    }


TOUCHED = {
    swapped_gate_and_up: ("ffn_gate_exps.weight", "ffn_gate_exps.bias", "ffn_up_exps.weight", "ffn_up_exps.bias"),
    swapped_nibbles: ("ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"),
    dropped_sinks: ("attn_sinks.weight",),
    missed_transpose: ("ffn_down_exps.weight",),
}
"""Each mistake, and the tensors of a layer that it changes."""
