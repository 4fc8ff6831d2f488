"""Our files hold, tensor by tensor, the bytes of those that llama.cpp's own converter and quantizer make."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import pytest
from tests.converter.checkpoints import Shape, Tensors, relaid, tensors, write_checkpoint, write_safetensors
from tests.converter.oracles import llama_converter, mistakes
from tests.converter.oracles.llama_logits import quiet
from tests.converter.oracles.networks import converted, with_real_tokenizer

from inglenook.core.paths import resources

# The demo model's tokenizer has 4,096 tokens; a larger vocabulary gets padding tokens.
SHAPES = {
    "gpt-oss-20b": Shape(vocabulary=4128),
    "odd-layers": Shape(layers=3, hidden=96, intermediate=64, experts=32, used=4, heads=2, kv_heads=1, head_dim=64,
                        vocabulary=4096),
    "one-layer": Shape(layers=1, hidden=128, intermediate=32, experts=4, used=1, vocabulary=4097),
    "128-experts": Shape(layers=5, hidden=64, intermediate=96, experts=128, used=4, vocabulary=4096),
    "square": Shape(hidden=64, intermediate=64, vocabulary=4096),
}  # fmt: skip
CASES = [
    *((name, "published", outtype) for name in SHAPES for outtype in ("q8_0", "bf16")),
    *(("demo", "published", outtype) for outtype in ("q8_0", "bf16")),
    *(("gpt-oss-20b", "dense", outtype) for outtype in ("q8_0", "bf16", "f32")),
    ("square", "dense", "bf16"),
]


def unlike_keys(name: str, layout: str, outtype: str) -> set[str]:
    """The keys of the metadata that are not as llama.cpp's converter writes them: here, and no others."""
    keys = {"general.size_label"}  # the nominal size, in millions; theirs counts experts, as in 4x618K
    if name == "gpt-oss-20b":
        # The model's own spelling; theirs is "Gpt Oss 20b". And since this model is not that large, theirs is a
        # fine-tune called 20b.
        keys |= {"general.name", "general.finetune"}
    elif name == "demo":
        keys |= {"general.basename", "inglenook.demo"}  # of the name; known only to Inglenook
    else:
        keys |= {"general.name", "general.basename"}  # theirs has no basename for such names
    if (layout, outtype) == ("published", "q8_0"):
        keys.add("general.file_type")  # by the experts; theirs is 7 (Q8_0), though the experts stay MXFP4
    return keys


def content_of(name: str, layout: str) -> Tensors:
    """Published blocks are only moved, extreme exponents too; as dense values those are beyond the scales of Q8_0."""
    return tensors(SHAPES[name], extremes=layout == "published")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, str], Path]:
    """The file that llama.cpp's converter makes of a case: all in one run."""
    folder = tmp_path_factory.mktemp("theirs")
    sources = {("demo", "published"): resources() / "demo-model"}
    for name, layout in {case[:2] for case in CASES} - set(sources):
        # One file, since it pairs blocks with scales by the order in which it meets them.
        source = write_checkpoint(folder / layout / name, SHAPES[name], content_of(name, layout), layout=layout)
        sources[name, layout] = with_real_tokenizer(source)

    def file(name: str, layout: str, outtype: str) -> Path:
        return folder / f"{name}-{layout}-{outtype}.gguf"

    llama_converter.run(
        llama_converter.Job(str(sources[name, layout]), str(file(name, layout, outtype)), outtype)
        for name, layout, outtype in CASES
    )
    return file


def ours(folder: Path, name: str, layout: str, outtype: str) -> Path:
    """Our file of a case, of a checkpoint in three shards with blocks and scales apart."""
    source = resources() / "demo-model"
    if name != "demo":
        source = write_checkpoint(folder / name, SHAPES[name], content_of(name, layout), layout=layout, shards=3)
        with_real_tokenizer(source)
    return converted(source, folder / "ours.gguf", "mxfp4" if layout == "published" else outtype, outtype)


Contents = dict[str, tuple[object, ...]]


def read(file: Path) -> tuple[Contents, Contents]:
    """Type, shape and data of each tensor; types and value of each key."""
    reader = gguf.GGUFReader(file)  # slow with long lists of tokens, hence both at once
    found = {
        tensor.name: (tensor.tensor_type.name, tuple(map(int, tensor.shape)), tensor.data.tobytes())
        for tensor in reader.tensors
    }
    fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    return found, {name: ([kind.name for kind in field.types], field.contents()) for name, field in fields.items()}


def unlike(a: Contents, b: Contents) -> set[str]:
    """Names whose entries are not the same, or that only one has."""
    return {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}


def differing(one: Path, other: Path) -> set[str]:
    """Names of tensors that are not the same in both files."""
    return unlike(read(one)[0], read(other)[0])


@pytest.mark.parametrize(("name", "layout", "outtype"), CASES)
def test_tensors_and_keys_are_those_of_llama_cpp(
    theirs: Callable[[str, str, str], Path], tmp_path: Path, name: str, layout: str, outtype: str
) -> None:
    expected, their_keys = read(theirs(name, layout, outtype))
    found, our_keys = read(ours(tmp_path, name, layout, outtype))
    assert unlike(expected, found) == set()
    assert unlike(their_keys, our_keys) == unlike_keys(name, layout, outtype)


def quantized(source: Path, target: Path) -> Path:
    """What llama.cpp's quantizer makes of a GGUF file: experts MXFP4, other matrices Q8_0."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_MXFP4_MOE
    parameters.nthread = 2
    with quiet():
        assert llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters)) == 0
    return target


def test_dense_experts_become_what_llama_quantize_makes_of_them(tmp_path: Path) -> None:
    """In the mode `ggml`; the default has other scales, of less error. The values are not ones that MXFP4 holds."""
    shape, random = SHAPES["odd-layers"], np.random.default_rng(3)
    content = relaid(tensors(shape, extremes=False), "dense")
    for name, (_, array) in content.items():
        if name.endswith("_proj"):
            values = random.normal(0, 0.1, array.shape).astype(np.float32)
            content[name] = ("BF16", (values.view(np.uint32) >> 16).astype(np.uint16))
    source = write_checkpoint(tmp_path / "model", shape, layout="dense")
    write_safetensors(source / "model.safetensors", content)
    exact = converted(source, tmp_path / "bf16.gguf", "bf16", "bf16")
    expected = quantized(exact, tmp_path / "theirs.gguf")
    assert differing(expected, converted(source, tmp_path / "ours.gguf", "mxfp4", "q8_0", best=False)) == set()
    best = differing(expected, converted(source, tmp_path / "best.gguf", "mxfp4", "q8_0"))
    experts = ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
    assert best == {f"blk.{layer}.{name}.weight" for layer in range(shape.layers) for name in experts}


@pytest.mark.parametrize("mistake", mistakes.TOUCHED, ids=lambda mistake: mistake.__name__)
def test_the_comparison_sees_a_mistake(
    theirs: Callable[[str, str, str], Path], tmp_path: Path, mistake: Callable[[Tensors], Tensors]
) -> None:
    layout = "dense" if mistake is mistakes.missed_transpose else "published"
    source = with_real_tokenizer(
        write_checkpoint(tmp_path / "model", SHAPES["square"], content_of("square", layout), layout=layout)
    )
    write_safetensors(source / "model.safetensors", mistake(content_of("square", layout)))
    found = converted(source, tmp_path / "ours.gguf", "mxfp4" if layout == "published" else "bf16", "bf16")
    touched = {f"blk.{layer}.{key}" for layer in range(SHAPES["square"].layers) for key in mistakes.TOUCHED[mistake]}
    assert differing(theirs("square", layout, "bf16"), found) == touched
