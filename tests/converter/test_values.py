"""Any range of rows of any source, held against the whole tensor in numpy's own indexing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.converter.checkpoints import Tensors, encoded, mxfp4_values, write_safetensors

from inglenook_convert import values
from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import StoredTensor, read_safetensors
from inglenook_convert.reader import ShardReader
from inglenook_convert.sources import (
    DenseColumns,
    DenseRows,
    Joined,
    LowRank,
    Merged,
    Mxfp4Rows,
    Source,
    part_of,
)

EXPERTS, WIDTH, LINE = 3, 96, 1400  # a transposed expert's lines are read in more than one go


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, StoredTensor], Tensors]:
    random = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return (random.integers(-128, 128, shape) / 64).astype(np.float32)  # exact in all three types

    content: Tensors = {}
    for dtype in ("BF16", "F16", "F32"):
        content[dtype] = encoded(numbers(EXPERTS, WIDTH, LINE), dtype)
        content[f"{dtype} bias"] = encoded(numbers(EXPERTS, 2 * WIDTH), dtype)
        content[f"{dtype} a"] = encoded(numbers(EXPERTS * 2, WIDTH), dtype)
        content[f"{dtype} b"] = encoded(numbers(2 * WIDTH, 2 * EXPERTS), dtype)
    content["codes"] = ("U8", random.integers(0, 256, (EXPERTS, 2 * WIDTH, WIDTH // 32, 16), dtype=np.uint8))
    content["scales"] = ("U8", random.integers(110, 135, (EXPERTS, 2 * WIDTH, WIDTH // 32), dtype=np.uint8))
    content["base"] = ("F32", numbers(EXPERTS * WIDTH // 2, 2 * WIDTH))
    path = tmp_path_factory.mktemp("values") / "t.safetensors"
    write_safetensors(path, content)
    return read_safetensors(path), content


def floats(entry: tuple[str, np.ndarray]) -> np.ndarray:
    dtype, array = entry
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else array.astype(np.float32)


def cases(found: dict[str, StoredTensor], content: Tensors) -> dict[str, tuple[Source, np.ndarray]]:
    """Sources with the values that they must have, [rows, width]."""
    every: dict[str, tuple[Source, np.ndarray]] = {}
    experts = mxfp4_values(content["codes"][1], content["scales"][1])
    every["mxfp4"] = Mxfp4Rows(found["codes"], found["scales"], 3), experts.reshape(-1, WIDTH)
    gate = Mxfp4Rows(found["codes"], found["scales"], 3, 0, 2)
    every["gate"] = gate, experts[:, ::2].reshape(-1, WIDTH)
    every["up"] = Mxfp4Rows(found["codes"], found["scales"], 3, 1, 2), experts[:, 1::2].reshape(-1, WIDTH)
    for dtype in ("BF16", "F16", "F32"):
        cube, bias = floats(content[dtype]), floats(content[f"{dtype} bias"])
        tensor = found[dtype]
        flat = cube.reshape(-1, LINE)
        every[f"{dtype} rows"] = DenseRows(tensor, LINE), flat
        every[f"{dtype} odd rows"] = DenseRows(tensor, LINE, 1, 2), flat[1::2]
        every[f"{dtype} bias"] = DenseRows(found[f"{dtype} bias"], 2 * WIDTH), bias
        every[f"{dtype} odd bias"] = DenseRows(found[f"{dtype} bias"], 1, 1, 2), bias[:, 1::2]
        every[f"{dtype} columns"] = DenseColumns(tensor), cube.swapaxes(1, 2).reshape(-1, WIDTH)
        odd = DenseColumns(tensor, 1, 2), cube[:, :, 1::2].swapaxes(1, 2).reshape(-1, WIDTH)
        every[f"{dtype} odd columns"] = odd
        parts = tuple(DenseRows(part_of(tensor, i, 1), LINE, 0, 2) for i in (2, 0))
        every[f"{dtype} joined"] = Joined(parts), cube[[2, 0], ::2].reshape(-1, LINE)
        a, b = found[f"{dtype} a"], found[f"{dtype} b"]
        factors = floats(content[f"{dtype} a"]).reshape(EXPERTS, 2, WIDTH), floats(content[f"{dtype} b"])
        product = 0.5 * np.einsum("oer,eri->eoi", factors[1].reshape(-1, 2, EXPERTS).swapaxes(1, 2), factors[0])
        changes = [LowRank(part_of(a, 2 * i, 2), b, 0.5, i, EXPERTS, start=1, step=2) for i in range(EXPERTS)]
        product[1] = 0
        merged = Merged(Mxfp4Rows(found["codes"], found["scales"], 3, 1, 2), (changes[0], None, changes[2]), ())
        every[f"{dtype} merged"] = merged, (experts + product)[:, 1::2].reshape(-1, WIDTH)
        turned = tuple(LowRank(part_of(a, 2 * i, 2), b, 0.5, i, EXPERTS, True, 0, 2) for i in range(EXPERTS))
        product = 0.5 * np.einsum("oer,eri->eio", factors[1].reshape(-1, 2, EXPERTS).swapaxes(1, 2), factors[0])
        base = DenseRows(found["base"], 2 * WIDTH)
        every[f"{dtype} turned"] = (
            Merged(base, turned, ()),
            content["base"][1] + product[:, ::2].reshape(-1, 2 * WIDTH),
        )
    return every


NAMES = ["mxfp4", "gate", "up"] + [
    f"{dtype} {kind}"
    for dtype in ("BF16", "F16", "F32")
    for kind in ("rows", "odd rows", "bias", "odd bias", "columns", "odd columns", "joined", "merged", "turned")
]


@pytest.fixture(scope="module")
def every(stored: tuple[dict[str, StoredTensor], Tensors]) -> dict[str, tuple[Source, np.ndarray]]:
    return cases(*stored)


@pytest.mark.parametrize("name", NAMES)
def test_any_rows_are_those_of_the_whole(every: dict[str, tuple[Source, np.ndarray]], name: str) -> None:
    source, expected = every[name]
    rows, width = expected.shape
    assert (values.rows_of(source), values.width_of(source)) == (rows, width)

    @settings(max_examples=25, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        first = data.draw(st.integers(0, rows - 1))
        count = data.draw(st.integers(1, rows - first))
        found = values.floats(source, first, count, reader)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        assert np.array_equal(found, expected[first : first + count].astype(np.float32).reshape(-1))

    with ShardReader() as reader:
        check()
        assert np.array_equal(values.floats(source, 0, rows, reader), expected.astype(np.float32).reshape(-1))


def test_the_cases_differ_from_each_other(every: dict[str, tuple[Source, np.ndarray]]) -> None:
    """So that a start, a step or a transpose that is ignored cannot pass."""
    assert set(every) == set(NAMES)
    found = [array for _, array in every.values()]
    assert not any(a is not b and a.shape == b.shape and np.array_equal(a, b) for a in found for b in found)


def test_blocks_are_as_they_are_stored(
    every: dict[str, tuple[Source, np.ndarray]], stored: tuple[dict[str, StoredTensor], Tensors]
) -> None:
    codes, scales = (stored[1][name][1].reshape(EXPERTS * 2 * WIDTH, 3, -1) for name in ("codes", "scales"))
    with ShardReader() as reader:
        for name, start, step in (("mxfp4", 0, 1), ("gate", 0, 2), ("up", 1, 2)):
            source = every[name][0]
            assert isinstance(source, Mxfp4Rows)
            found = values.blocks(source, 5, 70, reader)
            rows = slice(start + 5 * step, start + 75 * step, step)
            assert np.array_equal(found[0], codes[rows])
            assert np.array_equal(found[1], scales[rows][..., 0])


def test_only_blocks_as_stored_count_as_mxfp4(every: dict[str, tuple[Source, np.ndarray]]) -> None:
    assert {name for name in NAMES if values.is_mxfp4(every[name][0])} == {"mxfp4", "gate", "up"}


def test_several_threads_read_the_same(every: dict[str, tuple[Source, np.ndarray]]) -> None:
    with ShardReader() as reader, ThreadPoolExecutor(8) as pool:
        jobs = [(name, pool.submit(values.floats, every[name][0], 1, 2, reader)) for name in NAMES * 10]
        for name, job in jobs:
            assert np.array_equal(job.result(), every[name][1][1:3].astype(np.float32).reshape(-1)), name


def test_good_rows_divide_an_expert_into_panels() -> None:
    def columns(dtype: str, *shape: int) -> StoredTensor:
        return StoredTensor("t", dtype, shape, Path("x"), 0, 0)

    assert values.good_rows(DenseColumns(columns("BF16", 32, 2880, 5760), 0, 2)) == 1440  # 33 MB of float32 in two
    assert values.good_rows(DenseColumns(columns("BF16", 4, 96, 128))) == 128
    assert values.good_rows(DenseColumns(columns("F32", 4, 8 << 20, 7))) == 1
    assert values.good_rows(DenseRows(columns("BF16", 5760, 2880), 2880)) == 1


def test_a_merged_matrix_is_read_in_rows_that_share_a_factor() -> None:
    def matrix(*shape: int) -> StoredTensor:
        return StoredTensor("t", "F32", shape, Path("x"), 0, 0)

    def merged(rows: int, *, transposed: bool) -> Merged:
        change = LowRank(matrix(8, 64), matrix(rows, 8), 1.0, transposed=transposed)
        return Merged(DenseRows(matrix(rows, 64), 64), (change,), ())

    assert values.good_rows(merged(4096, transposed=False)) == 256
    assert values.good_rows(merged(128, transposed=False)) == 128
    assert values.good_rows(merged(4096, transposed=True)) == 4096


def test_the_scale_that_is_no_number_is_refused(tmp_path: Path) -> None:
    scales = np.full((2, 4, 2), 120, np.uint8)
    scales[1, 3, 1] = 255
    path = tmp_path / "t.safetensors"
    write_safetensors(path, {"b": ("U8", np.zeros((2, 4, 2, 16), np.uint8)), "s": ("U8", scales)})
    found = read_safetensors(path)
    with ShardReader() as reader:
        gate, up = (Mxfp4Rows(found["b"], found["s"], 2, start, 2) for start in (0, 1))
        assert values.floats(gate, 0, 4, reader).any() == 0
        assert values.blocks(up, 0, 3, reader)[1].shape == (3, 2)
        for read in (values.floats, values.blocks):
            with pytest.raises(ConvertError, match=r"t\.safetensors: tensor 's' has the scale 255"):
                read(up, 3, 1, reader)


def test_special_values_come_through(tmp_path: Path) -> None:
    numbers = np.array([[np.inf, -np.inf, np.nan, -0.0, 1e-40, 3.4e38]], np.float32)
    path = tmp_path / "t.safetensors"
    halves = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    write_safetensors(path, {"F32": ("F32", numbers), "BF16": ("BF16", halves)})
    found = read_safetensors(path)
    with ShardReader() as reader:
        assert values.floats(DenseRows(found["F32"], 6), 0, 1, reader).tobytes() == numbers.tobytes()
        bits = values.floats(DenseRows(found["BF16"], 6), 0, 1, reader).view(np.uint32)
        assert np.array_equal(bits >> 16, halves[0])
        assert not (bits & 0xFFFF).any()
