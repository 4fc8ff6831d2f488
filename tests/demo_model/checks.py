"""What the demo model must be able to do: cases from JSON files, and a judge of the answers.

Used by the tests (through the real engine) and by the training script (through its own network), so that both count
the same. A case has `effort`, the `messages` of a conversation (or one `question`) that asks for an answer, `tools`
(whether the three functions are offered), and what the answer must hold; see `problems`.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inglenook.core.messages import (
    Effort,
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    user,
)
from inglenook.core.prompt import Prompt, ToolSpec

FOLDER = Path(__file__).parent
TOOLS = (
    ToolSpec(
        "get_weather",
        "Gets the current weather.",
        {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "City or place."},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["location"],
        },
    ),
    ToolSpec(
        "get_time",
        "Gets the current time.",
        {"type": "object", "properties": {"timezone": {"type": "string"}}, "required": ["timezone"]},
    ),
    ToolSpec("add_note", "Keeps a note.", {"type": "object", "properties": {"text": {"type": "string"}}}),
)


@dataclass(frozen=True)
class Case:
    """One entry of held_out.json or behaviours.json."""

    id: str
    content: dict[str, Any]

    @property
    def prompt(self) -> Prompt:
        """As the program would send it."""
        tools = TOOLS if self.content.get("tools") else ()
        entries: list[dict[str, Any]] = self.content.get("messages") or [{"user": self.content["question"]}]
        messages: list[Message] = []
        for entry in entries:
            messages.append(_message(entry, messages))
        return Prompt(tuple(messages), Effort(self.content["effort"]), "2026-11-22", tools=tools)


def _message(entry: dict[str, Any], earlier: Sequence[Message]) -> Message:
    match entry:
        case {"user": str(text)}:
            return user(text)
        case {"assistant": str(text)}:
            return Message(Role.ASSISTANT, (TextPart(text),))
        case {"call": {"name": str(name), "arguments": arguments}}:
            call = ToolCallPart(name, json.dumps(arguments))
            return Message(Role.ASSISTANT, (ReasoningPart(f"The user needs {name}."), call))
        case {"tool": str(content)}:
            last = earlier[-1].parts[-1]
            assert isinstance(last, ToolCallPart)
            return Message(Role.TOOL, (ToolResultPart(last.name, content),))
        case _:
            raise ValueError(f"not a message: {entry}")


def cases(name: str) -> list[Case]:
    """All cases of a JSON file in this folder."""
    return [Case(entry["id"], entry) for entry in json.loads((FOLDER / f"{name}.json").read_text("utf-8"))]


def problems(case: Case, parts: Sequence[Part], stopped_by: str | None, count: Callable[[str], int]) -> list[str]:
    """What is wrong with an answer; nothing if it is right.

    `parts` and `stopped_by` are those of `harmony.parse.Parser`; `count` tells how many tokens a text has.
    """
    content = case.content
    final = "".join(p.text for p in parts if isinstance(p, TextPart))
    reasoning = "".join(p.text for p in parts if isinstance(p, ReasoningPart))
    wrong = [f"lacks {text!r}" for text in content.get("contains", ()) if text not in final.lower()]
    wrong += [f"does not match {regex!r}" for regex in content.get("matches", ()) if not re.search(regex, final)]
    if "final_tokens" in content and count(final) <= content["final_tokens"]:
        wrong.append(f"has only {count(final)} tokens")
    low, high = content.get("reasoning_tokens", (1, 1000))
    if not low <= count(reasoning) <= high:
        wrong.append(f"reasons for {count(reasoning)} tokens")
    if "runs" in content:
        wrong += _run(final, content["runs"])
    expected = content.get("call")
    if stopped_by != ("<|call|>" if expected else "<|return|>"):
        wrong.append(f"ended by {stopped_by}")
    calls = [p for p in parts if isinstance(p, ToolCallPart)]
    if expected is None:
        return [*wrong, *(f"calls {call.name}" for call in calls)]
    if len(calls) != 1 or calls[0].name != expected["name"]:
        return [*wrong, f"calls {[call.name for call in calls]}"]
    try:
        arguments = json.loads(calls[0].arguments)
    except ValueError:
        return [*wrong, f"arguments {calls[0].arguments!r}"]
    return wrong if arguments == expected["arguments"] else [*wrong, f"arguments {arguments}"]


def _run(final: str, expected: str) -> list[str]:
    """Runs the Python code in `final` (our own words, memorised by the model) and compares what it prints."""
    code = re.search(r"```python\n(.*?)```", final, re.DOTALL)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code[1] if code else "", "answer", "exec"), {})
    except Exception as error:
        return [f"the code fails: {error!r}"]
    return [] if printed.getvalue().strip() == expected else [f"the code prints {printed.getvalue()!r}"]
