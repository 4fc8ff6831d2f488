"""The logits of transformers' GptOssForCausalLM in float32, computed by a subprocess without a network.

A process of its own, since torch's and llama.cpp's OpenMP need not get on with each other. As a script, inside that
process: the jobs come as JSON on standard input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Job:
    """A checkpoint that transformers itself can load, the file for its logits, and whether its experts are MXFP4."""

    folder: str
    target: str
    mxfp4: bool = False


def run(jobs: Sequence[Job], tokens: Sequence[int]) -> list[np.ndarray]:
    """Logits [tokens, vocabulary] of each job's model after each of `tokens`. Skips where torch is not installed."""
    from tests.converter.oracles import llama_converter

    llama_converter.need_torch()
    command = [sys.executable, "-W", "ignore", __file__]
    llama_converter.script(command, {"tokens": list(tokens), "jobs": [astuple(job) for job in jobs]})
    return [np.load(job.target) for job in jobs]


def main() -> None:
    """Inside the subprocess."""
    import torch
    from transformers import GptOssConfig, GptOssForCausalLM, Mxfp4Config

    torch.set_num_threads(1)  # on a busy machine, threads mostly wait for each other
    work = json.load(sys.stdin)
    for folder, target, mxfp4 in work["jobs"]:
        config = GptOssConfig.from_pretrained(folder)
        # llama.cpp rounds the bounds of YaRN's ramp, whatever a checkpoint says.
        config.rope_parameters = {**config.rope_parameters, "truncate": True}
        extra = {"quantization_config": Mxfp4Config(dequantize=True)} if mxfp4 else {}
        model, info = GptOssForCausalLM.from_pretrained(
            Path(folder), config=config, dtype=torch.float32, attn_implementation="eager", output_loading_info=True,
            **extra,
        )  # fmt: skip
        assert not any(info.values()), info
        assert model.dtype is torch.float32
        with torch.inference_mode():
            logits = model.eval()(torch.tensor([work["tokens"]])).logits[0]
        np.save(target, logits.numpy())


if __name__ == "__main__":
    main()
