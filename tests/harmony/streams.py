"""Token streams for the parser's tests, and what they must always keep to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import openai_harmony as oh

from inglenook.core.events import PartDelta, PartEnded, PartStarted
from inglenook.core.messages import Part, PreamblePart, ReasoningPart, TextPart, ToolCallPart
from inglenook.harmony.parse import Parser

MARKUP = re.compile(r"(<\|[a-z0-9_]+\|>)")
CHANNEL_OF = {
    TextPart: "final", ReasoningPart: "reasoning", PreamblePart: "preamble", ToolCallPart: "tool_call",
}  # fmt: skip
CONTROL = ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>",
           "<|endoftext|>", "<|reserved_200013|>"]  # fmt: skip
FORMAT_WORDS = ["assistant", "analysis", "comment", "ary", "final", " to", "=", "functions", ".x", "json", "user",
                "Hello", " ", "\n", "{", "?"]  # fmt: skip


class Vocabulary:
    """Ids and bytes of the real vocabulary."""

    def __init__(self, encoding: oh.HarmonyEncoding, specials: Mapping[str, int]) -> None:
        self._encoding = encoding
        self.specials = specials
        self.names = {token_id: name for name, token_id in specials.items()}
        self._pieces: dict[int, bytes] = {}

    def ids(self, stream: str) -> list[int]:
        """Tokens of a stream written as text, in which `<|name|>` is the control token."""
        out: list[int] = []
        for piece in MARKUP.split(stream):
            out += [self.specials[piece]] if piece in self.specials else self.text(piece)
        return out

    def text(self, text: str) -> list[int]:
        """Tokens of ordinary text."""
        return self._encoding.encode(text, disallowed_special=())

    def piece(self, token_id: int) -> bytes:
        """The bytes of a token; none for an id that the vocabulary lacks."""
        found = self._pieces.get(token_id)
        if found is None:
            found = self._pieces[token_id] = self._bytes(token_id)
        return found

    def _bytes(self, token_id: int) -> bytes:
        if token_id in self.names:
            return self.names[token_id].encode()
        try:
            return bytes(self._encoding._inner.decode_bytes([token_id]))
        except (oh.HarmonyError, OverflowError):
            return b""


def parse(vocabulary: Vocabulary, ids: Sequence[int], recipients: Sequence[str] = ()) -> Parser:
    """The parser after `ids`, its events checked against its parts."""
    parser = Parser(vocabulary.specials, recipients)
    events = [e for i in ids for e in parser.feed(i, vocabulary.piece(i))]
    events += parser.finish()
    check(parser, events)
    return parser


def check(parser: Parser, events: Sequence[object]) -> None:
    """Parts start in order, one at a time, end once, and are what their deltas say."""
    told: list[tuple[str, str, list[str]]] = []
    is_open = False
    for event in events:
        match event:
            case PartStarted(index, channel, name):
                assert not is_open
                assert index == len(told)
                assert bool(name) == (channel == "tool_call")
                told.append((channel, name, []))
                is_open = True
            case PartDelta(index, text):
                assert is_open
                assert index == len(told) - 1
                assert text
                text.encode()
                told[-1][2].append(text)
            case PartEnded(index):
                assert is_open
                assert index == len(told) - 1
                is_open = False
    assert not is_open
    assert [(c, n, "".join(t)) for c, n, t in told] == [
        (CHANNEL_OF[type(p)], p.name if isinstance(p, ToolCallPart) else "", said(p)) for p in parser.parts
    ]


def said(part: Part) -> str:
    """The text of a part."""
    return part.arguments if isinstance(part, ToolCallPart) else part.text


def finals(parser: Parser) -> str:
    """All final text."""
    return "".join(p.text for p in parser.parts if isinstance(p, TextPart))


def visible(parser: Parser) -> list[str]:
    """What a person reads without unfolding anything."""
    return [finals(parser), *(p.text for p in parser.parts if isinstance(p, PreamblePart))]
