"""What MXFP4 costs a model whose experts are dense, with llama.cpp's scales and with ours; prints one JSON object.

usage: python -m tests.bench.mxfp4_kl [--checkpoint FOLDER] [--questions N] [--seeds N]     in the project's folder

The file with all matrices in BF16 is the reference. It answers questions, and over the positions of its own answers the
files with MXFP4 experts (all else in BF16 still) are compared with it: `kl` is the mean divergence in nats, `top_1` the
share of positions with the same likeliest token, `largest` the largest difference of a logit, `error` the experts'
relative root mean square error. FOLDER is a dense checkpoint.

The experts of the demo model are MXFP4 already, and rounding them again changes nothing. Without FOLDER it is therefore
put into another basis first: a random rotation of its hidden states, which changes what every matrix holds and nothing
of what the model computes but for the rounding to BF16 (`kl_of_the_basis`). `seeds` rotations are measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf
import jinja2
import llama_cpp
import numpy as np
from tests.converter.checkpoints import Tensors, relaid, write_safetensors
from tests.converter.oracles.llama_logits import difference, llama_logits, opened
from tests.converter.oracles.networks import converted

from inglenook.core.paths import resources
from inglenook_convert.headers import read_safetensors

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 160  # tokens of an answer
MODES = {"ggml": False, "best": True}


def rotated(content: Tensors, random: np.random.Generator) -> Tensors:
    """The network `content` (dense layout, F32) with its hidden states in another basis.

    The norms' weights go into the matrices behind them, since only a norm without weights commutes with a rotation.
    """
    found = {name: array.astype(np.float64) for name, (_, array) in content.items()}
    hidden = found["model.norm.weight"].size
    turn = np.linalg.qr(random.normal(size=(hidden, hidden)))[0]

    def reads(norm: str, *names: str) -> None:
        for name in names:
            found[name] = found[name] * found[norm] @ turn
        found[norm] = np.ones(hidden)

    found["model.embed_tokens.weight"] = found["model.embed_tokens.weight"] @ turn
    for at in sorted({name.split("self_attn")[0] for name in found if "self_attn" in name}):
        gate_up, down = f"{at}mlp.experts.gate_up_proj", f"{at}mlp.experts.down_proj"
        found[gate_up] = found[gate_up].swapaxes(1, 2)
        reads(f"{at}input_layernorm.weight", *(f"{at}self_attn.{letter}_proj.weight" for letter in "qkv"))
        reads(f"{at}post_attention_layernorm.weight", f"{at}mlp.router.weight", gate_up)
        found[gate_up] = found[gate_up].swapaxes(1, 2)
        found[f"{at}self_attn.o_proj.weight"] = turn.T @ found[f"{at}self_attn.o_proj.weight"]
        for name in (f"{at}self_attn.o_proj.bias", down, f"{down}_bias"):
            found[name] = found[name] @ turn
    reads("model.norm.weight", "lm_head.weight")
    return {name: ("F32", np.ascontiguousarray(array, np.float32)) for name, array in found.items()}


def demo_in_another_basis(folder: Path, seed: int) -> Path:
    """A dense checkpoint that computes what the demo model does."""
    demo = resources() / "demo-model"
    shutil.copytree(demo, folder)
    config = json.loads((demo / "config.json").read_text("utf-8"))
    del config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    content: Tensors = {}
    for name, stored in read_safetensors(demo / "model.safetensors").items():
        raw = np.fromfile(stored.file, np.uint8, stored.nbytes, offset=stored.offset)
        content[name] = (stored.dtype, (raw if stored.dtype == "U8" else raw.view("<u2")).reshape(stored.shape))
    write_safetensors(
        folder / "model.safetensors", rotated(relaid(content, "dense", "F32"), np.random.default_rng(seed))
    )
    return folder


def questions(count: int) -> list[str]:
    """Questions to the demo model, none of which it was trained on."""
    cases = json.loads((ROOT / "tests" / "demo_model" / "held_out.json").read_text("utf-8"))
    return [case["question"] for case in cases if "question" in case][:count]


def answered(model: object, prompt: str) -> tuple[list[int], int]:
    """The prompt's and the answer's tokens, always the likeliest ones, and how many are the prompt's."""
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    text, buffer = prompt.encode(), (llama_cpp.llama_token * 4096)()
    length = llama_cpp.llama_tokenize(vocabulary, text, len(text), buffer, len(buffer), False, True)
    assert length > 0
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = length + LONGEST
    parameters.n_threads = parameters.n_threads_batch = 1  # on a busy machine, threads mostly wait for each other
    context = llama_cpp.llama_init_from_model(model, parameters)
    try:
        tokens = list(buffer[:length])
        coming = tokens
        while len(tokens) < length + LONGEST:
            array = (llama_cpp.llama_token * len(coming))(*coming)  # a name of its own: the batch only points to it
            assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(coming))) == 0
            logits = np.ctypeslib.as_array(
                llama_cpp.llama_get_logits_ith(context, -1), (llama_cpp.llama_vocab_n_tokens(vocabulary),)
            )
            coming = [int(logits.argmax())]
            if llama_cpp.llama_vocab_is_eog(vocabulary, coming[0]):
                break
            tokens += coming
        return tokens, length
    finally:
        llama_cpp.llama_free(context)


def answers(file: Path, template: str, asked: list[str]) -> list[tuple[list[int], int]]:
    """See `answered`, for each question."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False)
    prompts = environment.from_string(template)
    with opened(file) as model:
        found = []
        for question in asked:
            messages = [{"role": "user", "content": question}]
            prompt = prompts.render(messages=messages, add_generation_prompt=True, current_date="2026-01-02")
            found.append(answered(model, prompt))
    return found


def logits_of(file: Path, conversations: list[tuple[list[int], int]]) -> np.ndarray:
    """After each token of the answers, and the last one of each prompt."""
    return np.concatenate([llama_logits(file, tokens)[length - 1 :] for tokens, length in conversations])


def expert_error(file: Path, exact: Path) -> float:
    """Relative root mean square error of all experts' weights in `file`."""
    square = total = 0.0
    references = {tensor.name: tensor for tensor in gguf.GGUFReader(exact).tensors}
    for tensor in gguf.GGUFReader(file).tensors:
        if tensor.name.endswith("_exps.weight"):
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
            reference = references[tensor.name]
            expected = gguf.quants.dequantize(reference.data, reference.tensor_type).astype(np.float64)
            square += ((values.reshape(expected.shape) - expected) ** 2).sum()
            total += (expected**2).sum()
    return float(np.sqrt(square / total))


def measure(source: Path, folder: Path, asked: list[str], original: Path | None = None) -> dict[str, Any]:
    """The figures of one dense checkpoint; `original` is what it was made of and should still compute."""
    with contextlib.redirect_stdout(sys.stderr):
        exact = converted(source, folder / "bf16.gguf", "bf16", "bf16")
        files = {
            mode: converted(source, folder / f"{mode}.gguf", "mxfp4", "bf16", best=best) for mode, best in MODES.items()
        }
    conversations = answers(exact, (source / "chat_template.jinja").read_text("utf-8"), asked)
    reference = logits_of(exact, conversations)
    found: dict[str, Any] = {"positions": len(reference)}
    if original is not None:
        with contextlib.redirect_stdout(sys.stderr):
            file = converted(original, folder / "original.gguf", "bf16", "bf16")
        found["kl_of_the_basis"] = round(difference(logits_of(file, conversations), reference).kl, 6)
    for mode, file in files.items():
        differs = difference(reference, logits_of(file, conversations))
        found[mode] = {"kl": round(differs.kl, 6), "top_1": round(differs.top_1, 4),
                       "largest": round(differs.largest, 3), "error": round(expert_error(file, exact), 5)}  # fmt: skip
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER")
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    asked = questions(options.questions)
    runs = []
    with tempfile.TemporaryDirectory() as name:
        for seed in range(1 if options.checkpoint else options.seeds):
            folder = Path(name, str(seed))
            folder.mkdir()
            if options.checkpoint:
                runs.append(measure(options.checkpoint, folder, asked))
            else:
                source = demo_in_another_basis(folder / "model", seed)
                runs.append(measure(source, folder, asked, resources() / "demo-model"))
    means = {mode: {figure: float(np.mean([run[mode][figure] for run in runs])) for figure in runs[0][mode]}
             for mode in MODES}  # fmt: skip
    checkpoint = str(options.checkpoint) if options.checkpoint else "the demo model, in another basis"
    print(json.dumps({"checkpoint": checkpoint, "mean": means, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
