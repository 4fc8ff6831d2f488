from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.converter.checkpoints import Shape, config, tensors, write_checkpoint

from inglenook_convert import gguf_format
from inglenook_convert.checkpoint import Checkpoint, open_checkpoint
from inglenook_convert.config import parse_config
from inglenook_convert.errors import ConvertError
from inglenook_convert.gguf_format import TensorType
from inglenook_convert.headers import DTYPE_BYTES, StoredTensor
from inglenook_convert.plan import Plan, make_plan
from inglenook_convert.tensor_types import Types, types_of


def plan_of(folder: Path) -> Plan:
    checkpoint = open_checkpoint(folder)
    return make_plan(checkpoint, parse_config(checkpoint.config))


def published_20b() -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """The tensors of openai/gpt-oss-20b by name, type and shape, after the facts page; no data."""
    layers, hidden, experts, q, kv = 24, 2880, 32, 4096, 512
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "model.embed_tokens.weight": ("BF16", (201088, hidden)),
        "lm_head.weight": ("BF16", (201088, hidden)),
        "model.norm.weight": ("BF16", (hidden,)),
    }
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for name, rows, columns in (("q", q, hidden), ("k", kv, hidden), ("v", kv, hidden), ("o", hidden, q)):
            shapes[f"{at}self_attn.{name}_proj.weight"] = ("BF16", (rows, columns))
            shapes[f"{at}self_attn.{name}_proj.bias"] = ("BF16", (rows,))
        shapes[f"{at}self_attn.sinks"] = ("BF16", (64,))
        shapes[f"{at}input_layernorm.weight"] = shapes[f"{at}post_attention_layernorm.weight"] = ("BF16", (hidden,))
        shapes[f"{at}mlp.router.weight"], shapes[f"{at}mlp.router.bias"] = ("BF16", (experts, hidden)), ("BF16", (32,))
        for name, rows in (("gate_up_proj", 5760), ("down_proj", hidden)):
            shapes[f"{at}mlp.experts.{name}_blocks"] = ("U8", (experts, rows, 90, 16))
            shapes[f"{at}mlp.experts.{name}_scales"] = ("U8", (experts, rows, 90))
            shapes[f"{at}mlp.experts.{name}_bias"] = ("BF16", (experts, rows))
    stored = {
        name: StoredTensor(name, dtype, shape, Path("x"), 0, int(np.prod(shape)) * DTYPE_BYTES[dtype])
        for name, (dtype, shape) in shapes.items()
    }
    shape = Shape(24, hidden, hidden, experts, 4, 64, 8, 64, 201088)
    return stored, config(shape)


def test_gpt_oss_20b_is_planned_as_it_was_published() -> None:
    stored, raw = published_20b()
    assert sum(tensor.nbytes for tensor in stored.values()) == 13_761_264_768  # total_size of its index
    plan = make_plan(Checkpoint(Path("x"), stored, raw), parse_config(raw))
    counts = [sum(tensor.kind is kind for tensor in plan.tensors) for kind in (gguf_format.F32, gguf_format.Q8_0)]
    assert counts == [289, 98]
    assert sum(tensor.kind is gguf_format.MXFP4 for tensor in plan.tensors) == 72
    assert sum(tensor.nbytes for tensor in plan.tensors) == 12_096_558_336
    assert sum(int(np.prod(tensor.info.shape)) for tensor in plan.tensors) == 20_914_757_184


def test_offsets_follow_each_other_aligned(tmp_path: Path) -> None:
    plan = plan_of(write_checkpoint(tmp_path / "model"))
    offset = 0
    for tensor in plan.tensors:
        assert tensor.info.offset == offset
        assert offset % 32 == 0
        offset += gguf_format.padded(tensor.nbytes)
    assert plan.data_bytes == offset


def test_missing_extra_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    content = tensors(Shape())
    del content["model.layers.1.self_attn.sinks"]
    with pytest.raises(ConvertError, match=r"'model.layers.1.self_attn.sinks' is missing"):
        plan_of(write_checkpoint(tmp_path / "missing", content=content))
    content = {**tensors(Shape()), "model.layers.2.self_attn.sinks": ("F32", np.zeros(4, "<f4"))}
    with pytest.raises(ConvertError, match=r"'model.layers.2.self_attn.sinks' does not belong"):
        plan_of(write_checkpoint(tmp_path / "extra", content=content))
    content = tensors(Shape())
    content["lm_head.weight"] = ("F32", np.zeros((320, 32), "<f4"))
    with pytest.raises(ConvertError, match=r"'lm_head.weight' is F32 \[320, 32\].*BF16 or F16 or F32 \[320, 64\]"):
        plan_of(write_checkpoint(tmp_path / "shape", content=content))
    content = tensors(Shape())
    content["model.norm.weight"] = ("U8", np.zeros(64, "u1"))
    with pytest.raises(ConvertError, match=r"'model.norm.weight' is U8"):
        plan_of(write_checkpoint(tmp_path / "type", content=content))


def test_the_transformers_accident_is_refused(tmp_path: Path) -> None:
    content = {**tensors(Shape()), "gate_up_proj$": ("F32", np.zeros(4, "<f4"))}
    with pytest.raises(ConvertError, match="save_original_format=False"):
        plan_of(write_checkpoint(tmp_path / "dollar", content=content))


@pytest.mark.parametrize(
    ("experts", "others", "size"),
    [
        # The facts page, section 3: "experts (others Q8_0), 20b tensor GB", and 1.68 GB more for BF16 others.
        ("mxfp4", "q8_0", 12.10),
        ("q4_0", "q8_0", 12.69),
        ("q4_1", "q8_0", 13.89),
        ("q5_0", "q8_0", 15.08),
        ("q5_1", "q8_0", 16.28),
        ("q8_0", "q8_0", 22.25),
        ("bf16", "q8_0", 40.16),
        ("mxfp4", "bf16", 12.10 + 1.68),
    ],
)
def test_sizes_of_gpt_oss_20b_by_type(experts: str, others: str, size: float) -> None:
    stored, raw = published_20b()
    types = types_of(experts, others, (None, None, None), "best")
    plan = make_plan(Checkpoint(Path("x"), stored, raw), parse_config(raw), types)
    assert sum(tensor.nbytes for tensor in plan.tensors) / 1e9 == pytest.approx(size, abs=0.006)
    assert plan.data_bytes == sum(gguf_format.padded(tensor.nbytes) for tensor in plan.tensors)


def test_every_type_says_how_its_scales_are_chosen(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "model"))
    for mode in ("best", "ggml"):
        types = types_of("mxfp4", "f16", (None, None, None), mode)
        plan = make_plan(checkpoint, parse_config(checkpoint.config), types)
        assert {tensor.best for tensor in plan.tensors} == {mode == "best"}


def test_rows_that_are_not_whole_blocks_are_refused_for_block_types_only(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "model"))
    config = parse_config(checkpoint.config)
    uneven = TensorType(99, "BLOCKS", 40, 1)  # rows here have 64, 96 and 128 elements
    with pytest.raises(ConvertError, match=r"'token_embd.weight' has rows of 64.*whole blocks of 40 for BLOCKS"):
        make_plan(checkpoint, config, Types(embedding=uneven))
    with pytest.raises(ConvertError, match=r"'blk.0.ffn_gate_exps.weight'"):
        make_plan(checkpoint, config, Types(experts=uneven))
    plan = make_plan(checkpoint, config, Types(*[gguf_format.F16] * 4))
    assert {tensor.kind.name for tensor in plan.tensors} == {"F16", "F32"}
