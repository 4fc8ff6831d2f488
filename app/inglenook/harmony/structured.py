"""Answers and calls of tools by a JSON schema: what the prompt says of it, and what the engine holds them to.

Only the final channel, or a call's arguments, are held to the schema; what comes before is reasoning, as free as ever.
So that nothing else can pass for them, the headers are held too, and both end with the end of the JSON text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inglenook.core.constraint import Constraint, Form
from inglenook.core.prompt import ResponseFormat, Segment, Special, Text, ToolSpec
from inglenook.harmony import specials
from inglenook.harmony.schema import grammar_of
from inglenook.harmony.schema_source import SchemaError
from inglenook.harmony.tools import recipients

_BEGIN = (Special(specials.START), Text("assistant"))
_NO_ARGUMENTS = {"type": "object", "additionalProperties": False}


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
        begin=_BEGIN,
    )


def calls_constraint(tools: Sequence[ToolSpec]) -> Constraint:
    """Reasoning, preambles and a final answer, all free, or calls of these tools with arguments that validate.

    A tool whose schema no grammar can hold takes any arguments, and they are checked when they have come.
    """
    channel, message = Special(specials.CHANNEL), Special(specials.MESSAGE)
    forms = [
        Form((channel, Text(name), message), closing)
        for name, closing in (
            (specials.ANALYSIS, specials.END),
            (specials.COMMENTARY, specials.END),
            (specials.FINAL, specials.RETURN),
        )
    ]
    for tool, recipient in zip(tools, recipients(tools), strict=True):
        grammar = _grammar_of_arguments(tool)
        forms += [Form(opening, specials.CALL, grammar) for opening in _call_openings(recipient)]
    return Constraint(tuple(forms), _BEGIN)


def _grammar_of_arguments(tool: ToolSpec) -> str:
    """In GBNF; "" where there is none."""
    try:
        return grammar_of(tool.parameters or _NO_ARGUMENTS)
    except SchemaError:
        return ""


def _call_openings(recipient: str) -> list[tuple[Segment, ...]]:
    """The ways in which the model, its template and the reference write a call's header."""
    channel, message = Special(specials.CHANNEL), Special(specials.MESSAGE)
    to = f" to={recipient}"
    found: list[tuple[Segment, ...]] = []
    for name in (specials.COMMENTARY, specials.ANALYSIS):
        for begin in ((channel, Text(f"{name}{to}")), (Text(to), channel, Text(name))):
            *before, last = begin
            assert isinstance(last, Text)
            found += [
                (*before, Text(f"{last.text} "), Special(specials.CONSTRAIN), Text("json"), message),
                (*before, Text(f"{last.text} json"), message),
                (*before, last, message),
            ]
    return found
