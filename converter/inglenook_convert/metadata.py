"""The metadata of the GGUF: what llama.cpp needs to compute, and what people and programs show. Standard library only.

Keys and types as in the published gpt-oss files.
"""

from __future__ import annotations

import re
from typing import Any

from inglenook_convert.checkpoint import Checkpoint
from inglenook_convert.config import Config
from inglenook_convert.errors import ConvertError
from inglenook_convert.gguf_format import KeyValue, ValueType
from inglenook_convert.vocab import Vocabulary, parse_vocabulary

ARCHITECTURE = "gpt-oss"
DEMO_KEY = "inglenook.demo"  # bool: the file is the demo model that ships with Inglenook
_DEMO_NAME = "Inglenook Demo"
_MOSTLY_MXFP4_MOE = 38  # llama_ftype
_QUANTIZATION_VERSION = 2


def make_metadata(checkpoint: Checkpoint, config: Config, parameters: int) -> list[KeyValue]:
    """All entries, in the order of the file. `parameters` is the model's size in elements. Raises `ConvertError`."""
    tokenizer = checkpoint.json("tokenizer.json")
    if tokenizer is None:
        raise ConvertError(f"{checkpoint.folder} has no tokenizer.json. Get it again with all its files.")
    vocabulary = parse_vocabulary(tokenizer, config.vocabulary)
    return [
        *_general(checkpoint, config, parameters),
        *_architecture(config),
        *_tokenizer(vocabulary, chat_template(checkpoint)),
    ]


def model_name(checkpoint: Checkpoint, config: Config) -> str:
    """For people: from the configuration, or the folder (in the Hub's cache, its parent has the name)."""
    if config.is_demo:
        return _DEMO_NAME
    given = checkpoint.config.get("_name_or_path")
    if isinstance(given, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", given):
        return given.split("/")[1]
    folder = checkpoint.folder.absolute()
    if folder.parent.name == "snapshots":
        return folder.parent.parent.name.rsplit("--", 1)[-1]
    return folder.name or "gpt-oss"


def chat_template(checkpoint: Checkpoint) -> str | None:
    """From tokenizer_config.json, where it may be one or a list by name, else from chat_template.jinja."""
    settings = checkpoint.json("tokenizer_config.json") or {}
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
        template = named.get("default")
    return template if isinstance(template, str) and template else checkpoint.text("chat_template.jinja")


def _general(checkpoint: Checkpoint, config: Config, parameters: int) -> list[KeyValue]:
    name = model_name(checkpoint, config)
    size = re.search(r"\d+(?:\.\d+)?[BM]\b", name, re.IGNORECASE)
    label = size.group().upper() if size else _size_label(parameters)
    basename = name[: size.start()].rstrip("-_. ") if size else name
    entries = [
        _text("general.architecture", ARCHITECTURE),
        _text("general.type", "model"),
        _text("general.name", name),
        _text("general.basename", basename or ARCHITECTURE),
        _text("general.size_label", label),
    ]
    card = _model_card(checkpoint)
    if isinstance(license_name := card.get("license"), str):
        entries.append(_text("general.license", license_name))
    if isinstance(tags := card.get("tags"), list):
        entries.append(KeyValue("general.tags", ValueType.STRING, tuple(tags)))
    if config.is_demo:
        entries.append(KeyValue(DEMO_KEY, ValueType.BOOL, True))
    return entries


def _architecture(config: Config) -> list[KeyValue]:
    counts = {
        "block_count": config.layers,
        "context_length": config.context,
        "embedding_length": config.hidden,
        "feed_forward_length": config.intermediate,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.sliding_window": config.window,
        "expert_count": config.experts,
        "expert_used_count": config.experts_used,
        "expert_feed_forward_length": config.intermediate,
        "rope.scaling.original_context_length": config.rope_original_context,
    }
    reals = {
        "attention.layer_norm_rms_epsilon": config.norm_epsilon,
        "rope.freq_base": config.rope_base,
        "rope.scaling.factor": config.rope_factor,
        "rope.scaling.yarn_beta_fast": config.rope_beta_fast,
        "rope.scaling.yarn_beta_slow": config.rope_beta_slow,
    }
    return [
        *(_count(f"{ARCHITECTURE}.{key}", value) for key, value in counts.items()),
        *(KeyValue(f"{ARCHITECTURE}.{key}", ValueType.FLOAT32, value) for key, value in reals.items()),
        _text(f"{ARCHITECTURE}.rope.scaling.type", "yarn"),
        _count("general.file_type", _MOSTLY_MXFP4_MOE),
        _count("general.quantization_version", _QUANTIZATION_VERSION),
    ]


def _tokenizer(vocabulary: Vocabulary, template: str | None) -> list[KeyValue]:
    entries = [
        _text("tokenizer.ggml.model", "gpt2"),
        _text("tokenizer.ggml.pre", vocabulary.pre_tokenizer),
        KeyValue("tokenizer.ggml.tokens", ValueType.STRING, vocabulary.tokens),
        KeyValue("tokenizer.ggml.token_type", ValueType.INT32, vocabulary.types),
        KeyValue("tokenizer.ggml.merges", ValueType.STRING, vocabulary.merges),
        _count("tokenizer.ggml.bos_token_id", vocabulary.bos),
        _count("tokenizer.ggml.eos_token_id", vocabulary.eos),
        _count("tokenizer.ggml.padding_token_id", vocabulary.padding),
    ]
    return entries if template is None else [*entries, _text("tokenizer.chat_template", template)]


def _model_card(checkpoint: Checkpoint) -> dict[str, Any]:
    """`license` and `tags` of the front matter of README.md: the two forms of YAML that model cards use for them."""
    front = re.match(r"---\r?\n(.*?)\r?\n---", checkpoint.text("README.md") or "", re.DOTALL)
    if not front:
        return {}
    found: dict[str, Any] = {}
    if license_line := re.search(r"^license: *([\w.-]+) *\r?$", front.group(1), re.MULTILINE):
        found["license"] = license_line.group(1)
    if tag_lines := re.search(r"^tags: *\r?\n((?: *- .*(?:\n|$))+)", front.group(1), re.MULTILINE):
        found["tags"] = [line.strip().removeprefix("- ").strip("\"' ") for line in tag_lines.group(1).splitlines()]
    return found


def _size_label(parameters: int) -> str:
    if parameters >= 1_000_000_000:
        return f"{round(parameters / 1e9)}B"
    return f"{max(1, round(parameters / 1e6))}M"


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key, ValueType.STRING, value)


def _count(key: str, value: int) -> KeyValue:
    return KeyValue(key, ValueType.UINT32, value)
