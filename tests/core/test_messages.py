"""Messages as values: what counts as their text."""

from __future__ import annotations

from inglenook.core.messages import Message, PreamblePart, ReasoningPart, Role, TextPart


def test_an_answer_in_two_parts_reads_as_paragraphs() -> None:
    message = Message(Role.ASSISTANT, (ReasoningPart("hm"), TextPart("One."), TextPart(""), TextPart("Two.")))
    assert message.text == "One.\n\nTwo."
    assert message.reasoning == "hm"


def test_preambles_are_the_text_only_without_an_answer() -> None:
    assert Message(Role.ASSISTANT, (PreamblePart("I look."), PreamblePart("Again."))).text == "I look.\n\nAgain."
    assert Message(Role.ASSISTANT, (PreamblePart("I look."), TextPart("Here."))).text == "Here."
