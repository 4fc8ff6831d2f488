"""The demo model's vocabulary: the first ranks of o200k and harmony's control tokens, so that any text encodes.

The first `RANKS` ranks of o200k_base are closed under merging (every token is made of two of lower rank), so a cut at
any rank is a byte-level BPE of its own. The 21 control tokens follow in the order that they have in o200k_harmony
(199998 `<|startoftext|>` ... 200018 `<|endofprompt|>`), which makes 4096 tokens in all.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from inglenook.core.prompt import Ids, Segment, Special, Text

O200K_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
RANKS = 4075
SPECIALS = (
    "<|startoftext|>", "<|endoftext|>", "<|reserved_200000|>", "<|reserved_200001|>", "<|return|>", "<|constrain|>",
    "<|reserved_200004|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>", "<|reserved_200009|>",
    "<|reserved_200010|>", "<|reserved_200011|>", "<|call|>", "<|reserved_200013|>", "<|reserved_200014|>",
    "<|reserved_200015|>", "<|reserved_200016|>", "<|reserved_200017|>", "<|endofprompt|>",
)  # fmt: skip
SPECIAL_ID = {name: RANKS + i for i, name in enumerate(SPECIALS)}
VOCAB_SIZE = RANKS + len(SPECIALS)

# How o200k cuts text before merging (the pattern that llama.cpp calls "gpt-4o").
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K_PATTERN = "|".join(
    (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)


def load_ranks(file: Path) -> list[bytes]:
    """The first `RANKS` tokens of `o200k_base.tiktoken`, by rank; ValueError if the file is not that one."""
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != O200K_SHA256:
        raise ValueError(f"{file} is not o200k_base.tiktoken")
    tokens = [b""] * RANKS
    for line in data.splitlines():
        token, rank = line.split()
        if int(rank) < RANKS:
            tokens[int(rank)] = base64.b64decode(token)
    return tokens


def _byte_characters() -> list[str]:
    """GPT-2's printable character for each byte value."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(others)) for b in range(256)]


def _merges(ranks: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Every way to make a token of two others, by rank of the token: the list that transformers writes."""
    rank = {token: i for i, token in enumerate(ranks)}
    pairs: list[tuple[bytes, bytes]] = []
    for token in ranks:
        cuts = ((token[:i], token[i:]) for i in range(1, len(token)))
        pairs += sorted((c for c in cuts if c[0] in rank and c[1] in rank), key=lambda c: (rank[c[0]], rank[c[1]]))
    return pairs


def tokenizer_json(ranks: Sequence[bytes]) -> dict[str, Any]:
    """`tokenizer.json` of the Hugging Face tokenizers library."""
    characters = _byte_characters()

    def text(token: bytes) -> str:
        return "".join(characters[b] for b in token)

    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": O200K_PATTERN}, "behavior": "Isolated", "invert": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": name, **flags} for name, i in SPECIAL_ID.items()],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": {**byte_level, "trim_offsets": False, "use_regex": True},
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {text(token): i for i, token in enumerate(ranks)},
            "merges": [[text(a), text(b)] for a, b in _merges(ranks)],
        },
    }


class Encoder:
    """Segments to token ids and back, as the engine does it: only a `Special` becomes a control token."""

    def __init__(self, tokenizer: Mapping[str, Any]) -> None:
        without = {**tokenizer, "added_tokens": []}  # text is text, whatever it says
        self._tokenizer = Tokenizer.from_str(json.dumps(without))
        values = {character: byte for byte, character in enumerate(_byte_characters())}
        self.pieces = {i: bytes(values[c] for c in text) for text, i in without["model"]["vocab"].items()}
        self.pieces |= {i: name.encode() for name, i in SPECIAL_ID.items()}
        self._known: dict[str, tuple[int, ...]] = {}

    def text(self, text: str) -> tuple[int, ...]:
        """Ids of ordinary text (remembered: the training data repeats itself)."""
        if text not in self._known:
            self._known[text] = tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)
        return self._known[text]

    def ids(self, segments: Sequence[Segment]) -> list[int]:
        """Ids of a rendered prompt."""
        ids: list[int] = []
        for segment in segments:
            match segment:
                case Special(name):
                    ids.append(SPECIAL_ID[name])
                case Text(text):
                    ids.extend(self.text(text))
                case Ids(raw):
                    ids.extend(raw)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, control tokens by their names."""
        return b"".join(self.pieces[i] for i in ids).decode("utf-8", "replace")
