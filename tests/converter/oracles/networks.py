"""Random networks that compute something: activations of about one in every layer, so that each tensor matters."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from tests.converter.checkpoints import Shape, Tensors, tensors

from inglenook.core.paths import resources
from inglenook_convert.jobs import convert
from inglenook_convert.progress import make_progress
from inglenook_convert.tensor_types import EXPERTS, OTHERS, Types


def lively(shape: Shape, seed: int) -> Tensors:
    """A network of the published layout whose logits depend on all of its tensors."""
    random = np.random.default_rng(seed)
    content = tensors(shape, seed, extremes=False)
    for name, (dtype, array) in content.items():
        if name.endswith("_scales"):
            content[name] = (dtype, random.integers(122, 125, array.shape, dtype=np.uint8))
        elif dtype == "BF16":
            values = (random.normal(0, _spread(name, array.shape), array.shape) + ("norm" in name)).astype(np.float32)
            content[name] = (dtype, (values.view(np.uint32) >> 16).astype(np.uint16))
    return content


def _spread(name: str, shape: tuple[int, ...]) -> float:
    if "norm" in name or name.endswith("bias"):
        return 0.2
    if "sinks" in name or "embed" in name:
        return 1.0
    gain = 3.0 if "router" in name or "head" in name else 0.7 if "q_proj" in name or "k_proj" in name else 1.0
    return gain / float(np.sqrt(shape[-1]))


def with_real_tokenizer(folder: Path) -> Path:
    """The folder, with the tokenizer of the demo model: one that transformers can read."""
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json",
                 "chat_template.jinja"):  # fmt: skip
        shutil.copyfile(resources() / "demo-model" / name, folder / name)
    return folder


def converted(source: Path, target: Path, experts: str = "mxfp4", others: str = "q8_0", base: Path | None = None,
              best: bool = True) -> Path:  # fmt: skip
    """The GGUF that our converter makes."""
    other = OTHERS[others]
    types = Types(EXPERTS[experts], other, other, other, best)
    return convert(source, target, make_progress("json"), types, base=base)
