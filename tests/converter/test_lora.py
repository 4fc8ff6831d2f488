from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.converter.adapters import PREFIX, Adapter
from tests.converter.checkpoints import LAYOUTS, Shape, reference, tensors, write_checkpoint, write_safetensors
from tests.converter.sources_of import all_values, sources_of

from inglenook_convert import values
from inglenook_convert.checkpoint import open_checkpoint
from inglenook_convert.config import parse_config
from inglenook_convert.errors import ConvertError
from inglenook_convert.plan import make_plan

SHAPE = Shape()
Q, KV = SHAPE.heads * SHAPE.head_dim, SHAPE.kv_heads * SHAPE.head_dim


def full(shape: Shape = SHAPE, **options: Any) -> Adapter:
    """Attention and router of layer 0, both parameters of the experts of layer 1; alpha / rank is 2."""
    made = Adapter(shape, options)
    for letter, rows in (("q", Q), ("k", KV), ("v", KV)):
        made.linear(0, f"self_attn.{letter}_proj", f"attn_{letter}", rows, shape.hidden, 2.0)
    made.linear(0, "self_attn.o_proj", "attn_output", shape.hidden, Q, 2.0)
    made.linear(0, "mlp.router", "ffn_gate_inp", shape.experts, shape.hidden, 2.0)
    made.wrapped(1, "gate_up_proj", 1, 4.0)
    made.wrapped(1, "down_proj", 0, 4.0)
    return made


def check(adapter: Adapter, folder: Path, base: Path, content: dict) -> dict[str, Any]:
    """The sources, after their values were held against base + what the adapter adds."""
    found, expected = sources_of(folder, base), reference(content)
    for name, source in found.items():
        want = expected[name] + adapter.added.get(name, 0)
        assert np.allclose(all_values(source), want.reshape(-1, want.shape[-1]), rtol=1e-6, atol=1e-6), name
        if name in adapter.added:
            assert np.abs(adapter.added[name]).max() > 0.05, name  # so that leaving it out would be noticed
    checkpoint = open_checkpoint(folder, base)
    make_plan(checkpoint, parse_config(checkpoint.config))
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_adapter_is_merged_into_a_base_of_any_layout(tmp_path: Path, layout: str) -> None:
    content = tensors(SHAPE)
    base = write_checkpoint(tmp_path / "base", content=content, layout=layout)
    adapter = full()
    found = check(adapter, adapter.write(tmp_path / "adapter"), base, content)
    exact = {name for name, source in found.items() if values.is_mxfp4(source)}
    left = {f"blk.0.ffn_{part}_exps.weight" for part in ("gate", "up", "down")}
    assert exact == (left if layout in ("published", "original") else set())


@pytest.mark.parametrize("intermediate", [64, 96])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_both_ways_of_peft_to_factor_a_3d_parameter(
    tmp_path: Path, intermediate: int, turned: bool, order: tuple[int, int]
) -> None:
    """Also where down_proj is square, as in gpt-oss-20b, so that its own shapes do not tell."""
    shape = Shape(intermediate=intermediate)
    content = tensors(shape)
    adapter = Adapter(shape)
    adapter.wrapped(0, "gate_up_proj", order[0], 4.0, turned=turned)
    adapter.wrapped(0, "down_proj", order[1], 4.0, turned=turned)
    base = write_checkpoint(tmp_path / "base", shape, content)
    check(adapter, adapter.write(tmp_path / "adapter"), base, content)


def test_a_square_parameter_alone_is_taken_as_transformers_5_has_it(tmp_path: Path) -> None:
    shape = Shape(intermediate=64)
    content = tensors(shape)
    adapter = Adapter(shape)
    adapter.wrapped(1, "down_proj", 0, 4.0)
    base = write_checkpoint(tmp_path / "base", shape, content)
    check(adapter, adapter.write(tmp_path / "adapter"), base, content)
    wrong = Adapter(shape)
    wrong.wrapped(1, "down_proj", 0, 4.0, turned=True)
    with pytest.raises(AssertionError, match="ffn_down_exps"):  # the control: the two ways do differ
        check(wrong, wrong.write(tmp_path / "wrong"), base, content)


@pytest.mark.parametrize("layout", ["published", "per_expert"])
def test_linear_experts_and_router(tmp_path: Path, layout: str) -> None:
    content = tensors(SHAPE)
    adapter = Adapter(SHAPE)
    adapter.linear(1, "mlp.router.linear", "ffn_gate_inp", SHAPE.experts, SHAPE.hidden, 2.0)
    for number in (0, 3):
        adapter.expert(0, "gate_up_proj", number, 2.0)
    adapter.expert(1, "down_proj", 2, 2.0)
    base = write_checkpoint(tmp_path / "base", content=content, layout=layout)
    check(adapter, adapter.write(tmp_path / "adapter"), base, content)


def test_scales(tmp_path: Path) -> None:
    content = tensors(SHAPE)
    base = write_checkpoint(tmp_path / "base", content=content)
    options = {
        "use_rslora": True,
        "lora_alpha": 6,
        "alpha_pattern": {"k_proj": 3, r"layers\.1\.mlp\.experts\.down_proj": 5},
    }
    adapter = Adapter(SHAPE, options)
    adapter.linear(0, "self_attn.q_proj", "attn_q", Q, SHAPE.hidden, 6 / math.sqrt(8), rank=8)
    adapter.linear(0, "self_attn.k_proj", "attn_k", KV, SHAPE.hidden, 3 / math.sqrt(2), rank=2)
    adapter.wrapped(0, "down_proj", 0, 6 / math.sqrt(2))
    adapter.wrapped(1, "down_proj", 0, 5 / math.sqrt(2))
    check(adapter, adapter.write(tmp_path / "adapter"), base, content)
    with pytest.raises(AssertionError):
        check(adapter, adapter.write(tmp_path / "other", use_rslora=False), base, content)
    with pytest.raises(AssertionError):
        check(adapter, adapter.write(tmp_path / "other", alpha_pattern={}), base, content)


def test_tensors_that_the_adapter_has_in_full_replace_the_bases(tmp_path: Path) -> None:
    content = tensors(SHAPE)
    base = write_checkpoint(tmp_path / "base", content=content)
    adapter = full()
    bias, head = np.full(Q, 3, "<f4"), np.full((SHAPE.vocabulary, SHAPE.hidden), 2, "<f4")
    adapter.tensors[f"{PREFIX}model.layers.0.self_attn.q_proj.base_layer.bias"] = ("F32", bias)
    adapter.tensors[f"{PREFIX}lm_head.weight"] = ("F32", head)
    found = sources_of(adapter.write(tmp_path / "adapter"), base)
    assert np.array_equal(all_values(found["blk.0.attn_q.bias"])[0], bias)
    assert np.array_equal(all_values(found["output.weight"]), head)
    checkpoint = open_checkpoint(tmp_path / "adapter", base)
    make_plan(checkpoint, parse_config(checkpoint.config))
    adapter.tensors[f"{PREFIX}lm_head.weight"] = ("F32", head[:-1])
    with pytest.raises(
        ConvertError, match=r"lm_head.weight' is F32 \[319, 64\], and in the base it is BF16 \[320, 64\]"
    ):
        open_checkpoint(adapter.write(tmp_path / "adapter"), base)


def test_the_base_is_the_one_given_or_the_one_named(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base", layout="original")
    (tmp_path / "base" / "README.md").write_text("of the base")
    folder = full().write(tmp_path / "adapter", base_model_name_or_path=str(base))
    (folder / "README.md").write_text("of the adapter")
    checkpoint = open_checkpoint(folder)
    assert checkpoint.folder == folder
    assert checkpoint.text("README.md") == "of the adapter"
    assert checkpoint.json("tokenizer.json") is not None  # beside original/
    assert checkpoint.config["num_experts"] == SHAPE.experts
    assert open_checkpoint(full().write(tmp_path / "two", base_model_name_or_path="a/b"), base).tensors
    for name in ("openai/gpt-oss-20b", None, 5, "a\0b", "\ud800", "a" * 5000, str(tmp_path)):
        full().write(folder, base_model_name_or_path=name)
        assert "Give that model's folder with --base" in refusal(folder)
    assert "is an adapter itself" in refusal(folder, folder)
    assert "Leave --base out" in refusal(base, base)
    assert "does not exist" in refusal(folder, tmp_path / "nothing")


def test_a_model_with_an_adapters_files_left_beside_it_is_a_model(tmp_path: Path) -> None:
    for form in ({}, {"shards": 2}, {"shards": 2, "index": False}):
        folder = full().write(tmp_path / f"model{len(form)}")
        content = tensors(SHAPE)
        write_checkpoint(folder, content=content, **form)
        assert set(open_checkpoint(folder).tensors) == set(content)


def refusal(folder: Path, base: Path | None = None) -> str:
    def planned() -> None:
        checkpoint = open_checkpoint(folder, base)
        make_plan(checkpoint, parse_config(checkpoint.config))

    with pytest.raises(ConvertError) as caught:
        planned()
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"peft_type": None}, "peft_type is None"),
        ({"use_dora": True}, "use_dora"),
        ({"lora_bias": True}, "lora_bias"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"init_lora_weights": "pissa"}, "'pissa', which changes the base"),
        ({"lora_alpha": "16"}, "lora_alpha"),
        ({"lora_alpha": math.nan}, "lora_alpha"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"lora_alpha": True}, "lora_alpha"),
        ({"lora_alpha": 10**400}, "lora_alpha"),
        ({"alpha_pattern": {"q_proj": None}}, "alpha_pattern"),
        ({"alpha_pattern": [1]}, "alpha_pattern"),
        ({"alpha_pattern": {"(": 1}}, "unusable pattern"),
        ({"alpha_pattern": {".*.*.*.*.*.*.*.*X": 1}}, "unusable pattern"),
        ({"alpha_pattern": {r"(\w+)+X": 1}}, "unusable pattern"),
    ],
)
def test_what_is_not_plain_lora_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    base = write_checkpoint(tmp_path / "base")
    folder = full().write(tmp_path / "adapter")
    assert open_checkpoint(folder, base)
    full().write(folder, **changes)
    found = refusal(folder, base)
    assert message in found
    assert "adapter_config.json" in found


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")

    def with_tensor(name: str, *shape: int, dtype: str = "F32") -> str:
        adapter = full()
        adapter.tensors[f"{PREFIX}{name}"] = (dtype, np.ones(shape, "<f4" if dtype == "F32" else "u1"))
        found = refusal(adapter.write(tmp_path / "adapter"), base)
        assert "adapter_model.safetensors" in found
        assert name in found
        return found

    q, experts = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.experts"
    assert "[rank, 64]" in with_tensor(f"{q}.lora_A.weight", 4, 65)
    assert "[128, 4]" in with_tensor(f"{q}.lora_B.weight", 128, 5)
    assert "a matrix of" in with_tensor(f"{q}.lora_A.weight", 4, 64, dtype="U8")
    assert "a matrix of" in with_tensor(f"{q}.lora_A.weight", 0, 64)
    assert "rank * 4" in with_tensor(f"{experts}.lora_B.weight", 64, 9)
    assert "does not belong" in with_tensor(f"{experts}.lora_A.weight", 8, 33)
    assert "cannot be merged" in with_tensor("model.embed_tokens.lora_embedding_A", 4, 320)
    assert "cannot be merged" in with_tensor(f"{q}.lora_magnitude_vector", 128)
    assert "no lora_B" in with_tensor("model.layers.1.self_attn.q_proj.lora_A.weight", 4, 64)
    assert "no lora_A" in with_tensor("model.layers.1.self_attn.q_proj.lora_B.weight", 128, 4)


def test_layers_and_modules_that_the_base_lacks_are_named(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base")
    for layer, module in ((7, "self_attn.q_proj"), (0, "mlp.gate_proj"), (1, "mlp.experts.down_projs.9")):
        adapter = Adapter(SHAPE)
        adapter.linear(layer, module, "x", SHAPE.hidden, SHAPE.intermediate, 1.0)
        found = refusal(adapter.write(tmp_path / "adapter"), base)
        assert "does not belong" in found
        assert f"layers.{layer}.{module}" in found


def test_pickled_adapters_are_not_opened(tmp_path: Path) -> None:
    folder = full().write(tmp_path / "adapter")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "Save the adapter as safetensors" in refusal(folder, write_checkpoint(tmp_path / "base"))


def test_names_with_the_adapters_own_name_in_them(tmp_path: Path) -> None:
    content = tensors(SHAPE)
    base = write_checkpoint(tmp_path / "base", content=content)
    adapter = full()
    adapter.tensors = {name.replace(".weight", ".default.weight"): entry for name, entry in adapter.tensors.items()}
    check(adapter, adapter.write(tmp_path / "adapter"), base, content)
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"] == 4
    write_safetensors(tmp_path / "adapter" / "adapter_model.safetensors", {})
    with pytest.raises(AssertionError):  # the control: without its tensors nothing is added
        check(adapter, tmp_path / "adapter", base, content)
