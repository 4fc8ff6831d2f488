import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from tests.converter.checkpoints import write_safetensors

from inglenook_convert import gguf_format
from inglenook_convert.checkpoint import ShardReader
from inglenook_convert.errors import ConvertError
from inglenook_convert.gguf_format import TensorInfo, TensorType
from inglenook_convert.headers import read_safetensors
from inglenook_convert.plan import PlannedTensor
from inglenook_convert.sources import DenseRows, Mxfp4Rows, Source
from inglenook_convert.stages import pieces


def converted(kind: TensorType, shape: tuple[int, ...], source: Source) -> bytes:
    tensor = PlannedTensor(TensorInfo("t", kind, shape, 0), source)
    with ShardReader() as reader:
        return b"".join(piece.tobytes() for piece in pieces(tensor, reader))


def test_a_tensor_of_many_pieces_is_what_it_is_in_one(tmp_path: Path) -> None:
    """3.6 million values: more than one read, with a last one that is not full; each row knows its number."""
    rows, width = 1300, 2880
    values = np.repeat(np.arange(rows, dtype="<f4"), width).reshape(rows, width)
    path = tmp_path / "t.safetensors"
    write_safetensors(path, {"t": ("F32", values)})
    stored = read_safetensors(path)["t"]
    assert converted(gguf_format.F32, values.shape, DenseRows(stored, width)) == values.tobytes()
    odd = DenseRows(stored, width, start=1, step=2)
    assert converted(gguf_format.F32, (rows // 2, width), odd) == values[1::2].tobytes()


def test_memory_stays_small_whatever_the_tensor(tmp_path: Path) -> None:
    experts, rows, width = 8, 2880, 90
    path = tmp_path / "t.safetensors"
    blocks, scales = (np.zeros((experts, rows, width, *tail), np.uint8) for tail in ((16,), ()))
    dense = np.zeros((rows * 8, 1024), "<u2")
    write_safetensors(path, {"blocks": ("U8", blocks), "scales": ("U8", scales), "dense": ("BF16", dense)})
    del blocks, scales
    found = read_safetensors(path)
    experts_source = Mxfp4Rows(found["blocks"], found["scales"], width, 0, 2)
    for kind, shape, source in (
        (gguf_format.MXFP4, (experts, rows // 2, width * 32), experts_source),
        (gguf_format.Q8_0, dense.shape, DenseRows(found["dense"], 1024)),
    ):
        tensor = PlannedTensor(TensorInfo("t", kind, shape, 0), source)
        tracemalloc.start()
        with ShardReader() as reader:
            total = sum(piece.nbytes for piece in pieces(tensor, reader))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == tensor.nbytes > 15e6
        assert peak < 16e6


def test_a_scale_that_is_no_number_is_refused(tmp_path: Path) -> None:
    scales = np.full((1, 4, 2), 120, np.uint8)
    scales[0, 3, 1] = 255
    path = tmp_path / "t.safetensors"
    write_safetensors(path, {"b": ("U8", np.zeros((1, 4, 2, 16), np.uint8)), "s": ("U8", scales)})
    found = read_safetensors(path)
    with pytest.raises(ConvertError, match=r"t\.safetensors: tensor 's' has the scale 255"):
        converted(gguf_format.MXFP4, (1, 4, 64), Mxfp4Rows(found["b"], found["s"], 2))


def test_values_that_q8_0_cannot_hold_are_refused(tmp_path: Path) -> None:
    values = np.zeros((2, 32), "<f4")
    values[1, 7] = np.nan
    path = tmp_path / "t.safetensors"
    write_safetensors(path, {"t": ("F32", values)})
    with pytest.raises(ConvertError, match="tensor 't' has values that are infinite"):
        converted(gguf_format.Q8_0, (2, 32), DenseRows(read_safetensors(path)["t"], 32))
