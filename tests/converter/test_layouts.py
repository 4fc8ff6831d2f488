"""The same network in every layout: each gives the same values, exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.converter.checkpoints import (
    LAYOUTS,
    Shape,
    reference,
    relaid,
    slow_mxfp4,
    tensors,
    write_checkpoint,
    write_safetensors,
)
from tests.converter.sources_of import all_values, sources_of

from inglenook_convert import values
from inglenook_convert.checkpoint import open_checkpoint
from inglenook_convert.config import parse_config
from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import StoredTensor
from inglenook_convert.layouts import layout_of, published
from inglenook_convert.plan import make_plan
from inglenook_convert.sources import DenseColumns, DenseRows, Source
from inglenook_convert.tensor_map import Role, Slot

SHAPES = [
    Shape(),
    Shape(layers=3, hidden=96, intermediate=64, experts=32, used=4, heads=2, kv_heads=1, head_dim=64),
    Shape(layers=1, hidden=32, intermediate=64, experts=128, used=4, heads=8, kv_heads=8, head_dim=32),
]
MXFP4 = ("published", "original")


def same(found: dict[str, Source], expected: dict[str, np.ndarray]) -> bool:
    assert found.keys() == expected.keys()
    return all(
        np.array_equal(all_values(source), expected[name].reshape(-1, expected[name].shape[-1]))
        for name, source in found.items()
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_networks_values(tmp_path: Path, layout: str, dtype: str, shape: Shape) -> None:
    content = tensors(shape, extremes=dtype != "F16")
    folder = write_checkpoint(tmp_path / "model", shape, content, layout=layout, dtype=dtype, shards=3)
    found = sources_of(folder)
    assert same(found, reference(content))
    assert not same(found, reference(tensors(shape, seed=1)))
    experts = {name for name in found if name.endswith("_exps.weight")}
    assert {name for name, source in found.items() if values.is_mxfp4(source)} == (
        experts if layout in MXFP4 else set()
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", [{}, {"shards": 5}, {"shards": 2, "index": False}])
def test_files_do_not_matter(tmp_path: Path, layout: str, form: dict[str, int]) -> None:
    content = tensors(Shape())
    assert same(
        sources_of(write_checkpoint(tmp_path / "model", content=content, layout=layout, **form)), reference(content)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_plan_uses_every_tensor_and_misses_none(tmp_path: Path, layout: str) -> None:
    content = relaid(tensors(Shape()), layout)
    folder = write_checkpoint(tmp_path / "model", layout=layout)

    def plan(changed: dict) -> None:
        write_safetensors(folder / "model.safetensors", changed)
        checkpoint = open_checkpoint(folder)
        make_plan(checkpoint, parse_config(checkpoint.config))

    plan(content)
    for name in content:
        with pytest.raises(ConvertError, match=r"is missing|not in a layout") as caught:
            plan({key: entry for key, entry in content.items() if key != name})
        assert name in str(caught.value)
    extra = "model.layers.0.self_attn.q_norm.weight"
    with pytest.raises(ConvertError, match=f"{extra}' does not belong"):
        plan({**content, extra: ("F32", np.zeros(4, "<f4"))})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_tensor_of_another_shape_or_type_is_named(tmp_path: Path, layout: str) -> None:
    content = relaid(tensors(Shape(layers=1)), layout)
    folder = write_checkpoint(tmp_path / "model", Shape(layers=1), layout=layout)
    for name, (dtype, array) in content.items():
        for wrong in (
            ("F32", np.zeros((*array.shape[:-1], array.shape[-1] + 32), "<f4")),
            ("U8", np.zeros((3, 5), "u1")),
        ):
            write_safetensors(folder / "model.safetensors", {**content, name: wrong})
            with pytest.raises(ConvertError) as caught:
                sources_of(folder)
            assert repr(name) in str(caught.value) or "not in a layout" in str(caught.value)
            assert dtype in str(caught.value) or "not in a layout" in str(caught.value)


def test_gate_and_up_swapped_would_be_noticed(tmp_path: Path) -> None:
    content = tensors(Shape())
    expected = reference(content)
    for layout in LAYOUTS:
        found = sources_of(write_checkpoint(tmp_path / layout, content=content, layout=layout))
        for part in ("weight", "bias"):
            gate, up = f"blk.1.ffn_gate_exps.{part}", f"blk.1.ffn_up_exps.{part}"
            swapped = {**found, gate: found[up], up: found[gate]}
            assert not same(swapped, expected)


def test_a_missed_transpose_would_be_noticed(tmp_path: Path) -> None:
    shape = Shape(hidden=64, intermediate=64)  # nothing but the values can tell
    content = tensors(shape)
    found = sources_of(write_checkpoint(tmp_path / "model", shape, content, layout="dense"))
    source = found["blk.0.ffn_down_exps.weight"]
    assert isinstance(source, DenseColumns)
    assert same(found, reference(content))
    assert not same({**found, "blk.0.ffn_down_exps.weight": DenseRows(source.tensor, 64)}, reference(content))


def test_parts_of_the_fused_matrix_swapped_would_be_noticed(tmp_path: Path) -> None:
    content = tensors(Shape())
    found = sources_of(write_checkpoint(tmp_path / "model", content=content, layout="original"))
    for part in ("weight", "bias"):
        key, value = f"blk.0.attn_k.{part}", f"blk.0.attn_v.{part}"
        assert not same({**found, key: found[value], value: found[key]}, reference(content))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_is_told_without_the_first_layer(tmp_path: Path, layout: str) -> None:
    content = {
        name: entry
        for name, entry in relaid(tensors(Shape()), layout).items()
        if not name.startswith(("model.layers.0.", "block.0."))
    }
    folder = write_checkpoint(tmp_path / "model", layout=layout)
    write_safetensors(folder / "model.safetensors", content)
    with pytest.raises(ConvertError, match="is missing"):
        sources_of(folder)


def test_names_alone_decide_nothing(tmp_path: Path) -> None:
    """Blocks that are no bytes, matrices that are no floats, tensors of another rank."""
    for layout in LAYOUTS:
        content = relaid(tensors(Shape()), layout)
        folder = write_checkpoint(tmp_path / layout, layout=layout)
        flat = {name: (dtype, array.reshape(-1)) for name, (dtype, array) in content.items()}
        write_safetensors(folder / "model.safetensors", flat)
        with pytest.raises(ConvertError, match="not in a layout"):
            layout_of(open_checkpoint(folder))


def test_other_tensors_are_refused_with_advice(tmp_path: Path) -> None:
    def refusal(name: str, *, alone: bool) -> str:
        folder = write_checkpoint(tmp_path / "model")
        content = {} if alone else tensors(Shape())
        write_safetensors(folder / "model.safetensors", {**content, name: ("F32", np.zeros((2, 2), "<f4"))})
        with pytest.raises(ConvertError) as caught:
            layout_of(open_checkpoint(folder))
        return str(caught.value)

    assert "save_original_format=False" in refusal("model.layers.0.mlp.experts.gate_up_proj$", alone=False)
    assert "bitsandbytes" in refusal("model.layers.0.mlp.experts.down_projs.0.weight.absmax", alone=True)
    other = refusal("model.layers.0.mlp.gate_proj.weight", alone=True)
    assert "'model.layers.0.mlp.gate_proj.weight' is one of them" in other
    assert "published gpt-oss" in other


def test_rows_that_are_no_whole_blocks_are_refused() -> None:
    def stored(name: str, *shape: int) -> StoredTensor:
        return StoredTensor(name, "U8", shape, Path("x"), 0, 0)

    name = "model.layers.0.mlp.experts.down_proj"
    found = {f"{name}_blocks": stored("b", 4, 64, 1, 16), f"{name}_scales": stored("s", 4, 64, 1)}
    slot = Slot("ffn_down_exps.weight", 0, (4, 64, 48), Role.EXPERTS, {})
    with pytest.raises(ConvertError, match="rows of 48"):
        published.source(found, slot)
    assert published.source(found, replace(slot, shape=(4, 64, 32)))


def test_the_reference_follows_the_definition() -> None:
    content = tensors(Shape(layers=1))
    name = "model.layers.0.mlp.experts.down_proj"
    slow = slow_mxfp4(content[f"{name}_blocks"][1], content[f"{name}_scales"][1])
    assert np.array_equal(reference(content)["blk.0.ffn_down_exps.weight"], slow)
