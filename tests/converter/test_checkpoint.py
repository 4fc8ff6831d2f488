import json
from pathlib import Path

import numpy as np
import pytest
from tests.converter.checkpoints import Shape, tensors, write_checkpoint, write_safetensors

from inglenook_convert.checkpoint import open_checkpoint
from inglenook_convert.errors import ConvertError
from inglenook_convert.reader import ShardReader


@pytest.mark.parametrize("form", [{}, {"shards": 3}, {"shards": 2, "index": False}])
def test_one_file_and_shards_have_the_same_tensors(tmp_path: Path, form: dict[str, int]) -> None:
    content = tensors(Shape())
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "model", content=content, **form))
    assert set(checkpoint.tensors) == set(content)
    with ShardReader() as reader:
        for name, (_, array) in content.items():
            stored = checkpoint.tensors[name]
            buffer = bytearray(stored.nbytes)
            reader.read_into(stored, 0, memoryview(buffer))
            assert bytes(buffer) == array.tobytes(), name


@pytest.mark.parametrize("form", [{}, {"shards": 2}, {"shards": 2, "index": False}])
def test_a_folder_in_the_hubs_cache(tmp_path: Path, form: dict[str, int]) -> None:
    """snapshots/REVISION/FILE there is a link to ../../blobs/HASH."""
    repository = tmp_path / "models--openai--gpt-oss-20b"
    folder = repository / "snapshots" / "abc"
    write_checkpoint(folder, **form)
    (repository / "blobs").mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(repository / "blobs" / f"{number:064x}")
        file.symlink_to(Path("..", "..", "blobs", f"{number:064x}"))
    checkpoint = open_checkpoint(folder)
    assert set(checkpoint.tensors) == set(tensors(Shape()))
    assert checkpoint.json("tokenizer.json") is not None
    stored = checkpoint.tensors["model.norm.weight"]
    buffer = bytearray(stored.nbytes)
    with ShardReader() as reader:
        reader.read_into(stored, 0, memoryview(buffer))
    assert bytes(buffer) == tensors(Shape())["model.norm.weight"][1].tobytes()
    stored.file.resolve().unlink()
    assert f"{stored.file} does not exist" in refusal(folder)


def test_a_file_that_became_short_while_reading(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "model"))
    stored = checkpoint.tensors["lm_head.weight"]
    stored.file.write_bytes(stored.file.read_bytes()[: stored.offset + 10])
    with ShardReader() as reader, pytest.raises(ConvertError, match=r"ends inside tensor 'lm_head\.weight'"):
        reader.read_into(stored, 0, memoryview(bytearray(stored.nbytes)))


def refusal(folder: Path) -> str:
    with pytest.raises(ConvertError) as caught:
        open_checkpoint(folder)
    return str(caught.value)


def test_folders_that_are_no_checkpoint(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "no")
    file = tmp_path / "file"
    file.write_text("x")
    assert "is not a folder" in refusal(file)
    assert "config.json" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "no safetensors files" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    assert "JSON object" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "not valid JSON" in refusal(tmp_path)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    assert "UTF-8" in refusal(tmp_path)


def test_other_forms_of_a_model_are_refused_with_what_to_do(tmp_path: Path) -> None:
    metal = tmp_path / "metal"
    metal.mkdir()
    (metal / "model.bin").write_bytes(b"GPT-OSS v1.0")
    for path in (metal, metal / "model.bin"):
        assert "rounded for OpenAI's Metal program" in refusal(path)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "pytorch_model.bin").write_bytes(b"")  # reading it would fail in another way
    assert "no config.json" in refusal(pickled)
    (pickled / "config.json").write_text("{}")
    assert "only pytorch_model.bin: pickles can run programs" in refusal(pickled)
    assert "pickles are not read" in refusal(pickled / "pytorch_model.bin")
    whole = write_checkpoint(tmp_path / "repository", layout="original")
    assert f"Give the folder {whole}" in refusal(whole.parent)
    assert "is not a folder." in refusal(whole / "model.safetensors")


def test_a_base_is_only_for_adapters(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    with pytest.raises(ConvertError, match="Leave --base out"):
        open_checkpoint(folder, folder)


@pytest.mark.parametrize("file", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "a\\b.safetensors"])
def test_an_index_cannot_point_outside_the_folder(tmp_path: Path, file: str) -> None:
    folder = write_checkpoint(tmp_path / "model", shards=2)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": file}}))
    assert "outside the folder" in refusal(folder)


def test_an_index_that_does_not_fit_the_files(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", shards=2)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["extra.weight"] = "model-00000-of-00002.safetensors"
    index.write_text(json.dumps(content))
    assert "'extra.weight'" in refusal(folder)
    content["weight_map"]["extra.weight"] = "model-00009-of-00009.safetensors"
    index.write_text(json.dumps(content))
    assert "model-00009-of-00009.safetensors does not exist" in refusal(folder)
    index.write_text(json.dumps({"weight_map": {"a": 1}}))
    assert "weight_map" in refusal(folder)


def test_a_tensor_in_two_files(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", shards=2, index=False)
    write_safetensors(folder / "other.safetensors", {"lm_head.weight": ("F32", np.zeros((2, 2), "<f4"))})
    assert "is also in" in refusal(folder)
