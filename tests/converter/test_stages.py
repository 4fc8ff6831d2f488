import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.converter.checkpoints import write_safetensors

from inglenook_convert import gguf_format, quantize
from inglenook_convert.errors import ConvertError
from inglenook_convert.gguf_format import TensorInfo, TensorType
from inglenook_convert.headers import read_safetensors
from inglenook_convert.plan import PlannedTensor
from inglenook_convert.reader import ShardReader
from inglenook_convert.sources import DenseColumns, DenseRows, Mxfp4Rows, Source
from inglenook_convert.stages import pieces, produce


def converted(kind: TensorType, shape: tuple[int, ...], source: Source, *, best: bool = True) -> bytes:
    tensor = PlannedTensor(TensorInfo("t", kind, shape, 0), source, best)
    with ShardReader() as reader:
        return b"".join(produce(piece, reader).tobytes() for piece in pieces([tensor]))


def test_a_tensor_of_many_pieces_is_what_it_is_in_one(tmp_path: Path) -> None:
    """More values than are in a piece, with a last one that is not full; each row knows its number."""
    rows, width = 3300, 2880
    values = np.repeat(np.arange(rows, dtype="<f4"), width).reshape(rows, width)
    path = tmp_path / "t.safetensors"
    write_safetensors(path, {"t": ("F32", values)})
    stored = read_safetensors(path)["t"]
    assert converted(gguf_format.F32, values.shape, DenseRows(stored, width)) == values.tobytes()
    odd = DenseRows(stored, width, start=1, step=2)
    assert converted(gguf_format.F32, (rows // 2, width), odd) == values[1::2].tobytes()


def test_a_piece_takes_little_memory_whatever_the_tensor(tmp_path: Path) -> None:
    experts, rows, width = 8, 2880, 90
    path = tmp_path / "t.safetensors"
    blocks, scales = (np.zeros((experts, rows, width, *tail), np.uint8) for tail in ((16,), ()))
    dense = np.zeros((rows * 8, 1024), "<u2")
    write_safetensors(path, {"blocks": ("U8", blocks), "scales": ("U8", scales), "dense": ("BF16", dense)})
    del blocks, scales
    found = read_safetensors(path)
    experts_source = Mxfp4Rows(found["blocks"], found["scales"], width, 0, 2)
    columns = replace(found["dense"], shape=(8, 1024, rows))
    for kind, shape, source in (
        (gguf_format.MXFP4, (experts, rows // 2, width * 32), experts_source),
        (gguf_format.Q8_0, (experts, rows // 2, width * 32), experts_source),
        (gguf_format.Q8_0, dense.shape, DenseRows(found["dense"], 1024)),
        (gguf_format.F32, dense.shape, DenseRows(found["dense"], 1024)),
        (gguf_format.MXFP4, (8, rows // 2, 1024), DenseColumns(columns, 1, 2)),
    ):
        tensor = PlannedTensor(TensorInfo("t", kind, shape, 0), source)
        total = 0
        with ShardReader() as reader:
            for piece in pieces([tensor]):
                tracemalloc.start()
                total += produce(piece, reader).nbytes
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
                assert peak < piece.memory + 6e6
                assert piece.memory < 60e6
        assert total == tensor.nbytes > 5e6


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


def test_dense_values_become_mxfp4_in_the_way_that_was_asked_for(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 0.05, (64, 2880)).astype("<f4")
    path = tmp_path / "t.safetensors"
    write_safetensors(path, {"t": ("F32", values)})
    source = DenseRows(read_safetensors(path)["t"], 2880)
    found = [converted(gguf_format.MXFP4, values.shape, source, best=best) for best in (True, False)]
    assert found[0] == quantize.mxfp4_best(values.reshape(-1)).tobytes()
    assert found[1] == quantize.ENCODERS[gguf_format.MXFP4](values.reshape(-1)).tobytes()
    assert found[0] != found[1]
