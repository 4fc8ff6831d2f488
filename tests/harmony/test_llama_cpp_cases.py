"""What llama.cpp's tests try of gpt-oss (tests/test-chat.cpp), as streams of our own with the behaviour that is ours.

Theirs leaves a preamble with the answer, and swallows calls of tools that nobody offered; we tell both.
"""

from __future__ import annotations

import pytest
from tests.harmony.streams import parse

from inglenook.core.messages import PreamblePart, ReasoningPart, TextPart, ToolCallPart

THOUGHT = ReasoningPart("First this,\nthen that.")
ANSWER = TextPart("Good morning!\nIt's seven o'clock.")
CALL = ToolCallPart("functions.set_alarm", '{"hour": 7}')
EDIT = ToolCallPart("functions.replace", '{"old": "while (i < n - 2) {", "new": "while (i < 9) {", "all": false}')
THINKING = f"<|channel|>analysis<|message|>{THOUGHT.text}<|end|><|start|>assistant"
ANSWERING = f"<|channel|>final<|message|>{ANSWER.text}"

CASES = {
    "answer alone": (ANSWERING, (ANSWER,)),
    "answer on commentary": (f"<|channel|>commentary<|message|>{ANSWER.text}", (PreamblePart(ANSWER.text),)),
    "reasoning and answer": (f"{THINKING}{ANSWERING}", (THOUGHT, ANSWER)),
    "reasoning cut off": (f"<|channel|>analysis<|message|>{THOUGHT.text}", (THOUGHT,)),
    "recipient in the role, on analysis": (
        f" to=functions.set_alarm<|channel|>analysis<|message|>{CALL.arguments}",
        (CALL,),
    ),
    "recipient in the channel, on analysis": (
        f"<|channel|>analysis to=functions.set_alarm<|message|>{CALL.arguments}",
        (CALL,),
    ),
    "with a type, on analysis": (
        f" to=functions.set_alarm<|channel|>analysis <|constrain|>json<|message|>{CALL.arguments}",
        (CALL,),
    ),
    "on commentary": (f"<|channel|>commentary to=functions.set_alarm<|message|>{CALL.arguments}", (CALL,)),
    "reasoning, then a call on the same channel": (
        f"{THINKING} to=functions.set_alarm<|channel|>analysis<|message|>{CALL.arguments}",
        (THOUGHT, CALL),
    ),
    "brackets and signs in the arguments": (
        f"{THINKING}<|channel|>commentary to=functions.replace <|constrain|>json<|message|>{EDIT.arguments}",
        (THOUGHT, EDIT),
    ),
    "structured answer": (
        f'{THINKING}<|channel|>final <|constrain|>json<|message|>{{"hour": 7.5, "day": "Monday"}}',
        (THOUGHT, TextPart('{"hour": 7.5, "day": "Monday"}')),
    ),
    "a builtin nobody offered, in the role": (
        f"{THINKING} to=container.run<|channel|>commentary<|message|>ls -l 'a b'",
        (THOUGHT, ToolCallPart("container.run", "ls -l 'a b'")),
    ),
    "a builtin nobody offered, in the channel": (
        f"{THINKING}<|channel|>commentary to=python <|constrain|>code<|message|>print(7)",
        (THOUGHT, ToolCallPart("python", "print(7)")),
    ),
    "stray commentary before the reasoning": (
        f"<|channel|>commentary to=assistant{THINKING}{ANSWERING}",
        (THOUGHT, ANSWER),
    ),
    "stray commentary before the answer": (
        f"{THINKING}<|channel|>commentary to=assistant{ANSWERING}",
        (THOUGHT, ANSWER),
    ),
}  # fmt: skip


@pytest.mark.parametrize("end", ["", "<|return|>"])
@pytest.mark.parametrize("name", CASES)
def test_case(name, end, vocabulary):
    stream, parts = CASES[name]
    got = parse(vocabulary, vocabulary.ids(stream + end), ["functions.set_alarm", "functions.replace"]).parts
    if end and name == "reasoning cut off":
        parts = (*parts, TextPart(THOUGHT.text))  # a turn that ends in its reasoning: silence is worse
    assert got == parts


@pytest.mark.parametrize(("said", "still"), [("<|channel|>final<|message|>Good ", "morning!"),
                                             ("<|channel|>analysis<|message|>First ", "this.<|end|>")])  # fmt: skip
def test_going_on_with_what_was_said(said, still, vocabulary):
    """A continued answer is fed from its own beginning: there is no second way to begin."""
    whole = parse(vocabulary, [*vocabulary.ids(said), *vocabulary.ids(still)])
    assert whole.parts == parse(vocabulary, vocabulary.ids(said + still)).parts
    assert len(whole.parts) == 1
