"""Answers by a JSON schema: what the prompt says of it, and what the engine holds the answer to.

Only the final channel is held to the schema; what comes before it is reasoning, as free as ever. So that nothing else
can pass for the answer, the headers are held too, and the answer ends with the end of the JSON text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inglenook.core.constraint import Constraint, Form
from inglenook.core.prompt import ResponseFormat, Special, Text
from inglenook.harmony import specials
from inglenook.harmony.schema import grammar_of


@dataclass(frozen=True, slots=True)
class Structured:
    """A schema in both roles: `format` is for `Prompt.formats` (what the model has read it writes better)."""

    format: ResponseFormat
    constraint: Constraint

    @classmethod
    def of(cls, schema: Any) -> Structured:
        """Raises `SchemaError` if it cannot be followed."""
        constraint = _constraint(schema)
        title = schema.get("title") if isinstance(schema, dict) else None
        name = specials.safe_name(title) if isinstance(title, str) else "answer"
        return cls(ResponseFormat(name, schema if isinstance(schema, dict) else {}), constraint)


def _constraint(schema: Any) -> Constraint:
    """Any amount of reasoning, then one final answer that validates."""
    grammar = grammar_of(schema)
    channel, message = Special(specials.CHANNEL), Special(specials.MESSAGE)
    typed = (channel, Text(f"{specials.FINAL} "), Special(specials.CONSTRAIN), Text("json"), message)
    return Constraint(
        forms=(
            Form((channel, Text(specials.ANALYSIS), message), specials.END),
            Form((channel, Text(specials.FINAL), message), specials.RETURN, grammar),
            Form(typed, specials.RETURN, grammar),
        ),
        begin=(Special(specials.START), Text("assistant")),
    )
