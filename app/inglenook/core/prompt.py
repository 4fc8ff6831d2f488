"""What the model is given: everything that harmony rendering needs, and the segments that come out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inglenook.core.messages import Effort, Message


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A function the model may call: `name` without the `functions.` namespace, `parameters` a JSON schema or None."""

    name: str
    description: str
    parameters: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Builtin:
    """A tool that the system message declares: the model was trained to call it while it reasons.

    `name` is its namespace (`python`, `browser`). Without `functions` it is called by that name alone, with code as its
    argument. The description must say what is true here; the one in openai-harmony is of another place.
    """

    name: str
    description: str
    functions: tuple[ToolSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """A JSON schema by which the final answer is to be written; `description` in one or more lines, or none."""

    name: str
    schema: Mapping[str, Any]
    description: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to the model in the user's terms.

    `date` (YYYY-MM-DD) is fixed when the conversation is created, so that tomorrow's prompt shares today's cached
    prefix. `messages` end with the user's or a tool's message that is to be answered.
    """

    messages: tuple[Message, ...]
    effort: Effort = Effort.MEDIUM
    date: str = ""
    instructions: str = ""
    tools: tuple[ToolSpec, ...] = ()
    builtins: tuple[Builtin, ...] = ()
    formats: tuple[ResponseFormat, ...] = ()


@dataclass(frozen=True, slots=True)
class Special:
    """A control token by its text, such as `<|start|>`; the engine finds its id in the model's vocabulary."""

    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """Ordinary text. It can never become a control token, whatever it says."""

    text: str


@dataclass(frozen=True, slots=True)
class Ids:
    """Token ids kept verbatim (what was sampled); valid only for the vocabulary they came from."""

    ids: tuple[int, ...]


Segment = Special | Text | Ids
