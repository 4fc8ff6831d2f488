"""What a converted file computes equals what transformers computes from the checkpoint, for every layout of input.

In float32 on both sides, so that only the order of sums differs. The networks' seed is one for which no two tokens or
experts are so near to each other that this order decides between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.converter.checkpoints import LAYOUTS, Shape, Tensors, write_checkpoint, write_safetensors
from tests.converter.oracles import mistakes, reference
from tests.converter.oracles.adapters import write_adapter
from tests.converter.oracles.llama_logits import difference, llama_logits
from tests.converter.oracles.networks import converted, lively

POSITIONS = 1500
WIDE = Shape(layers=3, hidden=64, intermediate=96, experts=8, used=4, heads=4, kv_heads=2, head_dim=64)
SQUARE = Shape(layers=2, hidden=64, intermediate=64, experts=8, used=4, heads=4, kv_heads=2, head_dim=64)
TOKENS = np.random.default_rng(5).integers(0, WIDE.vocabulary, POSITIONS).tolist()


@dataclass(frozen=True)
class Networks:
    """Two networks and an adapter of the first, with the logits that transformers computes."""

    folder: Path
    wide: Tensors
    square: Tensors
    wide_logits: np.ndarray
    dense_logits: np.ndarray
    adapted_logits: np.ndarray
    square_logits: np.ndarray


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """One run of transformers for all tests here."""
    folder = tmp_path_factory.mktemp("networks")
    wide, square = lively(WIDE, 5), lively(SQUARE, 1)
    write_checkpoint(folder / "wide", WIDE, wide)
    write_checkpoint(folder / "square", SQUARE, square)
    write_checkpoint(folder / "dense", WIDE, wide, layout="dense", dtype="F32")
    adapted = write_adapter(folder / "adapter", wide, WIDE, folder / "wide")
    write_safetensors(write_checkpoint(folder / "adapted", WIDE, wide, layout="dense") / "model.safetensors", adapted)
    names = ("wide", "dense", "adapted", "square")
    jobs = [
        reference.Job(str(folder / name), str(folder / f"{name}.npy"), name in ("wide", "square")) for name in names
    ]
    return Networks(folder, wide, square, *reference.run(jobs, TOKENS))


def assert_same_model(expected: np.ndarray, file: Path) -> None:
    found = difference(expected, llama_logits(file, TOKENS))
    assert found.same_model, found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_computes_what_transformers_does(networks: Networks, tmp_path: Path, layout: str) -> None:
    dtype = None if layout in ("published", "original") else "F32"
    source = write_checkpoint(tmp_path / "model", WIDE, networks.wide, layout=layout, dtype=dtype, shards=2)
    assert_same_model(networks.wide_logits, converted(source, tmp_path / "out.gguf", "f32", "f32"))


def test_a_merged_adapter_computes_what_its_product_means(networks: Networks, tmp_path: Path) -> None:
    file = converted(networks.folder / "adapter", tmp_path / "out.gguf", "f32", "f32")
    assert_same_model(networks.adapted_logits, file)
    assert not difference(networks.wide_logits, networks.adapted_logits).same_model  # the adapter does something


def test_a_network_of_equal_sizes_computes_what_transformers_does(networks: Networks, tmp_path: Path) -> None:
    """The controls below mangle this one."""
    source = write_checkpoint(tmp_path / "model", SQUARE, networks.square)
    assert_same_model(networks.square_logits, converted(source, tmp_path / "out.gguf", "f32", "f32"))


def test_transformers_reads_both_of_its_layouts_alike(networks: Networks) -> None:
    """The reference itself: our slow decoding of MXFP4 against transformers' own."""
    assert np.array_equal(networks.wide_logits, networks.dense_logits)


@pytest.mark.parametrize("mistake", mistakes.TOUCHED, ids=lambda mistake: mistake.__name__)
def test_the_check_sees_a_mistake(networks: Networks, tmp_path: Path, mistake: Callable[[Tensors], Tensors]) -> None:
    source = write_checkpoint(tmp_path / "model", SQUARE, networks.square)
    write_safetensors(source / "model.safetensors", mistake(networks.square))
    found = difference(
        networks.square_logits, llama_logits(converted(source, tmp_path / "out.gguf", "f32", "f32"), TOKENS)
    )
    assert not found.largest < 5e-3
    assert not found.kl < 1e-6
    assert found.top_1 < 1.0
