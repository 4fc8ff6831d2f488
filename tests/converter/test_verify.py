"""Verification: it passes what the converter wrote, and any change to it is found and named."""

import hashlib
import itertools
import json
import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest
from tests.converter.checkpoints import LAYOUTS, Shape, bf16, tensors, write_checkpoint, write_safetensors

from inglenook_convert import processes
from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import GgufSummary, HeaderError, check_gguf
from inglenook_convert.jobs import convert, verify
from inglenook_convert.progress import make_progress
from inglenook_convert.split import parts_of
from inglenook_convert.tensor_types import EXPERTS, OTHERS, Types, types_of

CASES = [(name, name if name in OTHERS else "q8_0") for name in EXPERTS]


def convert_quietly(source: Path, target: Path, types: Types | None = None, max_bytes: int | None = None) -> Path:
    return convert(source, target, make_progress("json"), types or Types(), max_bytes=max_bytes)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("verify") / "model")


@pytest.fixture
def verified(source: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[Path], dict]:
    """Verifies a file against the checkpoint; the last object that was told."""

    def run(file: Path) -> dict:
        capsys.readouterr()
        verify(file, source, None, make_progress("json"))
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


@pytest.mark.parametrize(("experts", "others"), CASES)
def test_every_type_verifies_with_the_error_that_it_has(
    source: Path, tmp_path: Path, verified: Callable[[Path], dict], experts: str, others: str
) -> None:
    types = types_of(experts, others, (None, None, None), "best")
    file = convert_quietly(source, tmp_path / "out.gguf", types)
    found = verified(file)
    assert found["sha256"] == {str(file): hashlib.sha256(file.read_bytes()).hexdigest()}
    assert found["same_header"] is True
    errors = {tensor["name"]: tensor["relative_rmse"] for tensor in found["tensors"]}
    reader = gguf.GGUFReader(file)
    assert list(errors) == [tensor.name for tensor in reader.tensors]
    content = tensors(Shape())
    for tensor in reader.tensors:
        if tensor.name == "output.weight":  # by the definition, from what gguf-py decodes
            wanted = bf16(content["lm_head.weight"]).astype(np.float64)
            had = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(wanted.shape)
            error = np.sqrt(np.square(had - wanted).sum() / np.square(wanted).sum())
            assert errors[tensor.name] == pytest.approx(error, rel=1e-5)
            assert (error == 0) == (others in ("bf16", "f16", "f32"))  # these numbers are none too small for F16
    exact = {name for name, error in errors.items() if error == 0}
    assert {name for name in errors if name.endswith(("bias", "norm.weight", "sinks.weight", "inp.weight"))} <= exact
    if experts in ("mxfp4", "bf16", "f32"):  # these have every MXFP4 value
        assert {name for name in errors if "exps" in name} <= exact


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_verifies_and_a_flipped_bit_is_found(tmp_path: Path, layout: str) -> None:
    source = write_checkpoint(tmp_path / "model", layout=layout, shards=2)
    file = convert_quietly(source, tmp_path / "out.gguf")
    verify(file, source, None, make_progress("json"))
    start, size = at_tensor(check_gguf(file), "blk.1.ffn_up_exps.weight")
    flip(file, start + size // 2)
    with pytest.raises(ConvertError, match=r"tensor 'blk\.1\.ffn_up_exps\.weight' is not what"):
        verify(file, source, None, make_progress("json"))


def test_other_processes_find_the_same(
    source: Path, tmp_path: Path, verified: Callable[[Path], dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inglenook_convert.stages._PIECE", 1 << 12)  # many pieces
    file = convert_quietly(source, tmp_path / "out.gguf")
    here = verified(file)
    monkeypatch.setattr(processes, "_WORTHWHILE", 0)
    there = verified(file)
    del here["seconds"], there["seconds"]
    assert there == here
    start, size = at_tensor(check_gguf(file), "blk.1.ffn_up_exps.weight")
    flip(file, start + size // 2)
    with pytest.raises(ConvertError, match=r"tensor 'blk\.1\.ffn_up_exps\.weight' is not what.* 1 of"):
        verified(file)
    assert multiprocessing.active_children() == []


def test_whoever_stops_early_leaves_no_process(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_WORTHWHILE", 0)
    file = convert_quietly(source, tmp_path / "out.gguf")
    progress = make_progress("json")
    children = []

    def stop(phase: str, tensor: str, done: int) -> None:
        if phase == "verify":
            children.extend(multiprocessing.active_children())
            raise KeyboardInterrupt

    monkeypatch.setattr(progress, "report", stop)
    with pytest.raises(KeyboardInterrupt) as stopped:
        verify(file, source, None, progress)
    assert stopped.tb is not None  # and with it all that it holds
    assert len(children) >= 1
    assert multiprocessing.active_children() == []


def test_the_reader_of_headers_finds_what_gguf_py_finds(source: Path, tmp_path: Path) -> None:
    file = convert_quietly(source, tmp_path / "out.gguf", types_of("q5_1", "f16", (None, "q4_0", None), "best"))
    summary = check_gguf(file)
    assert [
        (info.name, info.kind.code, tuple(reversed(info.shape)), summary.data_offset + info.offset)
        for info in summary.tensors
    ] == [
        (tensor.name, int(tensor.tensor_type), tuple(int(n) for n in tensor.shape), tensor.data_offset)
        for tensor in gguf.GGUFReader(file).tensors
    ]


def test_a_set_of_files_verifies_as_one(source: Path, tmp_path: Path, verified: Callable[[Path], dict]) -> None:
    parts = parts_of(convert_quietly(source, tmp_path / "out.gguf", max_bytes=60_000))
    found = verified(parts[0])
    assert found["sha256"] == {str(part): hashlib.sha256(part.read_bytes()).hexdigest() for part in parts}
    assert found["same_header"] is True
    assert found["bytes"] == sum(part.stat().st_size for part in parts)
    flip(parts[-1], parts[-1].stat().st_size - 33)
    with pytest.raises(ConvertError, match=rf"{parts[-1].name}: tensor 'output.weight' is not what"):
        verified(parts[0])
    parts[1].rename(tmp_path / "kept")
    with pytest.raises(HeaderError, match=rf"{parts[1].name} does not exist"):
        verified(parts[0])
    parts[1].write_bytes(parts[2].read_bytes())
    with pytest.raises(HeaderError, match=rf"{parts[1].name} does not say that it is file 2 of {len(parts)}"):
        verified(parts[0])
    alone = tmp_path / "renamed.gguf"
    parts[0].rename(alone)
    with pytest.raises(HeaderError, match="does not say that it is file 1 of 1"):
        verified(alone)


def flip(file: Path, at: int, bits: int = 1) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= bits
    file.write_bytes(content)


def at_tensor(summary: GgufSummary, name: str) -> tuple[int, int]:
    """Place of its data in the file, and bytes."""
    info = next(info for info in summary.tensors if info.name == name)
    return summary.data_offset + info.offset, info.kind.nbytes(info.shape)


@pytest.mark.parametrize(("experts", "others"), CASES)
def test_one_bit_is_found_in_any_tensor(
    source: Path, tmp_path: Path, verified: Callable[[Path], dict], experts: str, others: str
) -> None:
    """The lowest bit of a byte somewhere: mostly a change that no error measure would notice."""
    file = convert_quietly(source, tmp_path / "out.gguf", types_of(experts, others, (None, None, None), "best"))
    whole = file.read_bytes()
    summary = check_gguf(file)
    random = np.random.default_rng(0)
    for name in ("token_embd.weight", "blk.0.attn_k.weight", "blk.0.attn_sinks.weight", "blk.1.ffn_gate_inp.weight",
                 "blk.1.ffn_gate_exps.weight", "blk.1.ffn_down_exps.weight", "blk.1.ffn_up_exps.bias",
                 "output.weight"):  # fmt: skip
        start, size = at_tensor(summary, name)
        flip(file, start + int(random.integers(size)))
        with pytest.raises(
            ConvertError, match=rf"out\.gguf: tensor '{name}' is not what .* 1 of [\d,]+ (blocks|values)"
        ):
            verified(file)
        file.write_bytes(whole)
    verified(file)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("blk.0.attn_k.weight", "blk.0.attn_v.weight"),
        ("blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight"),
        ("blk.0.attn_norm.weight", "blk.1.attn_norm.weight"),
    ],
)
def test_two_tensors_in_each_others_place_are_found(
    source: Path, tmp_path: Path, verified: Callable[[Path], dict], first: str, second: str
) -> None:
    file = convert_quietly(source, tmp_path / "out.gguf")
    summary = check_gguf(file)
    content = bytearray(file.read_bytes())
    (a, size), (b, same) = at_tensor(summary, first), at_tensor(summary, second)
    assert size == same
    content[a : a + size], content[b : b + size] = content[b : b + size], content[a : a + size]
    file.write_bytes(content)
    with pytest.raises(ConvertError, match=rf"tensor '{first}' is not what") as error:
        verified(file)
    if first.startswith("blk.0.attn_k"):
        relative = float(str(error.value).partition("relative RMSE ")[2].partition(")")[0])
        assert relative == pytest.approx(2**0.5, rel=0.1)  # of two matrices that have nothing to do with each other


def test_what_is_not_a_tensor_is_looked_at_too(source: Path, tmp_path: Path, verified: Callable[[Path], dict]) -> None:
    file = convert_quietly(source, tmp_path / "out.gguf")
    whole = file.read_bytes()
    flip(file, whole.index(b"gpt-oss.block_count") + 19 + 4 + 2)
    assert verified(file)["same_header"] is False
    file.write_bytes(whole + b"\1")
    with pytest.raises(ConvertError, match=r"behind tensor 'output\.weight'"):
        verified(file)
    file.write_bytes(whole)
    summary = check_gguf(file)
    start, size = at_tensor(summary, "blk.0.attn_sinks.weight")
    assert size % 32
    flip(file, start + size)
    with pytest.raises(ConvertError, match=r"behind tensor 'blk\.0\.attn_sinks\.weight'"):
        verified(file)


def test_names_types_and_shapes_that_are_not_the_checkpoints(
    source: Path, tmp_path: Path, verified: Callable[[Path], dict]
) -> None:
    file = convert_quietly(source, tmp_path / "out.gguf")
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"blk.1.attn_k.weight", b"blk.1.attn_x.weight"))
    with pytest.raises(ConvertError, match=r"'blk\.1\.attn_x\.weight' is not one of this checkpoint's"):
        verified(file)
    place = whole.index(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight") + 4
    transposed = bytearray(whole)  # q is [128, 64] here
    transposed[place : place + 8], transposed[place + 8 : place + 16] = (
        whole[place + 8 : place + 16],
        whole[place : place + 8],
    )
    file.write_bytes(transposed)
    with pytest.raises(ConvertError, match=r"'blk\.0\.attn_q\.weight' is Q8_0 \[64, 128\] where.* Q8_0 \[128, 64\]"):
        verified(file)
    other = bytearray(whole)
    other[place + 16] = 9  # Q8_1: larger, so that the next tensor is not where it should be
    file.write_bytes(other)
    with pytest.raises(HeaderError, match="is expected"):
        verified(file)
    smaller = write_checkpoint(tmp_path / "smaller", Shape(layers=1))
    file.write_bytes(convert_quietly(smaller, tmp_path / "smaller.gguf").read_bytes())
    with pytest.raises(ConvertError, match=r"tensor 'blk\.1\.attn_norm\.weight' is missing"):
        verified(file)


def test_types_that_the_converter_does_not_write(
    source: Path, tmp_path: Path, verified: Callable[[Path], dict]
) -> None:
    file = convert_quietly(source, tmp_path / "out.gguf", types_of("mxfp4", "q4_0", (None, None, None), "best"))
    content = bytearray(file.read_bytes())
    content[content.index(b"token_embd.weight") + len(b"token_embd.weight") + 4 + 16] = 20  # IQ4_NL, as large as Q4_0
    file.write_bytes(content)
    with pytest.raises(ConvertError, match=r"'token_embd\.weight' is IQ4_NL, which this converter never writes"):
        verified(file)


def test_another_checkpoint_is_told_from_this_one(source: Path, tmp_path: Path) -> None:
    """One bit of one scale of the checkpoint, and one of a norm."""
    file = convert_quietly(source, tmp_path / "out.gguf")
    for name, expected in (
        ("model.layers.1.mlp.experts.gate_up_proj_scales", "blk.1.ffn_gate_exps.weight"),
        ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"),
    ):
        content = tensors(Shape())
        content[name][1].reshape(-1)[0] ^= 1
        other = write_checkpoint(tmp_path / name / "model", content=content)
        with pytest.raises(ConvertError, match=f"tensor '{expected}' is not what"):
            verify(file, other, None, make_progress("json"))


def dense(folder: Path) -> Path:
    """A fine-tune: the same shape, experts as BF16 in the transposed form."""
    shape = Shape()
    random = np.random.default_rng(1)
    content = {name: entry for name, entry in tensors(shape).items() if not name.endswith(("_blocks", "_scales"))}
    for layer, (name, rows, columns) in itertools.product(
        range(shape.layers),
        (
            ("gate_up_proj", shape.hidden, 2 * shape.intermediate),
            ("down_proj", shape.intermediate, shape.hidden),
        ),
    ):
        values = random.normal(0, 0.05, (shape.experts, rows, columns)).astype(np.float32)
        content[f"model.layers.{layer}.mlp.experts.{name}"] = ("BF16", (values.view(np.uint32) >> 16).astype("<u2"))
    write_checkpoint(folder, shape)
    write_safetensors(folder / "model.safetensors", content)
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def worst(results: Sequence[dict]) -> float:
    return max(tensor["relative_rmse"] for tensor in results if tensor["type"] == "MXFP4")


def test_both_ways_of_choosing_scales_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file does not say which of them was taken; the better one has the smaller error."""
    source = dense(tmp_path / "model")
    errors = {}
    for mode in ("best", "ggml"):
        types = types_of("mxfp4", "q8_0", (None, None, None), mode)
        file = convert_quietly(source, tmp_path / f"{mode}.gguf", types)
        verify(file, source, None, make_progress("json"))
        errors[mode] = worst(json.loads(capsys.readouterr().out.splitlines()[-1])["tensors"])
        start, _ = at_tensor(check_gguf(file), "blk.0.ffn_down_exps.weight")
        flip(file, start + 17 * 40 + 3)
        with pytest.raises(ConvertError, match=r"'blk\.0\.ffn_down_exps\.weight' is not what.* 1 of "):
            verify(file, source, None, make_progress("json"))
    assert 0.05 < errors["best"] < errors["ggml"] < 0.2
