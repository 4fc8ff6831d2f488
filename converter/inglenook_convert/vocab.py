"""tokenizer.json to the vocabulary of a GGUF: tokens, their types, merges, and the special tokens by their text.

Standard library only. The pre-tokenizer is recognised by its regular expression, since llama.cpp has it under a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inglenook_convert.errors import ConvertError

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # ggml's token types

BOS, EOS, PADDING = "<|startoftext|>", "<|return|>", "<|endoftext|>"

_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_O200K = "|".join(
    (
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_CONTRACTION}",
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_CONTRACTION}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
PRE_TOKENIZERS = {_O200K: "gpt-4o"}  # regular expression -> llama.cpp's name


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens by id with their types, merges as "left right", and ids of the special tokens."""

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    pre_tokenizer: str
    bos: int
    eos: int
    padding: int


def parse_vocabulary(tokenizer: Mapping[str, Any], size: int) -> Vocabulary:
    """The vocabulary in tokenizer.json's object, padded to `size` tokens. Raises `ConvertError`."""
    model = tokenizer.get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise ConvertError("tokenizer.json: the model is not a BPE vocabulary, as gpt-oss has it.")
    tokens: list[str | None] = [None] * size
    types = [UNUSED] * size
    for text, number in model["vocab"].items():
        _place(tokens, number, text)
        types[number] = NORMAL
    for added in _dicts(tokenizer.get("added_tokens")):
        text, number = added.get("content"), added.get("id")
        _place(tokens, number, text)
        assert isinstance(number, int)
        types[number] = CONTROL if added.get("special") else USER_DEFINED
    ids = {text: number for number, text in enumerate(tokens) if text is not None}
    for special in (BOS, EOS, PADDING):
        if special not in ids or types[ids[special]] != CONTROL:
            raise ConvertError(f"tokenizer.json: the special token {special} is missing. It is not gpt-oss's own.")
    return Vocabulary(
        tokens=tuple(f"[PAD{number}]" if text is None else text for number, text in enumerate(tokens)),
        types=tuple(types),
        merges=tuple(_merge(merge) for merge in model.get("merges") or ()),
        pre_tokenizer=_pre_tokenizer(tokenizer.get("pre_tokenizer")),
        bos=ids[BOS],
        eos=ids[EOS],
        padding=ids[PADDING],
    )


def _place(tokens: list[str | None], number: object, text: object) -> None:
    if type(number) is not int or not isinstance(text, str):
        raise ConvertError(f"tokenizer.json: token {text!r} has no usable id ({number!r}).")
    if not 0 <= number < len(tokens):
        raise ConvertError(
            f"tokenizer.json: token {text!r} has id {number}, and the model has {len(tokens)} tokens."
            " Use the tokenizer that belongs to it."
        )
    if tokens[number] not in (None, text):
        raise ConvertError(f"tokenizer.json: id {number} belongs to both {tokens[number]!r} and {text!r}.")
    tokens[number] = text


def _merge(merge: object) -> str:
    """Older files have "left right", newer ones a pair."""
    if isinstance(merge, list) and len(merge) == 2 and all(isinstance(part, str) for part in merge):
        return " ".join(merge)
    if isinstance(merge, str) and merge.count(" ") == 1:
        return merge
    raise ConvertError(f"tokenizer.json: the merge {merge!r} is not a pair.")


def _pre_tokenizer(entry: object) -> str:
    steps = entry.get("pretokenizers", [entry]) if isinstance(entry, dict) else []
    for step in _dicts(steps):
        pattern = step.get("pattern")
        if step.get("type") == "Split" and isinstance(pattern, dict) and pattern.get("Regex") in PRE_TOKENIZERS:
            return PRE_TOKENIZERS[pattern["Regex"]]
    raise ConvertError(
        "tokenizer.json: the pre-tokenizer is not that of gpt-oss. Use the tokenizer that belongs to it."
    )


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
