"""The exact stream of an answer, for the raw view: every token, also those that the parser repairs or drops."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class RawKind(StrEnum):
    """What a token is."""

    CONTROL = "control"
    TEXT = "text"
    UNKNOWN = "unknown"  # an id that the vocabulary does not have


@dataclass(frozen=True, slots=True)
class RawToken:
    r"""One token. `text` is what to show of it.

    A character of several tokens stands at the one that completes it; bytes that are no character are written `\xff`,
    an unknown id as `[id]`. A control token's name and the same letters in ordinary text differ in `kind` only.
    """

    id: int
    kind: RawKind
    text: str


def raw(tokens: Iterable[tuple[int, bytes]], specials: Mapping[str, int]) -> tuple[RawToken, ...]:
    """One `RawToken` for each of `tokens` (id, bytes), in their order; `specials`: ids of control tokens by name."""
    names = {token_id: name for name, token_id in specials.items()}
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    out: list[RawToken] = []
    for token_id, piece in tokens:
        if token_id in names or not piece:  # a character cut off by a control token belongs to the token before
            _append(out, decoder.decode(b"", True))
            decoder.reset()
        if token_id in names:
            out.append(RawToken(token_id, RawKind.CONTROL, names[token_id]))
        elif piece:
            out.append(RawToken(token_id, RawKind.TEXT, decoder.decode(piece)))
        else:
            out.append(RawToken(token_id, RawKind.UNKNOWN, f"[{token_id}]"))
    _append(out, decoder.decode(b"", True))
    return tuple(out)


def _append(out: list[RawToken], text: str) -> None:
    if text:
        out[-1] = RawToken(out[-1].id, out[-1].kind, out[-1].text + text)
