"""Whether a GGUF file says what a gpt-oss model must say, before llama.cpp sees it: some nonsense ends its process.

Shapes of tensors are compared with these numbers by llama.cpp itself, and what does not fit is refused there. Here is
what it takes for granted (found by mutating files: see tests/soak). Standard library only.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from inglenook_convert.gguf_format import ValueType
from inglenook_convert.headers import GgufSummary, HeaderError, shown

ARCHITECTURE = "gpt-oss"
_MOST_TOKENS = 1 << 24
_COUNTS = {  # key: least and most
    "block_count": (1, 512),
    "context_length": (256, _MOST_TOKENS),  # the cells that llama.cpp allocates at least
    "embedding_length": (1, 1 << 18),
    "attention.head_count": (1, 4096),
    "attention.head_count_kv": (1, 4096),
    "attention.key_length": (1, 4096),
    "attention.value_length": (1, 4096),
    "attention.sliding_window": (1, _MOST_TOKENS),
    "expert_count": (1, 512),
    "expert_used_count": (1, 512),
    "expert_feed_forward_length": (1, 1 << 18),
}
_MAY_LACK = {"attention.key_length", "attention.value_length"}  # older files: hidden size / heads
_REALS = {
    "attention.layer_norm_rms_epsilon": (0.0, 1.0),
    "rope.freq_base": (1.0, 1e12),
    "rope.scaling.factor": (1e-3, 1e6),
    "rope.scaling.yarn_beta_fast": (0.0, 1e6),
    "rope.scaling.yarn_beta_slow": (0.0, 1e6),
}
_ALWAYS_F32 = (".bias", "_norm.weight", "attn_sinks.weight")
_NO_WEIGHTS = ("Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64")  # types that nothing is multiplied with
_TOKENS, _MERGES, _KINDS = (f"tokenizer.ggml.{name}" for name in ("tokens", "merges", "token_type"))
_NORMAL, _UNUSED = 1, 5  # kinds of tokens; see llama_token_type in llama.h
# What byte-level BPE writes bytes with: the printable ones of Latin-1 as they are, the others from 256 on.
_ALPHABET = frozenset(map(chr, (*range(33, 127), *range(161, 173), *range(174, 324))))


def check_known(path: Path, summary: GgufSummary) -> None:
    """Raises `HeaderError` if the file, whose header is `summary`, is not a gpt-oss model's, or not a usable one.

    Of a model in several files, `path` is the first one.
    """
    if summary.architecture != ARCHITECTURE:
        _refuse(path, f"its architecture is {shown(summary.architecture)}, and this program runs {ARCHITECTURE}")
    _check_numbers(path, summary)
    _check_types(path, summary)
    _check_vocabulary(path, summary)


def _check_numbers(path: Path, summary: GgufSummary) -> None:
    counts: dict[str, int] = {}
    for key, (least, most) in _COUNTS.items():
        value = summary.values.get(f"{ARCHITECTURE}.{key}")
        if value is None and key in _MAY_LACK:
            continue
        if type(value) is not int or not least <= value <= most:
            _refuse(path, f"{key} is {shown(value)}")
        counts[key] = value
    for key, (low, high) in _REALS.items():
        real = summary.values.get(f"{ARCHITECTURE}.{key}")
        if real is not None and (type(real) is not float or not math.isfinite(real) or not low <= real <= high):
            _refuse(path, f"{key} is {shown(real)}")
    scaling = summary.values.get(f"{ARCHITECTURE}.rope.scaling.type", "none")
    if scaling not in ("none", "linear", "yarn"):
        _refuse(path, f"rope.scaling.type is {shown(scaling)}")
    heads, kv_heads = counts["attention.head_count"], counts["attention.head_count_kv"]
    head = counts["embedding_length"] // heads
    key_length, value_length = (counts.get(f"attention.{name}_length", head) for name in ("key", "value"))
    if heads % kv_heads:
        _refuse(path, f"{heads} attention heads cannot share {kv_heads}")
    if key_length != value_length or key_length % 2:
        _refuse(path, f"keys and values of {key_length} and {value_length} elements are none of {ARCHITECTURE}")
    if counts["expert_used_count"] > counts["expert_count"]:
        _refuse(path, f"{counts['expert_used_count']} of {counts['expert_count']} experts cannot be used")


def _check_types(path: Path, summary: GgufSummary) -> None:
    for tensor in summary.tensors:
        kind = tensor.kind.name
        if kind in _NO_WEIGHTS or (kind != "F32" and tensor.name.endswith(_ALWAYS_F32)):
            _refuse(path, f"the tensor {shown(tensor.name)} has the type {kind}")


def _check_vocabulary(path: Path, summary: GgufSummary) -> None:
    model = summary.values.get("tokenizer.ggml.model")
    if model != "gpt2":
        _refuse(path, f"its tokenizer is {shown(model)}")
    tokens, merges, kinds = (summary.arrays.get(key) for key in (_TOKENS, _MERGES, _KINDS))
    if tokens is None or tokens.kind is not ValueType.STRING or not 256 <= tokens.count <= _MOST_TOKENS:
        _refuse(path, "it has no vocabulary")
    if merges is None or merges.kind is not ValueType.STRING:
        _refuse(path, "it has no merges")
    if kinds is None or kinds.kind is not ValueType.INT32 or kinds.count != tokens.count:
        _refuse(path, "it does not say of which kind each token is")
    if not merges.shortest:
        _refuse(path, "a merge is empty")
    try:
        with path.open("rb") as file:
            file.seek(kinds.start)
            kind_of = struct.unpack(f"<{kinds.count}i", file.read(kinds.end - kinds.start))
            file.seek(tokens.start)
            texts = list(_strings(file.read(tokens.end - tokens.start)))
    except (OSError, struct.error) as error:  # the file was whole when its header was read
        raise HeaderError(f"{path} cannot be read any more: {error}. Check its disk, and try again.") from None
    if len(set(texts)) != len(texts):
        _refuse(path, "a token occurs twice")
    normal = b"\n".join(text for text, kind in zip(texts, kind_of, strict=True) if kind in (_NORMAL, _UNUSED))
    special = b"\n".join(text for text, kind in zip(texts, kind_of, strict=True) if kind not in (_NORMAL, _UNUSED))
    try:
        known = set(normal.decode("utf-8")) <= _ALPHABET | {"\n"}
        special.decode("utf-8")
    except UnicodeDecodeError:
        _refuse(path, "a token is not valid UTF-8")
    if not known:
        _refuse(path, "a token is not written as byte-level BPE writes it")
    for name in ("bos", "eos", "padding", "unknown", "eot"):
        token = summary.values.get(f"tokenizer.ggml.{name}_token_id", 0)
        if type(token) is not int or not 0 <= token < tokens.count:
            _refuse(path, f"{name}_token_id is {shown(token)}")


def _strings(raw: bytes) -> Iterator[bytes]:
    at = 0
    unpack = struct.Struct("<Q").unpack_from
    while at < len(raw):
        end = at + 8 + unpack(raw, at)[0]
        yield raw[at + 8 : end]
        at = end


def _refuse(path: Path, what: str) -> NoReturn:
    raise HeaderError(f"{path} is not a usable model: {what}. Get the file again or choose another.")
