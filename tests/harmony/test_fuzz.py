"""Random streams by the thousand; `make soak` makes a million of them (tests/soak/test_harmony_fuzz.py)."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Sequence

import pytest
from tests.harmony.streams import CONTROL, MARKUP, Vocabulary, check, said, visible
from tests.harmony.test_mutations import LIKE_HEADERS

from inglenook.core.events import HarmonyEvent
from inglenook.core.messages import PreamblePart, ReasoningPart, TextPart, ToolCallPart
from inglenook.harmony import header
from inglenook.harmony.parse import Parser

STREAMS = int(os.environ.get("INGLENOOK_STREAMS", "12000"))
SEED = int(os.environ.get("INGLENOOK_SEED", "1"))
RECIPIENTS = ("functions.x", "functions.find", "python")
# No word of the format is in these, and no piece of one: what of it is shown comes from a header.
WORDS = ["Oslo", " rain", " 4", "7.", "\n", " 日本", "é", "🧩", " sky", "!", " {", "}", " **b**", " `q`", " go"]
FORMAT = re.compile(r"assistant|analysis|commentary|final|json|functions|<\|")
FINALS = ["<|channel|>final<|message|>", "<|channel|>final <|constrain|>json<|message|>"]
Ids = list[int]


class Speaker:
    """Makes good streams, and knows what they say."""

    def __init__(self, vocabulary: Vocabulary, likely: Ids, seed: int) -> None:
        self.random = random.Random(seed)
        self._likely = likely
        self._tokens: dict[str, Ids] = {}
        self._vocabulary = vocabulary

    def ids(self, stream: str) -> Ids:
        """Tokens of short pieces, kept: tokenizing is slower than parsing."""
        out: Ids = []
        for piece in filter(None, MARKUP.split(stream)):
            if piece not in self._tokens:
                self._tokens[piece] = self._vocabulary.ids(piece)
            out += self._tokens[piece]
        return out

    def words(self, most: int = 8) -> str:
        return "".join(self.random.choices(WORDS, k=self.random.randint(1, most))).strip() or "4"

    def text(self, text: str) -> Ids:
        return self._vocabulary.text(text)

    def any_token(self) -> int:
        return self.random.choice(self._likely) if self.random.random() < 0.7 else self.random.randrange(201_200)

    def before(self) -> Ids:
        """Reasoning and preambles, from after `<|start|>assistant` up to another one."""
        out: Ids = []
        for _ in range(self.random.randint(0, 3)):
            channel = self.random.choice(["analysis", "analysis", "commentary"])
            out += [*self.ids(f"<|channel|>{channel}<|message|>"), *self.text(self.words())]
            out += self.ids("<|end|><|start|>assistant")
        return out

    def final(self) -> tuple[Ids, Ids, Ids, str]:
        """Tokens before the answer, of it and after it; the answer."""
        answer = self.words() if self.random.random() < 0.8 else self.random.choice(LIKE_HEADERS)
        before = [*self.before(), *self.ids(self.random.choice(FINALS))]
        return before, self.text(answer), self.ids("<|return|>"), answer

    def call(self) -> Ids:
        arguments = self.text(f'{{"q": "{self.words()}"}}')
        forms = ["<|channel|>commentary to=functions.x <|constrain|>json<|message|>",
                 " to=functions.find<|channel|>commentary <|constrain|>json<|message|>",
                 "<|channel|>analysis to=python code<|message|>"]  # fmt: skip
        return [*self.before(), *self.ids(self.random.choice(forms)), *arguments, *self.ids("<|call|>")]

    def mutated(self, ids: Ids, times: int, places: Sequence[int] | None = None) -> Ids:
        """`ids` with tokens inserted, changed or removed; `places`: where."""
        out = list(ids)
        for _ in range(times):
            at = self.random.choice(places) if places else self.random.randrange(len(out) + 1)
            match self.random.randrange(3):
                case 0:
                    out.insert(at, self.any_token())
                case 1:
                    out[at : at + 1] = [self.any_token()]
                case _:
                    del out[at : at + 1]
        return out


def listen(vocabulary: Vocabulary, ids: Ids) -> tuple[Parser, list[HarmonyEvent]]:
    """The parser after `ids`, and its events; its header never grows beyond its bounds."""
    parser = Parser(vocabulary.specials, RECIPIENTS)
    events: list[HarmonyEvent] = []
    for i in ids:
        events += parser.feed(i, vocabulary.piece(i))
        if (reading := parser._header) is not None and not reading.is_gap:
            assert reading._size <= header.LONGEST + 200  # and a token's bytes
            assert len(reading._fields) <= 2 + header._MOST_FIELDS
    events += parser.finish()
    check(parser, events)
    return parser, events


def leaks(parser: Parser, spelled: str) -> list[str]:
    """Control tokens that are shown and that no ordinary token spells."""
    return [name for part in parser.parts for name in CONTROL if name in said(part) and name not in spelled]


def spell(vocabulary: Vocabulary, ids: Ids) -> str:
    return b"".join(vocabulary.piece(i) for i in ids if i not in vocabulary.names).decode("utf-8", "replace")


def truth(vocabulary: Vocabulary, ids: Ids) -> tuple[tuple[type, str], ...]:
    """What a good stream says, found by splitting at its control tokens: another way than the parser's."""
    out = []
    for message in "".join(_spelled(vocabulary, ids)).split("<|start|>"):
        head, _, body = message.partition("<|message|>")
        text = re.split(r"<\|(?:end|return|call)\|>", body)[0]
        kind = next((k for word, k in {"to=": ToolCallPart, "final": TextPart, "commentary": PreamblePart}.items()
                     if word in head), ReasoningPart)  # fmt: skip
        out.append((kind, text))
    return tuple(out)


def _spelled(vocabulary: Vocabulary, ids: Ids) -> list[str]:
    return [b"".join(vocabulary.piece(i) for i in ids).decode("utf-8", "replace")]


def test_a_million_streams(vocabulary, likely):
    """`STREAMS` of them: four kinds in turn. Each cut of a stream counts as one."""
    speaker, counts = Speaker(vocabulary, likely, SEED), Counter()
    while counts.total() < STREAMS:
        ids = [speaker.any_token() for _ in range(speaker.random.randint(0, 60))]
        parser, _ = listen(vocabulary, ids)
        assert not leaks(parser, spell(vocabulary, ids)), ids
        counts["random"] += 1

        before, answer, end, text = speaker.final()
        full = [*before, *answer, *end]
        outside = [i for i in range(len(full) + 1) if not len(before) < i < len(before) + len(answer)]
        wrong = one_wrong(speaker, full, len(before), len(before) + len(answer), outside)
        parser, _ = listen(vocabulary, wrong)
        assert any(text in shown for shown in visible(parser)), (wrong, parser.parts)
        counts["one wrong token outside the answer"] += 1

        good = full if speaker.random.random() < 0.6 else speaker.call()
        many = speaker.mutated(good, speaker.random.randint(1, 5))
        parser, _ = listen(vocabulary, many)
        assert not leaks(parser, spell(vocabulary, many)), many
        counts["several wrong tokens"] += 1

        if speaker.random.random() < 0.05:
            counts["cuts of a good stream"] += cut_everywhere(vocabulary, good)
        if speaker.random.random() < 0.03:
            for i in range(len(many)):
                listen(vocabulary, many[:i])
                counts["cuts of a wrong stream"] += 1
    print(f"{counts.total()} streams, seed {SEED}: {dict(counts)}")


def one_wrong(speaker: Speaker, full: Ids, begin: int, end: int, outside: list[int]) -> Ids:
    """`full` with one token inserted, changed or removed, but none of `begin:end`."""
    at = speaker.random.choice(outside)
    if begin <= at < end or at == len(full) or speaker.random.random() < 0.4:
        return [*full[:at], speaker.any_token(), *full[at:]]
    return [*full[:at], *[speaker.any_token() for _ in range(speaker.random.randrange(2))], *full[at + 1 :]]


def cut_everywhere(vocabulary: Vocabulary, good: Ids) -> int:
    """Parses each beginning of a good stream: what it shows is a beginning of what was said, and no format."""
    told = [(kind, text) for kind, text in truth(vocabulary, good) if text]
    for i in range(len(good) + 1):
        parser, _ = listen(vocabulary, good[:i])
        got = [(type(part), said(part)) for part in parser.parts]
        for (kind, text), (said_kind, whole) in zip(got, told, strict=False):
            assert kind is said_kind, (good[:i], got)
            assert whole.startswith(text.rstrip("\ufffd")), (good[:i], got)
        assert len(got) <= len(told), (good[:i], got)
    assert got == told
    assert parser.malformed == 0
    return len(good) + 1


@pytest.mark.parametrize("harm", ["markup", "lost"])
def test_those_checks_can_fail(vocabulary, likely, harm):
    speaker = Speaker(vocabulary, likely, 3)
    good = speaker.call()
    if harm == "markup":
        parser, _ = listen(vocabulary, [*vocabulary.ids("<|channel|>final<|message|>"), *vocabulary.text("<|end|>")])
        assert leaks(parser, "") == ["<|end|>"]
    else:
        with pytest.raises(AssertionError):
            cut_everywhere(vocabulary, [*good[:-4], *vocabulary.ids("<|return|>"), *good[-4:]])


def test_format_words_are_not_shown_for_one_wrong_token(vocabulary, likely):
    """Nothing of a header is shown in what a person reads, whichever of its tokens is wrong."""
    speaker, shown = Speaker(vocabulary, likely, SEED), 0
    for _ in range(STREAMS // 10):
        before = [*speaker.before(), *speaker.ids(speaker.random.choice(FINALS))]
        answer = speaker.words()
        full = [*before, *speaker.text(answer), *speaker.ids("<|return|>")]
        at, other = speaker.random.randrange(len(before)), speaker.any_token()
        if FORMAT.search(spell(vocabulary, [other])) or other in vocabulary.text("ary"):
            continue
        wrong = speaker.random.choice([[*full[:at], other, *full[at:]], [*full[:at], *full[at + 1 :]],
                                       [*full[:at], other, *full[at + 1 :]]])  # fmt: skip
        parser, _ = listen(vocabulary, wrong)
        if "<|message|>json<|message|>" in _spelled(vocabulary, wrong)[0]:
            continue  # see test_the_type_is_shown_where_the_header_ended_before_it
        assert not any(FORMAT.search(text) for text in visible(parser)), _spelled(vocabulary, wrong)
        shown += 1
    assert shown > 100


def test_the_type_is_shown_where_the_header_ended_before_it(vocabulary):
    """The one exception: `json` came as the answer's first word, and was shown before more could be known of it."""
    stream = "<|channel|>final <|message|>json<|message|>{}<|return|>"
    parser, _ = listen(vocabulary, vocabulary.ids(stream))
    assert parser.parts == (TextPart("json{}"),)
