"""A stream that is cut anywhere, taken up at its resume point and fed the rest says what the whole stream says."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests.harmony.streams import parse, said

from inglenook.core.messages import Part, ReasoningPart, TextPart, ToolCallPart
from inglenook.harmony.parse import Parser
from inglenook.harmony.resume import Point, resume_point

HEAD = "<|channel|>analysis<|message|>We add.<|end|><|start|>assistant"
STREAMS = {
    "final alone": "<|channel|>final<|message|>It is 4. 日本語 🧩 done<|return|>",
    "analysis": HEAD + "<|channel|>final<|message|>It is **4**.<|return|>",
    "preamble": HEAD + "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant"
    "<|channel|>final <|constrain|>json<|message|>[4]<|return|>",
    "call": HEAD + '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 2}<|call|>',
    "no markup": "It is 4.<|return|>",
}


@dataclass
class Cut:
    """What is kept of a stream: ids up to a whole character, and the parts that they say."""

    ids: list[int]
    parts: tuple[Part, ...]
    good: int


def cut(vocabulary, ids: list[int]) -> Cut:
    parser, whole, good = Parser(vocabulary.specials), 0, 0
    for i, token_id in enumerate(ids, 1):
        parser.feed(token_id, vocabulary.piece(token_id))
        whole = i if parser.is_whole else whole
        good = i if parser.is_good else good
    return Cut(ids[:whole], parse(vocabulary, ids[:whole]).parts, good)


@pytest.mark.parametrize("name", STREAMS)
def test_cut_at_every_token(name, vocabulary):
    ids = vocabulary.ids(STREAMS[name])
    whole = parse(vocabulary, ids).parts
    for k in range(len(ids)):
        kept = cut(vocabulary, ids[:k])
        if name == "no markup" and not kept.parts:
            continue
        point = resume_point(kept.ids, kept.parts, vocabulary.specials)
        if point is None:  # a header without end, taken for text: `final` alone, say
            assert len(kept.parts) > sum(i == vocabulary.specials["<|message|>"] for i in kept.ids)
            continue
        assert list(point.ids) == ids[: len(point.ids)]
        parser = Parser(vocabulary.specials)
        parser.resume(point.parts, inside=point.inside)
        for token_id in ids[len(point.ids) :]:
            parser.feed(token_id, vocabulary.piece(token_id))
        parser.finish()
        assert parser.parts == whole, k
        assert parser.malformed <= parse(vocabulary, ids).malformed
        assert parser.answered


@pytest.mark.parametrize("name", [name for name in STREAMS if name != "no markup"])
def test_every_token_of_a_good_stream_but_those_of_headers_is_good(name, vocabulary):
    ids = vocabulary.ids(STREAMS[name])
    names = vocabulary.names
    parser = Parser(vocabulary.specials)
    good = []
    for token_id in ids[:-1]:
        parser.feed(token_id, vocabulary.piece(token_id))
        good.append(parser.is_good)
    text = False
    for i, token_id in enumerate(ids[:-1]):
        if token_id in names:
            text = names[token_id] == "<|message|>"
            assert good[i] == (names[token_id] == "<|end|>")
        elif text and vocabulary.piece(token_id).isascii():
            assert good[i]
        elif vocabulary.piece(token_id) != b"assistant":
            assert not good[i] or text


@pytest.mark.parametrize(
    ("stream", "good"),
    [
        ("<|channel|>??<|message|>Hello<|return|>", 0),
        (HEAD + "<|channel|>??<|message|>Hello<|return|>", None),
        (HEAD + "<|channel|>commentary?<|message|>Hello<|return|>", None),
        ("<|channel|>analysis<|message|>We<|return|>", 4),
        ("<|return|>", 0),
    ],
)
def test_nothing_after_what_is_malformed_is_good(stream, good, vocabulary):
    ids = vocabulary.ids(stream)
    expected = len(vocabulary.ids(HEAD)) if good is None else good
    assert cut(vocabulary, ids).good == expected


@pytest.mark.parametrize(
    "stream",
    [
        "<|channel|>analysis<|message|>We add.<|channel|>final<|message|>4",
        "<|channel|>final<|message|>4<|return|><|start|>assistant<|channel|>final<|message|>5",
        "<|start|>user<|message|>Hi<|end|><|start|>assistant<|channel|>final<|message|>4",
    ],
)
def test_a_malformed_stream_has_no_resume_point(stream, vocabulary):
    ids = vocabulary.ids(stream)
    assert resume_point(ids, parse(vocabulary, ids).parts, vocabulary.specials) is None


def test_nothing_yet(vocabulary):
    assert resume_point([], (), vocabulary.specials) == Point()
    header = vocabulary.ids("<|channel|>analysis<|message|>")
    assert resume_point(header, (), vocabulary.specials) == Point()


def test_resumed_parts_are_known(vocabulary):
    """The control: without them the same tokens say something else."""
    rest = vocabulary.ids(" 3}<|call|>")
    parts = (ReasoningPart("We add."), ToolCallPart("functions.add", '{"a":'))
    parser = Parser(vocabulary.specials)
    parser.resume(parts, inside=True)
    assert not parser.answered
    assert parser.is_inside
    for token_id in rest:
        parser.feed(token_id, vocabulary.piece(token_id))
    parser.finish()
    assert [said(p) for p in parser.parts] == ["We add.", '{"a": 3}']
    assert parser.answered
    assert parse(vocabulary, rest).parts == (TextPart(" 3}"),)
