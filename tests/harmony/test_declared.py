"""Builtin tools and response formats, which a prompt may declare beside its functions: as openai-harmony has them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import openai_harmony as oh
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harmony.oracle import encode, library_messages, library_tokens, without_old_reasoning
from tests.harmony.test_render import (
    CALL,
    CONVERSATIONS,
    RESULT,
    WEATHER,
    answer,
    names,
    oracle_settings,
    prompts,
    texts,
    tool_specs,
    user,
)  # fmt: skip

from inglenook.core.messages import Message, PreamblePart, ReasoningPart, Role, TextPart, ToolCallPart, ToolResultPart
from inglenook.core.prompt import Builtin, Prompt, ResponseFormat, Special, Text, ToolSpec
from inglenook.harmony.render import render

PYTHON = Builtin("python", oh.ToolNamespaceConfig.python().description)
BROWSER = Builtin(
    "browser",
    oh.ToolNamespaceConfig.browser().description,
    tuple(ToolSpec(t.name, t.description, t.parameters) for t in oh.ToolNamespaceConfig.browser().tools),
)
SHOPPING = ResponseFormat(
    "shopping_list",
    {"type": "object", "properties": {"items": {"type": "array", "items": {"type": "string"}}}, "x": [1e-7, None]},
    "What to buy.\nIn the order of shops.",
)


def library(encoding: oh.HarmonyEncoding, prompt: Prompt) -> list[int]:
    """The library's tokens, with what is declared where its documentation says (docs/format.md).

    The library knows no response formats; they are added to the text that it makes of the developer message.
    """
    messages = library_messages(prompt)
    system = messages[0].content[0]
    for builtin in prompt.builtins:
        tools = [oh.ToolDescription.new(t.name, t.description, t.parameters) for t in builtin.functions]
        namespace = oh.ToolNamespaceConfig(name=builtin.name, description=builtin.description, tools=tools)
        system = system.with_tools(namespace)
    tokens = library_tokens(encoding, without_old_reasoning(messages))
    if not prompt.formats:
        return tokens
    text = "# Response Formats"
    for one in prompt.formats:
        comment = "".join(f"// {line}\n" for line in one.description.splitlines())
        schema = json.dumps(one.schema, ensure_ascii=False, separators=(",", ":")).replace("e-07", "e-7")
        text += f"\n\n## {one.name}\n\n{comment}{schema}"
    start = tokens[0]
    begin = tokens.index(start, 1)  # of the message after the system's
    end = begin
    if messages[1:] and messages[1].author.role == oh.Role.DEVELOPER:
        end = tokens.index(start, begin + 1)
        text = encoding.decode(tokens[begin + 3 : end - 1]) + "\n\n" + text
    return tokens[:begin] + encoding.render(oh.Message.from_role_and_content(oh.Role.DEVELOPER, text)) + tokens[end:]


DECLARED: dict[str, dict[str, Any]] = {
    "python": {"builtins": (PYTHON,)},
    "python and browser, in the library's order": {"builtins": (PYTHON, BROWSER)},
    "format": {"formats": (SHOPPING,)},
    "two formats": {"formats": (SHOPPING, ResponseFormat("any", {}))},
    "all": {"builtins": (BROWSER, PYTHON), "formats": (SHOPPING,)},
}


@pytest.mark.parametrize("conversation", ["first message", "instructions", "tool called", "second turn"])
@pytest.mark.parametrize("name", DECLARED)
def test_equals_the_library(name, conversation, encoding, special_ids):
    prompt = CONVERSATIONS[conversation]
    declaring = replace(prompt, **DECLARED[name])
    expected = library(encoding, declaring)
    assert encode(encoding, special_ids, render(declaring)) == expected
    assert encode(encoding, special_ids, render(prompt)) != expected  # the control


RUN = ToolCallPart("python", "print(6 * 7)")
RAN = Message(Role.TOOL, (ToolResultPart("python", "42"),))
SEARCH = ToolCallPart("browser.search", '{"query": "x"}')
FOUND = Message(Role.TOOL, (ToolResultPart("browser.search", "[0] x"),))


def test_calls_of_builtin_tools_are_on_the_analysis_channel(encoding, special_ids):
    prompt = Prompt((user("6*7?"), answer(ReasoningPart("Compute."), RUN), RAN, answer(SEARCH), FOUND))
    text = encoding.decode(encode(encoding, special_ids, render(prompt)))
    assert "<|start|>assistant to=python<|channel|>analysis code<|message|>print(6 * 7)<|call|>" in text
    assert "<|start|>python to=assistant<|channel|>analysis<|message|>42<|end|>" in text
    assert "<|start|>assistant to=browser.search<|channel|>analysis code<|message|>" in text
    expected = library_tokens(encoding, without_old_reasoning(library_messages(prompt)))
    assert encode(encoding, special_ids, render(prompt)) == expected


def test_they_leave_the_prompt_with_the_reasoning(encoding, special_ids):
    """A call of a function stays: its result is part of what was said."""
    turn = (user("q"), answer(ReasoningPart("r"), PreamblePart("p"), RUN), RAN, answer(CALL), RESULT)
    done = Prompt((*turn, answer(TextPart("a")), user("q")))
    text = encoding.decode(encode(encoding, special_ids, render(done)))
    assert "python" not in text
    assert "to=functions.get_weather" in text
    assert "functions.get_weather to=assistant" in text
    assert "to=python" in encoding.decode(encode(encoding, special_ids, render(Prompt(turn))))


def test_a_namespace_that_is_declared_counts_as_builtin():
    prompt = Prompt((user("q"), answer(ToolCallPart("container.run", "ls"))))
    assert Text("analysis code") in render(replace(prompt, builtins=(Builtin("container", "Runs."),)))
    assert Text("analysis code") not in render(prompt)


@st.composite
def declaring_prompts(draw) -> Prompt:
    functions = st.lists(tool_specs(), max_size=2).map(tuple)
    made = st.builds(Builtin, names, texts.filter(bool), functions)
    builtins = draw(st.lists(made, max_size=2, unique_by=lambda b: b.name).map(tuple))
    lines = st.text('ab "{}<|>é', max_size=12)
    numbers = st.integers(-(2**63), 2**63 - 1)  # larger ones the library turns into floats
    schema = st.dictionaries(names, numbers | lines | st.lists(st.booleans(), max_size=2), max_size=3)
    formats = st.builds(ResponseFormat, names, schema, st.lists(lines.filter(bool), max_size=3).map("\n".join))
    return replace(draw(prompts), builtins=builtins, formats=tuple(draw(st.lists(formats, max_size=2))))


@oracle_settings
@given(prompt=declaring_prompts())
def test_equals_the_library_for_any_declaration(encoding, special_ids, prompt):
    assert encode(encoding, special_ids, render(prompt)) == library(encoding, prompt)


@pytest.mark.parametrize("name", ["<|start|>x", "a\nb", "x to=user"])
def test_names_say_no_more_than_a_name(name):
    builtins = Builtin(name, "d"), Builtin(name, "d", (ToolSpec(name, ""),))
    segments = render(Prompt((), tools=(WEATHER,), builtins=builtins, formats=(ResponseFormat(name, {}),)))
    assert not any(name in s.text for s in segments if isinstance(s, Text))
    assert [s for s in segments if isinstance(s, Special)] == [
        s for s in render(Prompt((), tools=(WEATHER,))) if isinstance(s, Special)
    ]
