"""What fits: everything if it can, else whole last turns, else an error with the numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.chat.context import answer_room, fit, most_tokens
from inglenook.core.errors import UserError
from inglenook.core.messages import Message, ReasoningPart, Role, TextPart, user
from inglenook.core.prompt import Ids, Prompt, Segment, Special, Text
from inglenook.harmony.render import render


def count(segments: Sequence[Segment]) -> int:
    """A tokenizer with one token for each word."""
    return sum(
        len(s.text.split()) if isinstance(s, Text) else len(s.ids) if isinstance(s, Ids) else 1 for s in segments
    )


def assistant(text: str) -> Message:
    return Message(Role.ASSISTANT, (ReasoningPart("hm"), TextPart(text)))


def turns(*lengths: int) -> Prompt:
    """Each turn is a question and its answer of so many words; the last question has no answer yet."""
    messages: list[Message] = []
    for i, length in enumerate(lengths):
        messages += [user(f"q{i} " + "w " * length), assistant(f"a{i} " + "w " * length)]
    return Prompt((*messages, user("last")), date="2026-11-22", instructions="Be brief.")


def texts(segments: Sequence[Segment]) -> str:
    return " ".join(s.text for s in segments if isinstance(s, Text))


def test_all_that_fits_is_sent_without_asking_the_engine() -> None:
    def no_count(_: Sequence[Segment]) -> int:
        raise AssertionError("need not be counted")

    prompt = turns(5, 5)
    assert fit(prompt, 4096, "v", no_count) == render(prompt, "v")


def test_a_prompt_of_many_bytes_is_counted_and_kept_if_it_fits() -> None:
    prompt = turns(900)
    assert most_tokens(render(prompt)) > 4096 - answer_room(4096)
    assert fit(prompt, 4096, "", count) == render(prompt)


@settings(deadline=None)
@given(st.lists(st.integers(0, 400), max_size=12), st.integers(300, 3000))
def test_the_fewest_oldest_turns_go(lengths: list[int], n_ctx: int) -> None:
    prompt = turns(*lengths)
    limit = n_ctx - answer_room(n_ctx)
    found = texts(fit(prompt, n_ctx, "", count))
    kept = [i for i in range(len(lengths)) if f"q{i} " in found]
    assert kept == list(range(len(lengths) - len(kept), len(lengths))), "the newest, without gaps"
    assert all((f"a{i} " in found) == (i in kept) for i in range(len(lengths))), "whole turns"
    assert "last" in found
    assert "Be brief." in found

    def size(first: int) -> int:
        return count(render(Prompt(prompt.messages[2 * first :], date=prompt.date, instructions=prompt.instructions)))

    first = len(lengths) - len(kept)
    assert size(first) <= limit
    assert first == 0 or size(first - 1) > limit, "one more turn would not have fitted"


def test_a_message_that_alone_is_too_long_is_refused_with_the_numbers() -> None:
    prompt = Prompt((user("early"), assistant("x"), user("w " * 5000)))
    with pytest.raises(UserError) as raised:
        fit(prompt, 2048, "", count)
    arguments = dict(raised.value.info.arguments)
    assert int(arguments["tokens"]) > 5000
    assert arguments["limit"] == str(2048 - answer_room(2048))
    assert arguments["n_ctx"] == "2048"
    with pytest.raises(UserError):
        fit(Prompt((user("w " * 5000),)), 2048, "", count)


def test_most_tokens_is_an_upper_bound_of_bytes() -> None:
    assert most_tokens((Special("<|start|>"), Text("aé"), Ids((1, 2, 3)))) == 1 + 3 + 3
