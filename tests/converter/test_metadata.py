import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
from tests.converter.checkpoints import write_checkpoint

from inglenook_convert import gguf_format, metadata, tensor_types
from inglenook_convert.checkpoint import open_checkpoint
from inglenook_convert.config import parse_config
from inglenook_convert.errors import ConvertError
from inglenook_convert.template import CHAT_TEMPLATE


def values_of(folder: Path, parameters: int = 20_914_757_184, **options: gguf_format.TensorType) -> dict[str, Any]:
    checkpoint = open_checkpoint(folder)
    entries = metadata.make_metadata(checkpoint, parse_config(checkpoint.config), parameters, **options)
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
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
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
        ({"chat_template": [{"name": ["default"]}, {"name": "tools", "template": "t"}, 1]}, "{{ messages }}"),
        ({"chat_template": {"default": "d"}}, "{{ messages }}"),
        ({"chat_template": None}, "{{ messages }}"),
    ],
)
def test_chat_template(tmp_path: Path, settings: dict[str, Any], expected: str) -> None:
    folder = write_checkpoint(tmp_path / "x")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert values_of(folder)["tokenizer.chat_template"] == expected


def test_without_any_template_it_is_our_own(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "x")
    (folder / "chat_template.jinja").unlink()
    assert values_of(folder)["tokenizer.chat_template"] == CHAT_TEMPLATE


def test_a_template_that_is_not_unicode(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "x")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "\ud800"}))
    with pytest.raises(ConvertError, match="chat template is not valid Unicode"):
        values_of(folder)


def test_without_a_tokenizer(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "x")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConvertError, match=r"has no tokenizer\.json.*original/") as caught:
        values_of(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("relative", [False, True])
def test_original_takes_them_from_the_folder_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    model = write_checkpoint(tmp_path / "gpt-oss-20b")
    (model / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    inner = write_checkpoint(model / "original")
    for name in ("tokenizer.json", "chat_template.jinja"):
        (inner / name).unlink()
    monkeypatch.chdir(inner)
    values = values_of(Path() if relative else inner)
    assert values["general.name"] == "gpt-oss-20b"
    assert values["general.license"] == "apache-2.0"
    assert values["tokenizer.chat_template"] == "{{ messages }}"
    assert values["tokenizer.ggml.pre"] == "gpt-4o"


def test_original_by_itself_keeps_its_own(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "gpt-oss-20b")
    inner = write_checkpoint(tmp_path / "gpt-oss-20b" / "original")
    (inner / "chat_template.jinja").write_text("own")
    assert values_of(inner)["tokenizer.chat_template"] == "own"


def test_other_folders_take_nothing_from_around_them(tmp_path: Path) -> None:
    inner = write_checkpoint(write_checkpoint(tmp_path / "x") / "checkpoint-500")
    (inner / "tokenizer.json").unlink()
    with pytest.raises(ConvertError, match=r"no tokenizer\.json"):
        values_of(inner)


def test_a_model_card_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "x")
    (folder / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
    assert "general.license" not in values_of(folder)


def test_the_file_type_goes_by_the_experts(tmp_path: Path) -> None:
    theirs = {kind.name.removeprefix("MOSTLY_").removeprefix("ALL_"): kind.value for kind in gguf.LlamaFileType}
    folder = write_checkpoint(tmp_path / "x")
    for kind in tensor_types.EXPERTS.values():
        expected = theirs["MXFP4_MOE" if kind.name == "MXFP4" else kind.name]
        assert values_of(folder, experts=kind)["general.file_type"] == expected


def test_an_adapter_is_not_named_after_its_base(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "tales", changes={"_name_or_path": "openai/gpt-oss-20b"})
    base = open_checkpoint(folder)
    config = parse_config(base.config)
    assert metadata.model_name(base, config) == "gpt-oss-20b"
    assert metadata.model_name(replace(base, adapter={}), config) == "tales"
