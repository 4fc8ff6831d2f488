"""A good stream in which one token outside the final text is wrong must still show that text whole."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.harmony.streams import finals, parse, visible

from inglenook.harmony.header import LONGEST

FINAL = "The answer is **4**. 日本語 🧩 `x` final to=you"
STREAMS = {
    "final alone": "<|channel|>final<|message|>",
    "analysis": "<|channel|>analysis<|message|>We add two.<|end|><|start|>assistant<|channel|>final<|message|>",
    "preamble": "<|channel|>analysis<|message|>We add.<|end|><|start|>assistant<|channel|>commentary<|message|>I look."
    "<|end|><|start|>assistant<|channel|>final<|message|>",
    "format": "<|channel|>analysis<|message|>We add.<|end|>"
    "<|start|>assistant<|channel|>final <|constrain|>json<|message|>",
    "long reasoning": "<|channel|>analysis<|message|>" + "We add. " * 40
    + "<|end|><|start|>assistant<|channel|>final<|message|>",
}  # fmt: skip

# Answers that begin as a header does, or are nothing but a word of it: the hardest to tell from one.
LIKE_HEADERS = [
    "final", " final", "final answer: 4", "Finally, 4", "finalize it", "analysis", "analysis of it",
    "analysisfinal yes",
    "assistant", "assistant is 4", "commentary", "commentary on it", "user", "user: 4", "system is", "tool", "json",
    "json {}", "json\n{}", "code", "code {x}", "to=you it is", " to=you", "to=functions.x {}", "functions.x",
    "functions.x to=assistant", "functions.x", "{\"a\": 1}", "[1]", "=4", "ary", "l", "4", "\n4",
    "final answer: " + "4 and " * LONGEST, "to=functions.x " + "{}" * LONGEST, "json " + "{} " * LONGEST,
]  # fmt: skip


def mutations(before: list[int], final: list[int], end: int, others: list[int], near: int = 60) -> Iterator[list[int]]:
    """Streams with one token inserted, changed or removed outside of `final`.

    Of more than `near` places not all are taken, but those at the beginning and before the answer.
    """
    full = [*before, *final, end]
    inside = range(len(before), len(before) + len(final))
    places = [i for i in range(len(full) + 1) if i not in inside or i == len(before)]
    for i in places if len(places) <= near else [*places[: near // 3], *places[near // -2 :]]:
        for other in others:
            yield [*full[:i], other, *full[i:]]
        if i < len(full) and i not in inside:
            yield [*full[:i], *full[i + 1 :]]
            for other in others:
                yield [*full[:i], other, *full[i + 1 :]]


@pytest.mark.parametrize("name", STREAMS)
def test_one_wrong_token_outside_the_answer_does_not_harm_it(name, vocabulary, likely):
    before, final = vocabulary.ids(STREAMS[name]), vocabulary.text(FINAL)
    seed = random.Random(name)
    others = [*likely, *(seed.randrange(200_000) for _ in range(5))]
    for ids in mutations(before, final, vocabulary.specials["<|return|>"], others):
        shown = visible(parse(vocabulary, ids))
        assert any(FINAL in text for text in shown), (shown, b"".join(map(vocabulary.piece, ids)))


@pytest.mark.parametrize("answer", LIKE_HEADERS, ids=lambda a: repr(a[:24]))
def test_nor_an_answer_that_looks_like_a_header(answer, vocabulary, likely):
    """No word of an answer is taken for the format, be it all that a header could begin with."""
    for name in ("final alone", "format"):
        before, final = vocabulary.ids(STREAMS[name]), vocabulary.text(answer)
        for ids in mutations(before, final, vocabulary.specials["<|return|>"], likely, near=12):
            shown = visible(parse(vocabulary, ids, ["functions.x", "you"]))
            assert any(answer in text for text in shown), (shown, b"".join(map(vocabulary.piece, ids)))


def test_a_wrong_token_within_the_answer_is_noticed_by_that_check(vocabulary):
    """Negative control: the same look at a stream whose answer is changed, and at one that tells nothing, fails."""
    before, final = vocabulary.ids(STREAMS["analysis"]), vocabulary.text(FINAL)
    assert FINAL in finals(parse(vocabulary, before + final))
    assert FINAL not in finals(parse(vocabulary, before + final[:3] + final[4:]))
    assert FINAL not in finals(parse(vocabulary, vocabulary.ids("<|channel|>analysis<|message|>") + final))


def test_two_wrong_tokens_may_harm_it(vocabulary):
    """What the rule costs: with `<|message|>` missing, and one more wrong, words of the format may be shown or lost."""
    stream = "<|channel|>final to=functions.x{}<|return|>"  # a call on the wrong channel, or an answer?
    assert visible(parse(vocabulary, vocabulary.ids(stream))) == [" to=functions.x{}"]


@pytest.mark.parametrize("blank", [" ", "\n"])
def test_an_answer_of_blanks_is_none(blank, vocabulary):
    """The one exception: where a header was harmed, blanks alone are not an answer."""
    assert visible(parse(vocabulary, vocabulary.ids(f"<|channel|>final{blank}<|return|>"))) == [""]
