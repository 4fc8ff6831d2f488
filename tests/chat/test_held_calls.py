"""Calls of tools by the real engine on the demo model at temperature 1: each has arguments that its tool takes.

The demo model knows three tools with the schemas that it was trained with; here they want other things.
"""

from __future__ import annotations

import json
import os
from typing import Any

import jsonschema
from tests.chat.support import parsed

from inglenook.core.events import StopReason
from inglenook.core.inference import GenerateRequest, ModelInfo, Sampling
from inglenook.core.messages import ToolCallPart, user
from inglenook.core.prompt import Prompt, ToolSpec
from inglenook.engine.client import EngineClient
from inglenook.harmony.parse import Parser
from inglenook.harmony.render import render
from inglenook.harmony.structured import calls_constraint
from inglenook.harmony.tools import recipients

CALLS = int(os.environ.get("INGLENOOK_CALLS", "24"))
TOOLS = (
    ToolSpec(
        "get_weather",
        "Gets the weather.",
        {
            "type": "object",
            "properties": {
                "location": {"type": "string", "pattern": "^[A-Z][a-z]{2,9}$"},
                "unit": {"enum": ["celsius", "kelvin"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 14},
            },
            "required": ["location", "unit", "days"],
        },
    ),
    ToolSpec(
        "get_time",
        "Gets the time.",
        {
            "type": "object",
            "properties": {"timezones": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3}},
            "required": ["timezones"],
        },
    ),
    ToolSpec("add_note", "Keeps a note.", None),
)
QUESTIONS = (
    "What is the weather in Lisbon?",
    "What time is it in Tokyo?",
    "Add a note: buy milk and bread",
    "What's the weather like in Bergen in fahrenheit?",
)


def ask(client: EngineClient, info: ModelInfo, question: str, seed: int, *, held: bool) -> tuple[Parser, StopReason]:
    segments = render(Prompt((user(question),), tools=TOOLS), info.vocabulary)
    constraint = calls_constraint(TOOLS) if held else None
    request = GenerateRequest(info.spec, segments, Sampling(1.0, seed=seed), constraint=constraint)
    parser = Parser(dict(info.specials), recipients(TOOLS))
    return parser, parsed(client.generate(request), parser)


def is_valid(call: ToolCallPart) -> bool:
    schemas: dict[str, Any] = {f"functions.{tool.name}": tool.parameters for tool in TOOLS}
    schema = schemas[call.name] or {"type": "object", "additionalProperties": False}
    try:
        return jsonschema.Draft202012Validator(schema).is_valid(json.loads(call.arguments))
    except ValueError:
        return False


def calls_of(client: EngineClient, info: ModelInfo, *, held: bool, count: int) -> list[ToolCallPart]:
    found = []
    for seed in range(count):
        parser, reason = ask(client, info, QUESTIONS[seed % len(QUESTIONS)], seed, held=held)
        if held:
            assert reason is StopReason.STOP
            assert parser.malformed == 0
        found += [part for part in parser.parts if isinstance(part, ToolCallPart)]
    return found


def test_every_call_has_arguments_that_validate(client: EngineClient, info: ModelInfo) -> None:
    made = calls_of(client, info, held=True, count=CALLS)
    wrong = [call for call in made if not is_valid(call)]
    print(f"{len(made)} calls in {CALLS} answers, {len(wrong)} not valid")
    assert len(made) >= CALLS // 2
    assert wrong == []


def test_the_control_without_a_constraint_they_do_not(client: EngineClient, info: ModelInfo) -> None:
    assert not all(is_valid(call) for call in calls_of(client, info, held=False, count=4))


def test_an_answer_without_calls_is_as_it_would_be_without(client: EngineClient, info: ModelInfo) -> None:
    one, other = (ask(client, info, "Hello!", 5, held=held)[0] for held in (True, False))
    assert one.parts == other.parts
    assert one.parts
