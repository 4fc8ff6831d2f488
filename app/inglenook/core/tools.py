"""Tools that the model may call: each is declared once, as one `Tool`, with all that the turn needs to know of it.

A tool is one file with one such value; whoever makes the `ChatService` hands it over. How a call is written, found,
refused and answered is the turn's affair (see `inglenook.chat.calls`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inglenook.core.prompt import ToolSpec


class ToolError(Exception):
    """Raised by a tool that cannot do what it was asked; the text, in English, goes to the model as its result."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `name` and `description` are for the model; `parameters` is a JSON schema of an object, or None.

    `run` takes the arguments (an object that `parameters` was found to hold of, but for `format`) and a function
    that tells whether the user has stopped the turn; it returns what the model is to read. It runs on a thread of its
    own, which is left behind if it does not end soon after a stop. It raises `ToolError` for the model, `UserError`
    for what is wrong in the user's world (the model is told it too); anything else is a bug.

    `needs_approval`: the user is asked before each call.
    """

    name: str
    description: str
    parameters: Mapping[str, Any] | None
    run: Callable[[Mapping[str, Any], Callable[[], bool]], str]
    needs_approval: bool = True

    @property
    def spec(self) -> ToolSpec:
        """As the prompt declares it."""
        return ToolSpec(self.name, self.description, self.parameters)
