import contextlib
import json
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.converter.checkpoints import Shape, tensors, write_safetensors

from inglenook_convert import gguf_format, headers
from inglenook_convert.headers import HeaderError, check_gguf, read_safetensors


def small_gguf() -> bytes:
    """A valid file with every kind of metadata value and three tensors, of which the last has a padded predecessor."""
    kinds = gguf_format.ValueType
    metadata = [
        gguf_format.KeyValue("general.architecture", kinds.STRING, "gpt-oss"),
        gguf_format.KeyValue("general.name", kinds.STRING, "Small"),
        gguf_format.KeyValue("long", kinds.STRING, "x" * 5000),
        gguf_format.KeyValue("tokens", kinds.STRING, ("a", "", "ccc" * 50)),
        gguf_format.KeyValue("types", kinds.INT32, (1, -2, 3)),
        gguf_format.KeyValue("flag", kinds.BOOL, True),
        gguf_format.KeyValue("count", kinds.UINT32, 7),
        gguf_format.KeyValue("real", kinds.FLOAT64, 0.5),
    ]
    shapes = (("a", gguf_format.F32, (3,)), ("b", gguf_format.MXFP4, (2, 3, 64)), ("c", gguf_format.Q8_0, (1, 32)))
    infos, offset = [], 0
    for name, kind, shape in shapes:
        infos.append(gguf_format.TensorInfo(name, kind, shape, offset))
        offset += gguf_format.padded(kind.nbytes(shape))
    return gguf_format.encode_header(metadata, infos) + bytes(offset)


GOOD = small_gguf()
PREAMBLE = b"GGUF" + struct.pack("<I", 3)


def file_of(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file.gguf"
    path.write_bytes(content)
    return path


def refusal(tmp_path: Path, content: bytes) -> str:
    path = file_of(tmp_path, content)
    with pytest.raises(HeaderError) as caught:
        check_gguf(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_good_file(tmp_path: Path) -> None:
    path = file_of(tmp_path, GOOD)
    summary = check_gguf(path)
    assert (summary.architecture, summary.name, summary.n_tensors) == ("gpt-oss", "Small", 3)
    assert summary.tensor_bytes == 12 + 2 * 3 * 2 * 17 + 34
    assert summary.file_bytes == len(GOOD)
    assert summary.data_offset == gguf.GGUFReader(path).data_offset
    assert summary.values["count"] == 7
    assert summary.values["flag"] is True
    assert summary.values["real"] == 0.5
    assert "long" not in summary.values


def test_a_file_written_by_gguf_py(tmp_path: Path) -> None:
    path = tmp_path / "theirs.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Theirs")
    writer.add_array("floats", [0.5, 1.5])
    writer.add_token_list([f"token {i}" for i in range(200_000)])  # longer than the reader's buffer
    writer.add_tensor("t", np.zeros((4, 6), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    summary = check_gguf(path)
    assert (summary.architecture, summary.name, summary.n_tensors, summary.tensor_bytes) == ("llama", "Theirs", 1, 96)


def test_tensor_types_are_those_of_gguf_py() -> None:
    theirs = {kind.value: (kind.name, *size) for kind, size in gguf.GGML_QUANT_SIZES.items()}
    ours = {code: (kind.name, kind.block, kind.size) for code, kind in gguf_format.TENSOR_TYPES.items()}
    assert ours == theirs
    assert {kind.value: kind.name for kind in gguf_format.ValueType} == {k.value: k.name for k in gguf.GGUFValueType}


def test_missing_empty_folder_and_other_files(tmp_path: Path) -> None:
    with pytest.raises(HeaderError, match="does not exist"):
        check_gguf(tmp_path / "no.gguf")
    with pytest.raises(HeaderError, match="not a file"):
        check_gguf(tmp_path)
    assert "is empty" in refusal(tmp_path, b"")
    assert "not a GGUF file" in refusal(tmp_path, b"GG")
    assert "not a GGUF file" in refusal(tmp_path, b"PK\x03\x04" + bytes(100))
    with pytest.raises(HeaderError):
        check_gguf(Path("nul\0byte"))


@pytest.mark.parametrize("version", [0, 1, 4, 99, 0x03000000])
def test_other_versions(tmp_path: Path, version: int) -> None:
    message = refusal(tmp_path, b"GGUF" + struct.pack("<I", version) + GOOD[8:])
    assert "version" in message or "big-endian" in message


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    end = len(GOOD) - (gguf_format.padded(34) - 34)  # the padding after the last tensor may be missing
    for length in [*range(0, end, 37), end - 1]:
        with pytest.raises(HeaderError):
            check_gguf(file_of(tmp_path, GOOD[:length]))
    assert "30 bytes are missing" in refusal(tmp_path, GOOD[: end - 30])
    check_gguf(file_of(tmp_path, GOOD[:end]))


def key_value(key: str, kind: int, raw: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + raw


def one_tensor(name: bytes, dims: list[int], kind: int, offset: int = 0) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (struct.pack("<QQ", 1 << 60, 0), "tensors"),
        (struct.pack("<QQ", 0, 1 << 60), "metadata keys"),
        (struct.pack("<QQ", 0, 1) + struct.pack("<Q", 1 << 63), "key would be"),
        (struct.pack("<QQ", 0, 1) + key_value("k", 8, struct.pack("<Q", 1 << 63)), "cut off"),
        (struct.pack("<QQ", 0, 1) + key_value("k", 9, struct.pack("<IQ", 8, 1 << 63)), "cut off"),
        (struct.pack("<QQ", 0, 1) + key_value("k", 9, struct.pack("<IQ", 12, (1 << 64) - 1)), "cut off"),
        (struct.pack("<QQ", 0, 1) + key_value("k", 9, struct.pack("<IQ", 9, 1)), "array of arrays"),
        (struct.pack("<QQ", 0, 1) + key_value("k", 13, b""), "unknown type 13"),
        (struct.pack("<QQ", 0, 2) + key_value("k", 0, b"\1") * 2, "twice"),
        (struct.pack("<QQ", 0, 1) + struct.pack("<Q", 2) + b"\xff\xfe", "UTF-8"),
        (struct.pack("<QQ", 0, 1) + key_value("general.alignment", 4, struct.pack("<I", 24)), "power of two"),
        (struct.pack("<QQ", 0, 1) + key_value("general.alignment", 4, struct.pack("<I", 0)), "power of two"),
        (struct.pack("<QQ", 1, 0) + one_tensor(b"t", [1] * 5, 0), "5 dimensions"),
        (struct.pack("<QQ", 1, 0) + one_tensor(b"t", [4], 5), "unknown type 5"),
        (struct.pack("<QQ", 1, 0) + one_tensor(b"t", [1 << 32, 1 << 32], 0), "impossible shape"),
        (struct.pack("<QQ", 1, 0) + one_tensor(b"t", [33], 8), "whole blocks"),
        (struct.pack("<QQ", 1, 0) + one_tensor(b"t", [4], 0, 32), "expected"),
        (struct.pack("<QQ", 1, 0) + one_tensor(b"t" * 64, [4], 0), "too long"),
        (struct.pack("<QQ", 2, 0) + one_tensor(b"t", [8], 0) + one_tensor(b"t", [8], 0, 32), "twice"),
        (struct.pack("<QQ", 1, 0) + one_tensor(b"t", [1 << 40], 0), "are missing"),
    ],
)
def test_counts_lengths_and_offsets_out_of_bounds(tmp_path: Path, content: bytes, words: str) -> None:
    tracemalloc.start()
    try:
        assert words in refusal(tmp_path, PREAMBLE + content + bytes(64))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_header_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "GGUF_HEADER_LIMIT", 1 << 16)
    content = struct.pack("<QQ", 0, 1) + key_value("k", 9, struct.pack("<IQ", 0, 1 << 20)) + bytes(1 << 20)
    assert "longer than" in refusal(tmp_path, PREAMBLE + content)


mutations = st.lists(
    st.tuples(
        st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=9), st.sampled_from(["set", "insert", "cut"])
    ),
    min_size=1,
    max_size=4,
)


def mutated(content: bytes, changes: list[tuple[int, bytes, str]]) -> bytes:
    for place, raw, how in changes:
        kept = place if how == "insert" else place + len(raw)
        content = content[:place] + (b"" if how == "cut" else raw) + content[kept:]
    return content


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=mutations)
def test_any_damage_gives_a_summary_or_a_header_error(tmp_path: Path, changes: list[tuple[int, bytes, str]]) -> None:
    path = file_of(tmp_path, mutated(GOOD, changes))
    with contextlib.suppress(HeaderError):
        summary = check_gguf(path)
        assert summary.data_offset + summary.tensor_bytes <= path.stat().st_size


# -- safetensors --


def safetensors(header: Any, data: int = 64) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(data)


def entry(dtype: object = "F32", shape: object = (4,), begin: object = 0, end: object = 16) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_tensors_of_a_good_file(tmp_path: Path) -> None:
    content = tensors(Shape())
    path = tmp_path / "model.safetensors"
    write_safetensors(path, content)
    found = read_safetensors(path)
    assert list(found) == list(content)
    raw = path.read_bytes()
    for name, (dtype, array) in content.items():
        stored = found[name]
        assert (stored.dtype, stored.shape) == (dtype, array.shape)
        assert raw[stored.offset : stored.offset + stored.nbytes] == array.tobytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"1234", "only 4 bytes"),
        (b"\xff" * 8 + b"{}", "not a safetensors file"),
        ((500).to_bytes(8, "little") + b"{}", "inside its header"),
        (safetensors(b"{nonsense}"), "not valid JSON"),
        (safetensors(b"[" * 100_000), "not valid JSON"),
        (safetensors(b'{"t": ' + b"9" * 5000 + b"}"), "not valid JSON"),
        (safetensors(b"\xff\xff"), "not valid JSON"),
        (safetensors([]), "not a JSON object"),
        (safetensors(b'{"t": 1, "t": 2}'), "'t' occurs twice"),
        (safetensors(b'{"t": {"dtype": "U8", "dtype": "U8"}}'), "'dtype' occurs twice"),
        (safetensors({"t" * 300: entry()}), "300 characters"),
        (safetensors({"\ud800\n": entry(dtype="Q4")}), "'\\ud800\\n' has the unknown type"),
        (safetensors(b'{"t": {"dtype": ' + b"[" * 900 + b"]" * 900 + b"}}"), "unknown type"),
        (safetensors({"t": 1}), "object"),
        (safetensors({"t": entry(dtype="Q4")}), "unknown type"),
        (safetensors({"t": entry(dtype=["F32"])}), "unknown type"),
        (safetensors({"t": entry(shape=[-4])}), "shape"),
        (safetensors({"t": entry(shape=[True])}), "shape"),
        (safetensors({"t": entry(shape=[4.0])}), "shape"),
        (safetensors({"t": entry(shape=[1 << 70])}), "shape"),
        (safetensors({"t": entry(shape=[1] * 9)}), "shape"),
        (safetensors({"t": entry(shape=[2**61] * 8)}), "takes"),
        (safetensors({"t": entry(begin=-1)}), "offsets"),
        (safetensors({"t": entry(end="16")}), "offsets"),
        (safetensors({"t": entry(begin=16, end=0)}), "takes"),
        (safetensors({"t": entry(end=12)}), "takes"),
        (safetensors({"t": entry()}, data=15), "beyond the end"),
        (safetensors({"t": entry(), "u": entry(begin=8, end=24)}), "overlaps"),
        (safetensors({"t": entry(), "u": entry()}), "overlaps"),
    ],
)
def test_broken_safetensors_headers(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(HeaderError) as caught:
        read_safetensors(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


TENSORS = safetensors({"one": entry(), "two": entry("BF16", [2, 3], 16, 28), "none": entry("U8", [0], 28, 28)})


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, len(TENSORS) - 1),
            st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"9", b"-1", b'"', b"[]", b"null", b"1e9"])),
            st.sampled_from(["set", "insert", "cut"]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_damage_gives_tensors_inside_the_file_or_a_header_error(
    tmp_path: Path, changes: list[tuple[int, bytes, str]]
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(mutated(TENSORS, changes))
    with contextlib.suppress(HeaderError):
        found = read_safetensors(path)
        assert all(8 <= t.offset <= t.offset + t.nbytes <= path.stat().st_size for t in found.values())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind root")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = file_of(tmp_path, GOOD)
    path.chmod(0)
    with pytest.raises(HeaderError, match="cannot be read"):
        check_gguf(path)


def test_headers_and_plan_need_the_standard_library_only() -> None:
    code = (
        "import sys, inglenook_convert.headers, inglenook_convert.plan, inglenook_convert.metadata\n"
        "print([name for name in ('numpy', 'gguf', 'inglenook') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
