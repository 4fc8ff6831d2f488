"""What is put into a running answer is what the model itself would write there, and can be taken up like it."""

from __future__ import annotations

import pytest
from tests.harmony.streams import parse

from inglenook.core.messages import ReasoningPart, TextPart
from inglenook.core.prompt import Special
from inglenook.harmony.inject import ANSWER_NOW
from inglenook.harmony.resume import Point, resume_point

THOUGHT = "We add 2 and 2, and that 是 🧩 4."
OWN = "<|end|><|start|>assistant<|channel|>final<|message|>"


@pytest.fixture
def put_in(vocabulary) -> list[int]:
    return [
        token_id
        for segment in ANSWER_NOW
        for token_id in (
            [vocabulary.specials[segment.name]] if isinstance(segment, Special) else vocabulary.text(segment.text)
        )
    ]


def test_it_is_written_as_the_model_writes_it(vocabulary, put_in):
    assert put_in == vocabulary.ids(OWN)


def test_within_the_analysis_at_every_token(vocabulary, put_in):
    """At the end of each character: the engine waits for that."""
    head, thought = vocabulary.ids("<|channel|>analysis<|message|>"), vocabulary.text(THOUGHT)
    answer = vocabulary.ids("It is 4.<|return|>")
    for count in range(1, len(thought) + 1):
        said = b"".join(vocabulary.piece(i) for i in thought[:count]).decode("utf-8", "replace")
        if said.endswith("\ufffd"):
            continue
        ids = [*head, *thought[:count], *put_in, *answer]
        parser = parse(vocabulary, ids)
        assert parser.malformed == 0
        assert parser.parts == (ReasoningPart(said), TextPart("It is 4."))
        cut = ids[:-1]
        parts = parse(vocabulary, cut).parts
        assert resume_point(cut, parts, vocabulary.specials) == Point(tuple(cut), parts, inside=True)
