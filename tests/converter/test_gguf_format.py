from pathlib import Path

import gguf
import numpy as np

from inglenook_convert.gguf_format import F32, Q8_0, SCALARS, KeyValue, TensorInfo, ValueType, encode_header, padded

SAMPLES = {ValueType.FLOAT32: 0.5, ValueType.FLOAT64: 1e-300, ValueType.BOOL: True, ValueType.INT8: -5}


def test_gguf_py_reads_back_every_kind_of_value(tmp_path: Path) -> None:
    entries = [KeyValue(f"one.{kind.name}", kind, SAMPLES.get(kind, 100)) for kind in SCALARS]
    entries += [
        KeyValue("text", ValueType.STRING, "grüße \n 你好"),
        KeyValue("none", ValueType.STRING, ""),
        KeyValue("texts", ValueType.STRING, ("Ġa", "b", "")),
        KeyValue("numbers", ValueType.INT32, (-1, 2, 3)),
    ]
    tensors = [TensorInfo("a", F32, (3,), 0), TensorInfo("b", Q8_0, (2, 64), padded(12))]
    header = encode_header(entries, tensors)
    assert len(header) % 32 == 0
    path = tmp_path / "x.gguf"
    path.write_bytes(header + np.array([1, 2, 3], "<f4").tobytes().ljust(32, b"\0") + bytes(padded(136)))
    reader = gguf.GGUFReader(path)
    read = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert read == {e.key: list(e.value) if isinstance(e.value, tuple) else e.value for e in entries}
    assert [(t.name, t.tensor_type.name, list(t.shape)) for t in reader.tensors] == [
        ("a", "F32", [3]),
        ("b", "Q8_0", [64, 2]),
    ]
    assert reader.tensors[0].data.tolist() == [1, 2, 3]
    assert reader.data_offset == len(header)
