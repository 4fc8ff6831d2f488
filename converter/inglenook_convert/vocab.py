"""tokenizer.json to the vocabulary of a GGUF: tokens, their types, merges, and the special tokens by their text.

Standard library only. The pre-tokenizer is recognised by its regular expression, since llama.cpp has it under a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import shown

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
_PAIRS = re.compile(r"(?:[^ \n]+ [^ \n]+(?:\n|\Z))+")
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
        types[number] = CONTROL if added.get("special") is True else USER_DEFINED
    padded = tuple(f"[PAD{number}]" if text is None else text for number, text in enumerate(tokens))
    ids = {text: number for number, text in enumerate(padded)}
    if len(ids) < size:  # llama.cpp would abort
        twice = next(text for number, text in enumerate(padded) if ids[text] != number)
        raise ConvertError(f"tokenizer.json: token {shown(twice)} has several ids. Get the file again.")
    for special in (BOS, EOS, PADDING):
        if special not in ids or types[ids[special]] != CONTROL:
            raise ConvertError(
                f"tokenizer.json: the special token {special} is missing, so it is not that of gpt-oss."
                " Use the tokenizer that belongs to the model."
            )
    return Vocabulary(
        tokens=padded,
        types=tuple(types),
        merges=_merges(model.get("merges")),
        pre_tokenizer=_pre_tokenizer(tokenizer.get("pre_tokenizer")),
        bos=ids[BOS],
        eos=ids[EOS],
        padding=ids[PADDING],
    )


def _place(tokens: list[str | None], number: object, text: object) -> None:
    if type(number) is not int or not isinstance(text, str):
        raise ConvertError(f"tokenizer.json: token {shown(text)} has no usable id ({shown(number)}).")
    if not 0 <= number < len(tokens):
        raise ConvertError(
            f"tokenizer.json: token {shown(text)} has id {number}, and the model has {len(tokens)} tokens."
            " Use the tokenizer that belongs to it."
        )
    if tokens[number] not in (None, text):
        raise ConvertError(f"tokenizer.json: id {number} belongs to both {shown(tokens[number])} and {shown(text)}.")
    if not is_unicode(text):
        raise ConvertError(f"tokenizer.json: token {shown(text)} is not valid Unicode. Get the file again.")
    tokens[number] = text


def is_unicode(text: str) -> bool:
    """Whether `text` can stand in a GGUF: JSON can also say half a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _merges(value: object) -> tuple[str, ...]:
    """Each as "left right": so they are in older files; newer ones have pairs."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ConvertError(f"tokenizer.json: the merges are {shown(value)}, which is no list.")
    found = _good_pairs(value) or [_joined(merge) for merge in value]
    if not is_unicode("".join(found)):  # once for all: there are 446,000
        wrong = next(merge for merge in found if not is_unicode(merge))
        raise ConvertError(f"tokenizer.json: the merge {shown(wrong)} is not valid Unicode. Get the file again.")
    return tuple(found)


def _good_pairs(value: list[Any]) -> list[str]:
    """The merges if all are good pairs, as they nearly always are; else nothing. Ten times as fast as one by one."""
    if set(map(type, value)) != {list}:
        return []
    try:
        found = list(map(" ".join, value))
    except TypeError:
        return []
    lines = "\n".join(found)
    return found if lines.count("\n") == len(found) - 1 and _PAIRS.fullmatch(lines) else []


def _joined(merge: object) -> str:
    try:
        joined = " ".join(merge) if isinstance(merge, list) and len(merge) == 2 else merge
    except TypeError:
        joined = None
    # Tokens have no spaces in them: there a space is written as another letter.
    if isinstance(joined, str) and joined.count(" ") == 1 and joined[0] != " " != joined[-1]:
        return joined
    raise ConvertError(f"tokenizer.json: the merge {shown(merge)} is not a pair of tokens.")


def _pre_tokenizer(entry: object) -> str:
    steps = entry.get("pretokenizers", [entry]) if isinstance(entry, dict) else []
    for step in _dicts(steps):
        pattern = step.get("pattern")
        regex = pattern.get("Regex") if isinstance(pattern, dict) else None
        if step.get("type") == "Split" and isinstance(regex, str) and regex in PRE_TOKENIZERS:
            return PRE_TOKENIZERS[regex]
    raise ConvertError(
        "tokenizer.json: the pre-tokenizer is not that of gpt-oss. Use the tokenizer that belongs to the model."
    )


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
