"""Prompt segments to token ids, such that text can never become a control token.

llama.cpp finds the literals of some control tokens (`<|start|>`, `<|channel|>`, ...) in any text, even when told not to
parse them. So literals are cut before they are encoded, and what comes out is checked.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from typing import Protocol

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.core.prompt import Ids, Segment, Special, Text

# llama.cpp splits text into words by a recursive std::regex: some hundred thousand letters, blanks or signs in a row
# overflow the stack and end the process. Longer runs than this are cut; ordinary text has none.
LONGEST_RUN = 4096
_RUNS = re.compile(
    rf"[^\W\d_]{{{LONGEST_RUN}}}|(?:[^\w\s]|_){{{LONGEST_RUN}}}|\s{{{LONGEST_RUN}}}",
)

# llama.cpp compiles that expression anew in each call: 1.6 ms, whatever the length. A prompt has many short texts, and
# the same ones in each turn, so their ids are kept.
KEPT_BYTES = 16 << 20


class Encoder(Protocol):
    """What is needed of a vocabulary."""

    n_vocab: int

    @property
    def specials(self) -> Mapping[str, int]:
        """Control tokens by text."""
        ...

    def encode(self, data: bytes) -> list[int]:
        """Ids of UTF-8 text."""
        ...


class Tokenizer:
    """Turns segments into ids of one vocabulary."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._specials = encoder.specials
        self._control = frozenset(self._specials.values())
        literals = "|".join(re.escape(s) for s in sorted(self._specials, key=len, reverse=True) if s)
        self._literal = re.compile(f"(?=({literals}))") if literals else None
        self._kept: dict[str, array[int]] = {}  # the one used last comes last
        self._kept_bytes = 0

    def tokenize(self, segments: Sequence[Segment]) -> list[int]:
        """Ids of all segments in turn. Raises `UserError` for a special or id that the vocabulary has not."""
        ids: list[int] = []
        for segment in segments:
            match segment:
                case Special(name):
                    if name not in self._specials:
                        raise UserError(
                            N_("This model has no token {name}. Choose a gpt-oss model: Inglenook runs no others."),
                            name=name,
                        )
                    ids.append(self._specials[name])
                case Text(text):
                    ids += self.text(text)
                case Ids(raw):
                    if raw and not 0 <= min(raw) <= max(raw) < self._encoder.n_vocab:
                        raise UserError(N_("This conversation was made with another kind of model. Start a new chat."))
                    ids += raw
        return ids

    def text(self, text: str) -> list[int]:
        """Ids of ordinary text; none is a control token. Halves of surrogate pairs that stand alone become U+FFFD."""
        whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        ids: list[int] = []
        start = 0
        for end in (*self._cuts(whole), len(whole)):
            if end > start:
                ids += self._part(whole[start:end])
                start = end
        return ids

    def _cuts(self, text: str) -> list[int]:
        """Where to cut `text`: in each literal, between `<|` and the word, and in very long runs."""
        cuts = [match.end() for match in _RUNS.finditer(text)] if len(text) > LONGEST_RUN else []
        if self._literal:
            found = self._literal.finditer(text)
            cuts += [m.start() + (2 if len(m.group(1)) > 2 else 1) for m in found]
        return sorted(cuts)

    def _part(self, part: str) -> Sequence[int]:
        """Ids of a piece without whole literals, perhaps from an earlier call."""
        ids = self._kept.pop(part, None)
        if ids is None:
            ids = array("i", self._encode(part))
            self._kept_bytes += _size(part, ids)
        self._kept[part] = ids
        while self._kept_bytes > KEPT_BYTES:
            oldest = next(iter(self._kept))
            self._kept_bytes -= _size(oldest, self._kept.pop(oldest))
        return ids

    def _encode(self, part: str) -> list[int]:
        ids = self._encoder.encode(part.encode())
        if self._control.isdisjoint(ids):
            return ids
        if len(part) > 1:  # a vocabulary with other habits: whole literals cannot survive this
            return [i for character in part for i in self._part(character)]
        return [i for i in ids if i not in self._control]


def _size(part: str, ids: array[int]) -> int:
    return 200 + 4 * len(part) + ids.itemsize * len(ids)  # with what the objects themselves take
