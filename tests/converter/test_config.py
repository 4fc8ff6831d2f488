from typing import Any

import pytest
from tests.converter.checkpoints import Shape, config

from inglenook_convert.config import parse_config
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
        ({"hidden_size": 65}, "multiple of 32"),
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
