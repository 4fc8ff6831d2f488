import json
from pathlib import Path
from typing import Any

import pytest
from tests.converter.checkpoints import write_checkpoint

from inglenook_convert import metadata
from inglenook_convert.checkpoint import open_checkpoint
from inglenook_convert.config import parse_config
from inglenook_convert.errors import ConvertError


def values_of(folder: Path, parameters: int = 20_914_757_184) -> dict[str, Any]:
    checkpoint = open_checkpoint(folder)
    entries = metadata.make_metadata(checkpoint, parse_config(checkpoint.config), parameters)
    assert len({entry.key for entry in entries}) == len(entries)
    return {entry.key: entry.value for entry in entries}


def test_every_key_of_the_published_files_is_there(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "gpt-oss-20b")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- vllm\n- 'mine'\nother: 1\n---\n# Title\n")
    values = values_of(folder)
    tokens = values.pop("tokenizer.ggml.tokens")
    types = values.pop("tokenizer.ggml.token_type")
    assert len(tokens) == len(types) == 320
    assert tokens[values.pop("tokenizer.ggml.bos_token_id")] == "<|startoftext|>"
    assert tokens[values.pop("tokenizer.ggml.eos_token_id")] == "<|return|>"
    assert tokens[values.pop("tokenizer.ggml.padding_token_id")] == "<|endoftext|>"
    assert values == {
        "general.architecture": "gpt-oss",
        "general.type": "model",
        "general.name": "gpt-oss-20b",
        "general.basename": "gpt-oss",
        "general.size_label": "20B",
        "general.license": "apache-2.0",
        "general.tags": ("vllm", "mine"),
        "general.file_type": 38,
        "general.quantization_version": 2,
        "gpt-oss.block_count": 2,
        "gpt-oss.context_length": 131072,
        "gpt-oss.embedding_length": 64,
        "gpt-oss.feed_forward_length": 96,
        "gpt-oss.attention.head_count": 4,
        "gpt-oss.attention.head_count_kv": 2,
        "gpt-oss.attention.key_length": 32,
        "gpt-oss.attention.value_length": 32,
        "gpt-oss.attention.layer_norm_rms_epsilon": 1e-5,
        "gpt-oss.attention.sliding_window": 128,
        "gpt-oss.expert_count": 4,
        "gpt-oss.expert_used_count": 2,
        "gpt-oss.expert_feed_forward_length": 96,
        "gpt-oss.rope.freq_base": 150000.0,
        "gpt-oss.rope.scaling.type": "yarn",
        "gpt-oss.rope.scaling.factor": 32.0,
        "gpt-oss.rope.scaling.original_context_length": 4096,
        "gpt-oss.rope.scaling.yarn_beta_fast": 32.0,
        "gpt-oss.rope.scaling.yarn_beta_slow": 1.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-4o",
        "tokenizer.ggml.merges": ("a b",),
        "tokenizer.chat_template": "{{ messages }}",
    }


def test_the_demo_says_so_and_others_do_not(tmp_path: Path) -> None:
    values = values_of(write_checkpoint(tmp_path / "x", changes={"inglenook_demo": True}))
    assert values["general.name"] == "Inglenook Demo"
    assert values["inglenook.demo"] is True
    assert "inglenook.demo" not in values_of(write_checkpoint(tmp_path / "y"))


def test_names(tmp_path: Path) -> None:
    cached = tmp_path / "models--openai--gpt-oss-120b" / "snapshots" / "0123abc"
    assert values_of(write_checkpoint(cached))["general.name"] == "gpt-oss-120b"
    given = write_checkpoint(tmp_path / "x", changes={"_name_or_path": "someone/gpt-oss-20b-tales"})
    assert values_of(given)["general.name"] == "gpt-oss-20b-tales"
    assert values_of(given)["general.size_label"] == "20B"
    plain = values_of(write_checkpoint(tmp_path / "my tune"))
    assert (plain["general.name"], plain["general.basename"], plain["general.size_label"]) == ("my tune",) * 2 + (
        "21B",
    )
    assert values_of(tmp_path / "my tune", 2_600_000)["general.size_label"] == "3M"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "{{ messages }}"),
        ({"chat_template": "own"}, "own"),
        ({"chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]}, "d"),
        ({"chat_template": None}, "{{ messages }}"),
    ],
)
def test_chat_template(tmp_path: Path, settings: dict[str, Any], expected: str) -> None:
    folder = write_checkpoint(tmp_path / "x")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert values_of(folder)["tokenizer.chat_template"] == expected


def test_without_any_template_there_is_no_key(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "x")
    (folder / "chat_template.jinja").unlink()
    assert "tokenizer.chat_template" not in values_of(folder)


def test_without_a_tokenizer(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "x")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConvertError, match=r"no tokenizer\.json"):
        values_of(folder)
