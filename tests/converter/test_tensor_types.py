import pytest
from tests.converter.checkpoints import Shape, config

from inglenook_convert import gguf_format as gguf
from inglenook_convert.config import parse_config
from inglenook_convert.tensor_map import Role, slots
from inglenook_convert.tensor_types import DEFAULT, EXPERTS, OTHERS, Types, types_of


def kinds(types: Types) -> dict[str, str]:
    """The type of each tensor of a one-layer model, by name without the layer."""
    return {slot.key: types.of(slot).name for slot in slots(parse_config(config(Shape(layers=1))))}


def test_each_kind_of_weights_has_its_own_type() -> None:
    found = kinds(types_of("q4_1", "q5_0", ("f16", "bf16", "q8_0"), "best"))
    assert found["token_embd.weight"] == "BF16"
    assert found["output.weight"] == "Q8_0"
    assert {found[f"attn_{name}.weight"] for name in ("q", "k", "v", "output")} == {"F16"}
    assert {found[f"ffn_{name}_exps.weight"] for name in ("gate", "up", "down")} == {"Q4_1"}


@pytest.mark.parametrize("name", EXPERTS)
def test_small_and_sensitive_tensors_are_f32_whatever_is_chosen(name: str) -> None:
    others = name if name in OTHERS else "q4_0"
    types = types_of(name, others, (None, None, None), "best")
    for slot in slots(parse_config(config(Shape()))):
        if slot.role is Role.EXACT:
            assert types.of(slot) is gguf.F32, slot.name
        else:
            assert types.of(slot).name.lower() == (name if slot.role is Role.EXPERTS else others)


def test_others_apply_where_nothing_special_was_said() -> None:
    types = types_of("mxfp4", "q4_0", (None, "q8_0", None), "ggml")
    assert types.names() == {"experts": "MXFP4", "attention": "Q4_0", "embedding": "Q8_0", "output": "Q4_0"}
    assert not types.best_mxfp4
    assert str(types) == "experts MXFP4, attention Q4_0, embedding Q8_0, output Q4_0"


def test_the_default_is_what_was_published() -> None:
    assert types_of("mxfp4", "q8_0", (None, None, None), "best") == DEFAULT
    assert str(DEFAULT) == "experts MXFP4, others Q8_0"
    assert "mxfp4" not in OTHERS
