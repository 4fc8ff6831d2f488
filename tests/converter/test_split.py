"""Splitting into several files, and llama.cpp reading them."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.converter.checkpoints import write_checkpoint

from inglenook.core.paths import resources
from inglenook_convert.checkpoint import open_checkpoint
from inglenook_convert.config import parse_config
from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import check_gguf
from inglenook_convert.jobs import convert
from inglenook_convert.metadata import make_metadata
from inglenook_convert.plan import Plan, make_plan
from inglenook_convert.progress import make_progress
from inglenook_convert.split import output_files, parse_size, part_path, parts_of


def convert_quietly(source: Path, target: Path, max_bytes: int | None) -> Path:
    return convert(source, target, make_progress("json"), max_bytes=max_bytes)


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4_000_000_000), ("4000M", 4_000_000_000), ("12K", 12_000), ("500000", 500_000)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "G", "-4G", "4GB", "4.5G", "4 G", "٤G", "1" * 400, "4g"])
def test_what_is_not_a_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_names_are_those_of_llama_cpp() -> None:
    assert part_path(Path("a/b.gguf"), 0, 3) == Path("a/b-00001-of-00003.gguf")
    assert part_path(Path("a/b"), 2, 3) == Path("a/b-00003-of-00003.gguf")
    first, second = Path("a/b.c-00001-of-00002.gguf"), Path("a/b.c-00002-of-00002.gguf")
    assert parts_of(first) == [first, second]
    with pytest.raises(ConvertError, match=r"not the first.*b\.c-00001-of-00002\.gguf"):
        parts_of(second)
    for alone in ("x.gguf", "x-1-of-2.gguf", "x-00001-of-00000.gguf"):
        assert parts_of(Path(alone)) == [Path(alone)]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path_factory.mktemp("toy")))
    return make_plan(checkpoint, parse_config(checkpoint.config))


@settings(deadline=None)
@given(size=st.integers(1, 400_000), first=st.integers(0, 400_000))
def test_no_file_is_larger_than_allowed_and_none_could_take_more(toy: Plan, size: int, first: int) -> None:
    largest = max(tensor.nbytes for tensor in toy.tensors)
    if size < largest:
        with pytest.raises(ConvertError, match="--split-max-size"):
            toy.split(size, first)
        return
    parts = toy.split(size, first)
    assert [tensor.info.name for part in parts for tensor in part.tensors] == [t.info.name for t in toy.tensors]
    for number, part in enumerate(parts):
        room = size - (first if number == 0 else 0)
        assert part.data_bytes <= max(room, 0)
        offsets = [tensor.info.offset for tensor in part.tensors]
        assert offsets == [0, *np.cumsum([-(-tensor.nbytes // 32) * 32 for tensor in part.tensors]).tolist()][:-1]
        if number + 1 < len(parts):
            assert part.data_bytes + -(-parts[number + 1].tensors[0].nbytes // 32) * 32 > room


def test_files_with_their_headers_keep_to_the_limit(tmp_path: Path, toy: Plan) -> None:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "model"))
    metadata = make_metadata(checkpoint, parse_config(checkpoint.config), 1)
    files = output_files(tmp_path / "out.gguf", toy, metadata, 60_000)
    assert len(files) > 3
    assert max(file.nbytes for file in files) <= 60_000
    with pytest.raises(ConvertError, match="the metadata has"):
        output_files(tmp_path / "out.gguf", toy, metadata, 9_000)
    with pytest.raises(ConvertError, match="do not fit into one file"):
        output_files(tmp_path / "out.gguf", toy, metadata, 22_000)


def test_the_set_has_the_tensors_and_metadata_of_the_one_file(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "model")
    whole = gguf.GGUFReader(convert_quietly(source, tmp_path / "whole.gguf", None))
    first = convert_quietly(source, tmp_path / "out.gguf", 60_000)
    parts = parts_of(first)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        *sorted(path.name for path in parts),
        "whole.gguf",
    ]
    assert max(part.stat().st_size for part in parts) <= 60_000
    readers = [gguf.GGUFReader(part) for part in parts]
    found = {tensor.name: tensor.data.tobytes() for reader in readers for tensor in reader.tensors}
    assert found == {tensor.name: tensor.data.tobytes() for tensor in whole.tensors}
    for number, reader in enumerate(readers):
        fields = {key: field.contents() for key, field in reader.fields.items() if key.startswith("split.")}
        assert fields == {"split.no": number, "split.count": len(parts), "split.tensors.count": len(whole.tensors)}
        assert check_gguf(parts[number]).parts == len(parts)
        assert reader.fields["split.no"].types == [gguf.GGUFValueType.UINT16]
    kept = [key for key in readers[0].fields if not key.startswith(("GGUF.", "split."))]
    assert kept == [key for key in whole.fields if not key.startswith("GGUF.")]


@pytest.fixture(scope="module")
def quiet_llama() -> Iterator[None]:
    """llama.cpp initialised, with its log kept off the test's output."""
    callback = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    yield
    llama_cpp.llama_log_set(llama_cpp.llama_log_callback(0), ctypes.c_void_p(0))


def logits(path: Path) -> np.ndarray | None:
    """Of the model after some tokens; None if llama.cpp does not take the file."""
    parameters = llama_cpp.llama_model_default_params()
    parameters.check_tensors = True
    parameters.use_extra_bufts = False  # its AMX code crashes if some versions of GCC built it
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    if not model:
        return None
    context = llama_cpp.llama_init_from_model(model, llama_cpp.llama_context_default_params())
    try:
        tokens = (llama_cpp.llama_token * 5)(1, 2, 3, 4, 5)
        assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, 5)) == 0
        size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (size,)).copy()
    finally:
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)


@pytest.mark.usefixtures("quiet_llama")
def test_llama_cpp_computes_the_same_from_the_set(tmp_path: Path) -> None:
    demo = resources() / "demo-model"
    whole = logits(convert_quietly(demo, tmp_path / "whole.gguf", None))
    first = convert_quietly(demo, tmp_path / "out.gguf", 1_000_000)
    assert len(parts_of(first)) > 2
    assert whole is not None
    assert whole.std() > 0
    assert np.array_equal(whole, logits(first))
    parts_of(first)[1].unlink()
    assert logits(first) is None
