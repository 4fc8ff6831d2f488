from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.converter.checkpoints import Shape, config

from inglenook_convert.config import is_original, parse_config
from inglenook_convert.errors import ConvertError


def test_published_form() -> None:
    parsed = parse_config(config(Shape(hidden=64, intermediate=96)))
    assert (parsed.hidden, parsed.intermediate, parsed.experts, parsed.experts_used) == (64, 96, 4, 2)
    assert (parsed.rope_base, parsed.rope_factor, parsed.rope_original_context) == (150000.0, 32.0, 4096)
    assert not parsed.is_demo


def test_rope_parameters_of_transformers_5() -> None:
    old = config(Shape())
    new = {key: value for key, value in old.items() if not key.startswith("rope")}
    new["rope_parameters"] = {**old["rope_scaling"], "rope_theta": old["rope_theta"]}
    assert parse_config(new) == parse_config(old)


def test_fallbacks_of_older_configurations() -> None:
    old = config(Shape())
    other = {**old, "experts_per_token": old["num_experts_per_tok"], "initial_context_length": 4096}
    del other["num_experts_per_tok"]
    other["rope_scaling"] = {k: v for k, v in old["rope_scaling"].items() if not k.startswith("original")}
    assert parse_config(other) == parse_config(old)


def original(shape: Shape) -> dict[str, Any]:
    return config(shape, "original")


def test_original() -> None:
    assert is_original(original(Shape()))
    assert not is_original(config(Shape()))
    assert parse_config(original(Shape())) == parse_config(config(Shape()))
    other = parse_config({**original(Shape()), "rope_ntk_alpha": 2, "rope_ntk_beta": 16, "rope_scaling_factor": 8.5})
    assert (other.rope_beta_slow, other.rope_beta_fast, other.context) == (2.0, 16.0, 34816)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rope_scaling_factor": 1e29}, "max_position_embeddings"),
        ({"rope_scaling_factor": "32"}, "rope_scaling_factor"),
        ({"initial_context_length": 0}, "initial_context_length"),
        ({"rope_ntk_beta": -1}, "beta_fast"),
        ({"num_experts": 0}, "num_local_experts"),
        ({"swiglu_limit": 8.0}, "swiglu_limit"),
    ],
)
def test_original_with_nonsense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConvertError, match=words):
        parse_config({**original(Shape()), **changes})


def test_an_unquantized_checkpoint() -> None:
    plain = {key: value for key, value in config(Shape()).items() if key != "quantization_config"}
    assert parse_config(plain) == parse_config({**plain, "quantization_config": None}) == parse_config(config(Shape()))


def test_demo_mark() -> None:
    assert parse_config({**config(Shape()), "inglenook_demo": True}).is_demo


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "llama"}, "llama"),
        ({"model_type": None}, "model_type"),
        ({"swiglu_limit": 10.0}, "swiglu_limit"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "bitsandbytes"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "yarn"),
        ({"rope_scaling": None}, "yarn"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 32.0, "attention_factor": 1.0}}, "attention_factor"),
        ({"rope_scaling": [1]}, "yarn"),
        ({"architectures": ["GptOssForSequenceClassification"]}, "GptOssForCausalLM"),
        ({"architectures": "GptOssForCausalLM" * 1000}, "GptOssForCausalLM"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"quantization_config": "fp8"}, "fp8"),
        ({"layer_types": 3}, "layer_types"),
        ({"head_dim": 33}, "head_dim"),
        ({"num_experts_per_tok": 5}, "5 of 4 experts"),
        ({"num_key_value_heads": 3}, "key-value heads"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"intermediate_size": 1 << 40}, "intermediate_size"),
        ({"num_attention_heads": None}, "num_attention_heads"),
        ({"head_dim": [[]]}, "head_dim"),
        ({"sliding_window": "128"}, "sliding_window"),
        ({"vocab_size": 1 << 24}, "vocab_size"),
        ({"rope_theta": 10**400}, "rope_theta"),
        ({"rms_norm_eps": 1e-300}, "rms_norm_eps"),
        ({"rms_norm_eps": False}, "rms_norm_eps"),
        ({"hidden_size": 64.0}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_local_experts": True}, "num_local_experts"),
        ({"vocab_size": -1}, "vocab_size"),
        ({"rms_norm_eps": "1e-5"}, "rms_norm_eps"),
        ({"rope_theta": float("nan")}, "rope_theta"),
    ],
)
def test_what_cannot_be_converted_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConvertError) as caught:
        parse_config({**config(Shape()), **changes})
    assert words in str(caught.value)
    assert "config.json" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_every_refusal_says_what_to_do() -> None:
    for changes in ({"quantization_config": {"quant_method": "awq"}}, {"tie_word_embeddings": True}, {"model_type": 1}):
        with pytest.raises(ConvertError, match=r"Get the model without|Save the model again|For other models use"):
            parse_config({**config(Shape()), **changes})


def deeply(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@settings(max_examples=300)
@given(
    changes=st.dictionaries(
        st.sampled_from([*config(Shape()), *original(Shape()), "rope_parameters"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just(deeply(900)),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["factor", "rope_type", "quant_method", "rope_theta"]), inner)
            ),
        ),
        min_size=1,
        max_size=3,
    ),
    start=st.sampled_from([config(Shape()), original(Shape())]),
)
def test_anything_is_parsed_or_refused_in_one_line(start: dict[str, Any], changes: dict[str, Any]) -> None:
    try:
        parsed = parse_config({**start, **changes})
    except ConvertError as error:
        assert "config.json" in str(error)  # noqa: PT017
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    else:
        assert all(0 < size <= 1 << 48 for size in parsed.dimensions().values())
