"""Checkpoints with something wrong: the command ends with code 2, one line that names file and tensor, no debris."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.converter.checkpoints import LAYOUTS, Shape, tensors, write_checkpoint
from tests.converter.oracles.adapters import write_adapter

from inglenook_convert.__main__ import main
from inglenook_convert.headers import check_gguf

SMALL = Shape(layers=1, hidden=32, intermediate=64, experts=2, used=1, heads=2, kv_heads=1, vocabulary=268)
MEMORY = 256 << 20  # bytes, at most, whatever a file says; a good conversion of this model takes a few
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
BLOCKS = "model.layers.0.mlp.experts.gate_up_proj_blocks"
SCALES = "model.layers.0.mlp.experts.down_proj_scales"
SHARD = "model-00001-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter"
NAMES = {"header": SHARD, "config": "config.json", "tokenizer": "tokenizer.json", "index": INDEX}
ADAPTER_NAMES = {"header": "adapter_model.safetensors", "config": "adapter_config.json"}


@pytest.fixture(scope="module")
def all_good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A good checkpoint in each layout, of two shards and with its tokenizer, and an adapter, to be copied."""
    found = {}
    for layout in LAYOUTS:
        model = write_checkpoint(tmp_path_factory.mktemp(layout) / "model", SMALL, layout=layout, shards=2)
        if not (model / "tokenizer.json").exists():
            shutil.copy(model.parent / "tokenizer.json", model)
        found[layout] = model
    shape = replace(SMALL, layers=2)
    base = write_checkpoint(tmp_path_factory.mktemp("base") / "model", shape, tensors(shape))
    found[ADAPTER] = tmp_path_factory.mktemp("adapter") / "model"
    write_adapter(found[ADAPTER], tensors(shape), shape, base)
    return found


@pytest.fixture
def good(all_good: dict[str, Path]) -> Path:
    """The published layout."""
    return all_good["published"]


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The command sets handlers for its process, which here is pytest's."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    old = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, old, strict=True):
        signal.signal(number, handler)


def command(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """Exit code and stderr of converting `folder`; nothing but a good file may be left, and memory is bounded."""
    target = folder.parent / "out.gguf"
    capsys.readouterr()
    tracemalloc.start()
    try:
        code = main([str(folder), "-o", str(target), *options])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY
    left = {path.name for path in folder.parent.iterdir()} - {folder.name}
    if code == 0:
        assert left == {target.name}
        assert check_gguf(target).architecture == "gpt-oss"
        target.unlink()
    else:
        assert left == set()
    return code, capsys.readouterr().err


def refusal(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    code, errors = command(folder, capsys, *options)
    assert code == 2, errors
    assert_one_line(errors)
    return errors


def assert_one_line(errors: str) -> None:
    assert errors.startswith("inglenook-convert: ")
    assert len(errors.splitlines()) == 1
    assert errors[:-1].isprintable()
    assert len(errors) < 800


# -- one thing wrong, by hand --


def rewrite_header(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Lets `change` alter the header's object in place; the data stay as they are."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    raw = json.dumps(header).encode()
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + content[8 + length :])


def in_entry(name: str, field: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda header: header[name].update({field: value})


def exchange(first: str, second: str) -> Callable[[dict[str, Any]], object]:
    def change(header: dict[str, Any]) -> None:
        header[first]["data_offsets"], header[second]["data_offsets"] = (
            header[second]["data_offsets"],
            header[first]["data_offsets"],
        )

    return change


HEADER_CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "overlapping": (in_entry(HEAD, "data_offsets", [64, 64 + 268 * 32 * 2]), "overlaps"),
    "out of range": (in_entry(HEAD, "data_offsets", [10**9, 10**9 + 268 * 32 * 2]), "beyond the end"),
    "huge offsets": (in_entry(HEAD, "data_offsets", [0, 1 << 63]), "impossible offsets"),
    "negative offsets": (in_entry(HEAD, "data_offsets", [-8, 8]), "impossible offsets"),
    "backwards": (in_entry(HEAD, "data_offsets", [64, 0]), "bytes where"),
    "huge shape": (in_entry(HEAD, "shape", [1 << 61, 1 << 61]), "takes"),
    "negative shape": (in_entry(HEAD, "shape", [-268, 32]), "impossible shape"),
    "shape of floats": (in_entry(HEAD, "shape", [268.0, 32]), "impossible shape"),
    "no shape": (lambda header: header[HEAD].pop("shape"), "impossible shape"),
    "other shape": (in_entry(HEAD, "shape", [32, 268]), "calls for"),
    "flat": (in_entry(HEAD, "shape", [268 * 32]), "calls for"),
    "unknown type": (in_entry(HEAD, "dtype", "Q4_K"), "unknown type"),
    "wrong size of type": (in_entry(HEAD, "dtype", "F32"), "bytes where"),
    "wrong type": (in_entry(HEAD, "dtype", "I16"), "calls for"),
    "no object": (lambda header: header.update({HEAD: []}), "not described"),
}


def file_with(folder: Path, name: str) -> Path:
    return folder / json.loads((folder / INDEX).read_text())["weight_map"][name]


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy of the good checkpoint."""
    return Path(shutil.copytree(good, tmp_path / "model"))


@pytest.mark.parametrize("layout", [*LAYOUTS, ADAPTER])
def test_the_good_checkpoints_are_converted(
    all_good: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    """Without this all refusals below could have another reason."""
    folder = Path(shutil.copytree(all_good[layout], tmp_path / "model"))
    assert command(folder, capsys) == (0, "")


@pytest.mark.parametrize(("change", "words"), HEADER_CHANGES.values(), ids=HEADER_CHANGES)
def test_one_wrong_entry(
    folder: Path, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], object], words: str
) -> None:
    file = file_with(folder, HEAD)
    rewrite_header(file, change)
    message = refusal(folder, capsys)
    assert words in message
    assert repr(HEAD) in message or words == "overlaps"  # either of the two that overlap may be named
    assert str(file) in message


def replaced(file: Path, old: bytes, new: bytes) -> None:
    content = file.read_bytes()
    assert old in content
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].replace(old, new)
    file.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])


def test_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = file_with(folder, HEAD)
    kept = file.read_bytes()
    for new, words in (
        (b'"lm_head.\xff"', "not valid JSON"),
        (b'"lm_head.\\ud800\\n"', "missing"),
        (b'"' + b"n" * 5000 + b'"', "5000 characters"),
        (b'"model.norm.weight"', "model.norm.weight"),  # it is there already, in this file or the other
    ):
        replaced(file, b'"lm_head.weight"', new)
        message = refusal(folder, capsys)
        assert words in message
        assert folder.name in message
        file.write_bytes(kept)


@pytest.mark.parametrize("name", [EMBEDDING, BLOCKS, SCALES, HEAD])
def test_a_missing_tensor(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    rewrite_header(file_with(folder, name), lambda header: header.pop(name))
    assert repr(name) in refusal(folder, capsys)  # the index lists it
    (folder / INDEX).unlink()
    message = refusal(folder, capsys)
    assert name.removesuffix("_blocks").removesuffix("_scales") in message
    assert str(folder) in message


def test_an_extra_tensor(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    rewrite_header(folder / SHARD, lambda header: header.update({"model.layers.1.self_attn.sinks": extra}))
    message = refusal(folder, capsys)
    assert "'model.layers.1.self_attn.sinks'" in message
    assert SHARD in message


@pytest.mark.parametrize("where", ["/etc/passwd", "../model.safetensors", "a/../b.safetensors", ".", "x\0.safetensors"])
def test_an_index_that_leaves_the_folder(folder: Path, capsys: pytest.CaptureFixture[str], where: str) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"][HEAD] = where
    (folder / INDEX).write_text(json.dumps(index))
    message = refusal(folder, capsys)
    assert INDEX in message
    assert repr(HEAD) in message


@pytest.mark.parametrize("name", [SCALES, SCALES.replace("down", "gate_up")])
def test_a_scale_that_is_not_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    content = tensors(SMALL)
    content[name][1].reshape(-1)[-1] = 255
    folder = write_checkpoint(tmp_path / "model", SMALL, content)
    for options in ([], ["--experts", "q8_0"]):
        message = refusal(folder, capsys, *options)
        assert "scale 255" in message
        assert repr(name) in message
        assert str(folder / "model.safetensors") in message


@pytest.mark.parametrize("value", [0x7F80, 0xFF80, 0x7FC0], ids=["infinity", "minus infinity", "not a number"])
@pytest.mark.parametrize("name", [HEAD, "model.norm.weight"])
def test_values_that_are_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, value: int) -> None:
    content = tensors(SMALL)
    content[name][1].reshape(-1)[-1] = value
    message = refusal(write_checkpoint(tmp_path / "model", SMALL, content), capsys)
    assert repr(name) in message
    assert "model.safetensors" in message


def test_every_truncation_of_a_shard(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / SHARD
    whole = file.read_bytes()
    for length in [0, 1, 7, 8, 9, 100, *range(200, len(whole), len(whole) // 12), len(whole) - 1]:
        file.write_bytes(whole[:length])
        assert SHARD in refusal(folder, capsys)


def test_shards_that_are_no_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / SHARD).unlink()
    assert SHARD in refusal(folder, capsys)
    (folder / SHARD).mkdir()
    assert SHARD in refusal(folder, capsys)
    (folder / SHARD).rmdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / SHARD)  # to open it would wait for ever
        assert SHARD in refusal(folder, capsys)
        (folder / SHARD).unlink()
        (folder / SHARD).symlink_to(folder / SHARD)
        assert SHARD in refusal(folder, capsys)


@pytest.mark.parametrize(
    "change",
    [
        {"lora_alpha": 10**400},
        {"lora_alpha": 1e38},
        {"lora_alpha": float("nan")},
        {"alpha_pattern": {"a": 10**400}},
        {"alpha_pattern": {"(" * 5000: 1}},
        {"init_lora_weights": json.loads("[" * 900 + "]" * 900)},
        {"peft_type": json.loads("[" * 900 + "]" * 900)},
        {"base_model_name_or_path": "\0"},
        {"base_model_name_or_path": "\ud800"},
        {"base_model_name_or_path": "x" * 5000},
    ],
    ids=lambda change: " ".join(change),
)
def test_options_of_an_adapter(
    all_good: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    folder = Path(shutil.copytree(all_good[ADAPTER], tmp_path / "model"))
    options = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**options, **change}))
    assert str(folder) in refusal(folder, capsys)


def test_factors_that_are_no_numbers(
    all_good: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(all_good[ADAPTER], tmp_path / "model"))
    file = folder / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    header = header_of(file)
    first = header["base_model.model.lm_head.lora_A.weight"]["data_offsets"][0]
    at = 8 + int.from_bytes(content[:8], "little") + first
    for value in (float("inf"), float("nan"), 3e38):
        content[at : at + 8] = struct.pack("<ff", value, value)
        file.write_bytes(content)
        assert "lm_head.weight" in refusal(folder, capsys)


HOSTILE_JSON = {
    "empty": b"",
    "nonsense": b"\x00\x01",
    "not UTF-8": b'{"a": "\xff"}',
    "array": b"[1]",
    "deep": b"[" * 200_000,
    "long number": b'{"vocab_size": ' + b"9" * 10_000 + b"}",
    "cut": b'{"a": [1, 2',
}


@pytest.mark.parametrize("content", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", INDEX])
def test_json_files(folder: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert name in refusal(folder, capsys)


def test_rows_that_are_not_whole_blocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The blocks of rows of 80 would be taken for rows of 64 if the sizes were only divided."""
    content = tensors(Shape(layers=1, hidden=64))
    folder = write_checkpoint(tmp_path / "model", Shape(layers=1, hidden=64), content, changes={"hidden_size": 80})
    assert "80" in refusal(folder, capsys)
    for name, (dtype, array) in content.items():
        axes = [i for i, size in enumerate(array.shape) if size == 64 and dtype == "BF16"]
        padding = [(0, 16) if i in axes else (0, 0) for i in range(array.ndim)]
        content[name] = (dtype, np.pad(array, padding))
    folder = write_checkpoint(tmp_path / "model", Shape(layers=1, hidden=64), content, changes={"hidden_size": 80})
    refusal(folder, capsys, "--experts", "bf16", "--others", "bf16")


# -- anything wrong, by chance --

NASTY = st.sampled_from(
    [None, True, -1, 0, 1, 2, 31, 2**31, 2**53, 2**64, 10**30, 1.5, 1e308, float("nan"), "", "U8", "F32", "BF16",
     "F16", "\ud800", "../x.safetensors", SHARD, "x" * 3000, [], [[]], [0], [-1, 1], [0, 2**60], [2**40, 2**40], {},
     {"": None}]
)  # fmt: skip


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths to everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def altered(value: Any, draw: st.DrawFn) -> None:
    """Changes, drops or renames one to three things inside a JSON value."""
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(value)) or [()]))
        if not path:
            return
        inside = value
        for step in path[:-1]:
            inside = inside[step]
        how = draw(st.sampled_from(["set", "set", "drop", "rename", "steal"]))
        if how == "drop":
            del inside[path[-1]]
        elif how == "rename" and isinstance(inside, dict):
            inside[draw(st.sampled_from(["", "x", HEAD, BLOCKS, SCALES]))] = inside.pop(path[-1])
        elif how == "steal":  # what is right elsewhere
            other: Any = value
            for step in draw(st.sampled_from(list(places(value)) or [()])):
                other = other[step]
            inside[path[-1]] = json.loads(json.dumps(other))
        else:
            inside[path[-1]] = json.loads(json.dumps(draw(NASTY)))  # a copy, which may be altered itself


def header_of(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header


@st.composite
def damage(draw: st.DrawFn, contents: dict[str, Any]) -> tuple[str, Any]:
    """What to do to a checkpoint: (file, new JSON content), or ("bytes", seed), or ("cut", share of a shard)."""
    kind = draw(st.sampled_from(["header", "header", *contents, "bytes", "cut"]))
    if kind == "bytes":
        return kind, draw(st.integers(0, 2**32))
    if kind == "cut":
        return kind, draw(st.floats(0, 1))
    content = json.loads(json.dumps(contents[kind]))
    altered(content, draw)
    return kind, content


def apply(folder: Path, names: dict[str, str], kind: str, what: Any) -> None:
    file = folder / names["header"]
    if kind == "header":
        rewrite_header(file, lambda header: (header.clear(), header.update(what)))
    elif kind == "cut":
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * what)])
    elif kind == "bytes":
        chance, raw = random.Random(what), bytearray(file.read_bytes())
        header = int.from_bytes(raw[:8], "little") + 8
        for _ in range(chance.randint(1, 4)):
            raw[chance.randrange(8 if chance.random() < 0.2 else header)] = chance.randrange(256)
        file.write_bytes(raw)
    else:
        (folder / names[kind]).write_text(json.dumps(what))


@pytest.mark.parametrize("layout", [*LAYOUTS, ADAPTER])
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_ends_well_or_in_one_line(
    all_good: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str, data: st.DataObject
) -> None:
    good, folder = all_good[layout], tmp_path / "model"
    names = ADAPTER_NAMES if layout == ADAPTER else NAMES
    contents = {kind: json.loads((good / name).read_text()) for kind, name in names.items() if kind != "header"}
    contents["header"] = header_of(good / names["header"])
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder)
    apply(folder, names, *data.draw(damage(contents)))
    code, errors = command(folder, capsys)
    if code != 0:
        assert code == 2, errors
        assert_one_line(errors)
        assert str(folder) in errors or ".json:" in errors
