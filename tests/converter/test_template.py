"""Our chat template against our harmony room: what other programs render is what Inglenook renders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.core.messages import (
    Effort,
    Message,
    PreamblePart,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    user,
)
from inglenook.core.prompt import Ids, Prompt, Text, ToolSpec
from inglenook.harmony.render import render
from inglenook_convert.template import CHAT_TEMPLATE


def compiled(**options: Any) -> jinja2.Template:
    """As transformers sets Jinja up: its `tojson` writes plain JSON, not JSON for web pages."""
    environment = jinja2.Environment(**options)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(CHAT_TEMPLATE)


TEMPLATE = compiled(trim_blocks=True, lstrip_blocks=True)

WEATHER = ToolSpec(
    "get_weather",
    "Tells the weather.\nFor a place.",
    {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "Town and country\n(in English)"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
            "days": {"type": "integer", "default": 1, "nullable": True},
            "items": {"type": "array", "items": {"type": ["integer", "string"]}, "examples": ["one", 2]},
            "where": {"oneOf": [{"type": "string", "description": "a name"}, {"type": "null", "default": None}]},
            "more": {"type": "object", "title": "More", "properties": {"deep": {"type": "boolean", "default": True}}},
        },
        "required": ["location"],
    },
)
NOW = ToolSpec("now", "Tells the time.")
CALL = ToolCallPart("functions.get_weather", '{"location": "Oslo"}')
RESULT = Message(Role.TOOL, (ToolResultPart("functions.get_weather", '{"sunny": true} <3 "ü"'),))


def answer(*parts: Any) -> Message:
    return Message(Role.ASSISTANT, parts)


TURNS = (
    user("Weather?"),
    answer(ReasoningPart("Plan."), PreamblePart("I will look."), CALL),
    RESULT,
    answer(ReasoningPart("Sunny."), TextPart("Sunny & warm!\n")),
    user("And Bergen?"),
    answer(ReasoningPart("Rain?"), CALL),
    RESULT,
)
CONVERSATIONS = {
    "first message": Prompt((user("Hello\n"),)),
    "date and effort": Prompt((user("Hello"),), Effort.HIGH, "2025-08-05"),
    "instructions": Prompt((user("Hi"),), Effort.LOW, "2025-08-05", "Answer in riddles.\n\nBe brief.  \n"),
    "blank instructions": Prompt((user("Hi"),), instructions=" \n"),
    "tools": Prompt((user("Weather?"),), tools=(WEATHER, NOW)),
    "tools and instructions": Prompt((user("Weather?"),), instructions="Help.", tools=(NOW,)),
    **{f"{count} turns": Prompt(TURNS[:count], date="2026-11-22", tools=(WEATHER,)) for count in range(1, 8)},
    "an answer cut off while reasoning": Prompt((user("Hi"), answer(ReasoningPart("Hm")), user("Go on"))),
}


def as_api(message: Message) -> dict[str, Any]:
    """In the form that OpenAI's API and transformers have for it."""
    if message.role is Role.USER:
        return {"role": "user", "content": message.text}
    if message.role is Role.TOOL:
        (result,) = message.parts
        assert isinstance(result, ToolResultPart)
        return {"role": "tool", "name": result.name.removeprefix("functions."), "content": result.content}
    said: dict[str, Any] = {"role": "assistant", "content": message.text}
    if message.reasoning:
        said["thinking"] = message.reasoning
    calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
    if calls:
        said["tool_calls"] = [
            {"type": "function", "function": {"name": c.name.removeprefix("functions."), "arguments": c.arguments}}
            for c in calls
        ]
    return said


def as_tool(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def by_template(prompt: Prompt, template: jinja2.Template = TEMPLATE, **changes: Any) -> str:
    given: dict[str, Any] = {
        "messages": [as_api(message) for message in prompt.messages],
        "tools": [as_tool(tool) for tool in prompt.tools] or None,
        "reasoning_effort": prompt.effort.value,
        "current_date": prompt.date,
        "add_generation_prompt": True,
    }
    if prompt.instructions:
        given["messages"].insert(0, {"role": "system", "content": prompt.instructions})
    return template.render({**given, **changes})


def by_room(prompt: Prompt) -> str:
    segments = render(prompt)
    return "".join(s.text if isinstance(s, Text) else s.name for s in segments if not isinstance(s, Ids))


@pytest.mark.parametrize("prompt", CONVERSATIONS.values(), ids=CONVERSATIONS)
@pytest.mark.parametrize("options", [{}, {"trim_blocks": True, "lstrip_blocks": True}], ids=["bare", "transformers"])
def test_conversations_are_rendered_as_the_harmony_room_renders_them(prompt: Prompt, options: dict[str, Any]) -> None:
    assert by_template(prompt, compiled(**options)) == by_room(prompt)


def test_the_comparison_can_fail() -> None:
    prompt = CONVERSATIONS["7 turns"]
    assert by_template(prompt, messages=[as_api(m) for m in prompt.messages[:-1]]) != by_room(prompt)


def test_other_forms_of_the_same() -> None:
    prompt = Prompt(TURNS, instructions="Help.", tools=(WEATHER,))
    expected = by_room(prompt)
    messages = [as_api(message) for message in prompt.messages]
    for message in messages:
        message.pop("name", None)
        if "thinking" in message:
            message["reasoning_content"] = message.pop("thinking")
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = {"location": "Oslo"}
        message["content"] = [{"type": "text", "text": message["content"]}] if message["content"] else None
    messages.insert(0, {"role": "developer", "content": "Help."})
    tools = [as_tool(tool)["function"] for tool in prompt.tools]
    rendered = by_template(prompt, messages=messages, tools=tools)
    assert rendered == expected.replace('{"location": "Oslo"}', '{"location":"Oslo"}')


def test_what_the_caller_leaves_out() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    assert TEMPLATE.render(messages=messages) == by_room(Prompt((user("Hi"),))).removesuffix("<|start|>assistant")
    dated = TEMPLATE.render(messages=messages, strftime_now=lambda form: form, add_generation_prompt=True)
    assert dated == by_room(Prompt((user("Hi"),), date="%Y-%m-%d"))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(["", "\n", "a\r\nb\n", '"<&'])
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True) | st.sampled_from(["items", "keys", "type"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def schemas(draw: st.DrawFn, depth: int = 3) -> Mapping[str, Any]:
    kind = draw(
        st.sampled_from(["string", "integer", "boolean", "null", "other", "array", "object", "union", "several"])
    )
    inner = schemas(depth=depth - 1) if depth else st.just({"type": "number"})
    own: dict[str, st.SearchStrategy[Any]] = {
        "string": {"enum": st.lists(texts | st.integers(), max_size=3)},
        "array": {"items": inner},
        "object": {"properties": st.dictionaries(names, inner, max_size=3), "required": st.lists(names, max_size=2)},
        "union": {"oneOf": st.lists(inner, max_size=3)},
        "several": {"type": st.lists(st.sampled_from(["integer", "string", "null", 7]), max_size=3)},
    }.get(kind, {})
    said = {"description": texts, "title": texts, "default": values, "nullable": st.booleans(),
            "examples": st.lists(texts | st.integers(), max_size=2)}  # fmt: skip
    schema = draw(st.fixed_dictionaries({"type": st.just(kind)}, optional=said))
    return {**schema, **draw(st.fixed_dictionaries({}, optional=own))}


@settings(max_examples=300, deadline=None)
@given(description=texts, schema=st.none() | schemas())
def test_any_tool_is_declared_as_the_harmony_room_declares_it(
    description: str, schema: Mapping[str, Any] | None
) -> None:
    prompt = Prompt((user("Hi"),), tools=(ToolSpec("tool", description, schema),))
    assert by_template(prompt) == by_room(prompt)


def test_llama_cpp_takes_it_for_one_of_gpt_oss() -> None:
    assert "<|start|>" in CHAT_TEMPLATE
    assert "<|channel|>" in CHAT_TEMPLATE
