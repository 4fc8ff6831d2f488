"""The metadata of the GGUF: what llama.cpp needs to compute, and what people and programs show. Standard library only.

Keys and types are those of llama.cpp's own converter (conversion/base.py and gguf-py's metadata.py, at the commit in
llama-cpp-python 0.3.36). The exceptions:

- `general.name`, `basename` and `size_label` keep the model's own spelling and its nominal size (there: "Gpt Oss 20b");
  `general.finetune`, `version`, `base_model.*`, `dataset*`, `languages` and other particulars of the model card, and
  `general.sampling.*` of generation_config.json, are not written;
- `general.file_type` goes by the experts' type: MXFP4 is 38 whatever the rest is (there 7 with `--outtype q8_0`);
- `tokenizer.ggml.eos_token_id` is always `<|return|>`, `bos_token_id` and `padding_token_id` are gpt-oss's own, and
  `add_bos_token` and `add_eos_token` are false (there: what the files say, which in some fine-tunes is wrong);
- the rope scaling's `yarn_beta_fast` and `yarn_beta_slow` are always there;
- `tokenizer.chat_template` is always there: of several the default one, and ours if there is none.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from inglenook_convert import gguf_format as gguf
from inglenook_convert.checkpoint import Checkpoint
from inglenook_convert.config import Config
from inglenook_convert.errors import ConvertError
from inglenook_convert.gguf_format import KeyValue, TensorType, ValueType
from inglenook_convert.template import CHAT_TEMPLATE
from inglenook_convert.vocab import Vocabulary, is_unicode, parse_vocabulary

ARCHITECTURE = "gpt-oss"
DEMO_KEY = "inglenook.demo"  # bool: the file is the demo model that ships with Inglenook
_DEMO_NAME = "Inglenook Demo"
_ORIGINAL = "original"  # the folder in which OpenAI's repositories have the model in its first form
_QUANTIZATION_VERSION = 2
# llama_ftype, by the type of the experts: they are nine tenths of the file
_FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "BF16": 32, "MXFP4": 38}


def make_metadata(
    checkpoint: Checkpoint, config: Config, parameters: int, experts: TensorType = gguf.MXFP4
) -> list[KeyValue]:
    """All entries, in the order of the file. Raises `ConvertError`.

    `parameters` is the model's size in elements, `experts` the type of the experts' weights.
    """
    checkpoint = _with_surroundings(checkpoint)
    tokenizer = checkpoint.json("tokenizer.json")
    if tokenizer is None:
        raise ConvertError(
            f"{checkpoint.folder} has no tokenizer.json. Get the model again with all its files; for a folder original/"
            " put the tokenizer.json of its model into it or into the folder above it."
        )
    vocabulary = parse_vocabulary(tokenizer, config.vocabulary)
    return [
        *_general(checkpoint, config, parameters),
        *_architecture(config),
        _count("general.file_type", _FILE_TYPES[experts.name]),
        _count("general.quantization_version", _QUANTIZATION_VERSION),
        *_tokenizer(vocabulary, chat_template(checkpoint)),
    ]


def model_name(checkpoint: Checkpoint, config: Config) -> str:
    """For people: from the configuration, or the folder (in the Hub's cache, one around it has the name)."""
    if config.is_demo:
        return _DEMO_NAME
    given = checkpoint.config.get("_name_or_path")
    if checkpoint.adapter is None and isinstance(given, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", given):
        return given.split("/")[1]
    folder = checkpoint.folder.absolute()
    if folder.name == _ORIGINAL:
        folder = folder.parent
    if folder.parent.name == "snapshots":
        folder = folder.parent.parent.with_name(folder.parent.parent.name.rsplit("--", 1)[-1])
    return folder.name.encode("utf-8", "replace").decode() or ARCHITECTURE


def chat_template(checkpoint: Checkpoint) -> str:
    """From tokenizer_config.json, where it may be one or a list by name, else chat_template.jinja, else our own."""
    settings = checkpoint.json("tokenizer_config.json") or {}
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = [item for item in template if isinstance(item, dict) and item.get("name") == "default"]
        template = named[0].get("template") if named else None
    if not isinstance(template, str) or not template:
        template = checkpoint.text("chat_template.jinja") or CHAT_TEMPLATE
    if not is_unicode(template):
        raise ConvertError("tokenizer_config.json: the chat template is not valid Unicode. Get the file again.")
    return template


def _with_surroundings(checkpoint: Checkpoint) -> Checkpoint:
    """Tokenizer, template and model card of a folder `original/` are in the folder around it, which is the model's."""
    if checkpoint.folder.absolute().name != _ORIGINAL:
        return checkpoint
    return replace(checkpoint, others=(*checkpoint.others, checkpoint.folder.absolute().parent))


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
    ]


def _tokenizer(vocabulary: Vocabulary, template: str) -> list[KeyValue]:
    return [
        _text("tokenizer.ggml.model", "gpt2"),
        _text("tokenizer.ggml.pre", vocabulary.pre_tokenizer),
        KeyValue("tokenizer.ggml.tokens", ValueType.STRING, vocabulary.tokens),
        KeyValue("tokenizer.ggml.token_type", ValueType.INT32, vocabulary.types),
        KeyValue("tokenizer.ggml.merges", ValueType.STRING, vocabulary.merges),
        _count("tokenizer.ggml.bos_token_id", vocabulary.bos),
        _count("tokenizer.ggml.eos_token_id", vocabulary.eos),
        _count("tokenizer.ggml.padding_token_id", vocabulary.padding),
        KeyValue("tokenizer.ggml.add_bos_token", ValueType.BOOL, False),
        KeyValue("tokenizer.ggml.add_eos_token", ValueType.BOOL, False),
        _text("tokenizer.chat_template", template),
    ]


def _model_card(checkpoint: Checkpoint) -> dict[str, Any]:
    """`license` and `tags` of the front matter of README.md: the two forms of YAML that model cards use for them."""
    try:
        card = checkpoint.text("README.md") or ""
    except ConvertError:  # nothing in it is needed
        return {}
    front = re.match(r"---\r?\n(.*?)\r?\n---", card, re.DOTALL)
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
