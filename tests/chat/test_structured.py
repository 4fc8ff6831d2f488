"""Answers of the real engine on the demo model at temperature 1, held to schemas: every one validates.

The demo model knows no JSON: all that is well-formed is the engine's doing. `INGLENOOK_ANSWERS` answers are asked for;
make soak asks for a thousand.
"""

from __future__ import annotations

import itertools
import json
import os
from typing import Any

import jsonschema
import pytest
from tests.chat.support import parsed

from inglenook.core.events import StopReason
from inglenook.core.inference import GenerateRequest, ModelInfo, Sampling
from inglenook.core.messages import ReasoningPart, TextPart, user
from inglenook.core.prompt import Prompt
from inglenook.engine.client import EngineClient
from inglenook.harmony.parse import Parser
from inglenook.harmony.render import render
from inglenook.harmony.structured import Structured

ANSWERS = int(os.environ.get("INGLENOOK_ANSWERS", "16"))
WORD = {"type": "string", "minLength": 1, "maxLength": 12}
SCHEMAS: dict[str, Any] = {
    "object": {
        "type": "object",
        "properties": {
            "name": WORD,
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tall": {"type": "boolean"},
        },
        "required": ["name", "age"],
    },
    "list": {"type": "array", "items": {"type": "number", "minimum": -1, "maximum": 1}, "minItems": 2, "maxItems": 5},
    "choice": {"enum": ["red", "green", "blü\n", 4, None]},
    "pattern": {"type": "string", "pattern": r"^[A-Z]{2,4}-\d{3}(?:/[äöü😀]+)?$", "description": "a part's number"},
    "shapes": {
        "$defs": {"round": {"type": "object", "properties": {"is": {"const": "round"}, "r": {"type": "number"}}}},
        "oneOf": [
            {"$ref": "#/$defs/round", "required": ["is", "r"]},
            {"type": "object", "properties": {"is": {"const": "flat"}, "on": WORD}, "required": ["is"]},
        ],
    },
    "date": {"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}, "required": ["at"]},
    "map": {"type": "object", "additionalProperties": WORD, "maxProperties": 2, "propertyNames": WORD},
}
QUESTIONS = ("Hello!", "What is 12 + 30?", "List three colours.", "Who are you?")


def ask(
    client: EngineClient, info: ModelInfo, schema: Any, *, question: str, seed: int, held: bool = True, limit: int = 0
):
    """The parts of the answer, and why it ended."""
    structured = Structured.of(schema)
    segments = render(Prompt((user(question),), formats=(structured.format,)), info.vocabulary)
    constraint = structured.constraint if held else None
    request = GenerateRequest(info.spec, segments, Sampling(1.0, seed=seed), limit, constraint=constraint)
    parser = Parser(dict(info.specials))
    return parser, parsed(client.generate(request), parser)


def test_answers_validate(client: EngineClient, info: ModelInfo) -> None:
    valid, reasons = 0, []
    turns = itertools.cycle(SCHEMAS)
    for seed in range(ANSWERS):
        schema = SCHEMAS[next(turns)]
        parser, reason = ask(client, info, schema, question=QUESTIONS[seed % len(QUESTIONS)], seed=seed)
        assert parser.malformed == 0
        answers = [part for part in parser.parts if not isinstance(part, ReasoningPart)]
        assert len(answers) == 1
        assert isinstance(answers[0], TextPart)
        reasons.append(reason)
        jsonschema.Draft202012Validator(schema).validate(json.loads(answers[0].text))
        valid += 1
    print(f"{valid} of {ANSWERS} answers validate")
    assert set(reasons) == {StopReason.STOP}


def test_the_control_without_a_constraint_they_do_not(client: EngineClient, info: ModelInfo) -> None:
    parser, _ = ask(client, info, SCHEMAS["object"], question="Hello!", seed=1, held=False)
    with pytest.raises(json.JSONDecodeError):
        json.loads("".join(part.text for part in parser.parts if isinstance(part, TextPart)))


def test_reasoning_is_as_it_would_be_without(client: EngineClient, info: ModelInfo) -> None:
    """With the same seed the same words: nothing of the reasoning is refused."""
    thoughts = []
    for held in (True, False):
        parser, _ = ask(client, info, SCHEMAS["list"], question="What is 12 + 30?", seed=7, held=held)
        thoughts.append(next(part.text for part in parser.parts if isinstance(part, ReasoningPart)))
    assert thoughts[0] == thoughts[1]
    assert thoughts[0]


def test_what_is_cut_off_says_so(client: EngineClient, info: ModelInfo) -> None:
    schema = {"type": "array", "items": {"type": "boolean"}, "minItems": 100}
    _, reason = ask(client, info, schema, question="Hello!", seed=3, limit=80)
    assert reason is StopReason.LENGTH
