"""What the engine is held to for an answer by a schema, and for calls of tools: forms of messages, with grammars."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.core.constraint import Constraint, Form
from inglenook.core.messages import ReasoningPart, TextPart, ToolCallPart
from inglenook.core.prompt import Special, Text, ToolSpec
from inglenook.harmony import specials
from inglenook.harmony.schema import grammar_of, tree_of
from inglenook.harmony.schema_source import SchemaError
from inglenook.harmony.structured import Structured, calls_constraint
from inglenook.harmony.tools import recipients

from .grammar_texts import text_of
from .schemas import FOLLOWED
from .streams import parse

PLACE = {
    "type": "object",
    "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["place"],
}
TOOLS = (
    ToolSpec("weather", "The weather.", PLACE),
    ToolSpec("note", "A note.", None),
    ToolSpec("odd", "Cannot be held.", {"type": "object", "not": {"required": ["x"]}}),
)


def opening(form: Form) -> str:
    return "".join(s.name if isinstance(s, Special) else s.text for s in form.opening if isinstance(s, Special | Text))


def said(constraint: Constraint, form: Form, content: str) -> str:
    """A whole message as the model writes it after `<|start|>assistant`."""
    begin = "".join(
        s.name if isinstance(s, Special) else s.text for s in constraint.begin if isinstance(s, Special | Text)
    )
    assert begin == "<|start|>assistant"
    return f"{opening(form)}{content}{form.closing}"


@pytest.mark.parametrize("name", FOLLOWED)
def test_only_the_final_channel_is_held(name: str) -> None:
    structured = Structured.of(FOLLOWED[name])
    grammars = {opening(form): form.grammar for form in structured.constraint.forms}
    assert grammars["<|channel|>analysis<|message|>"] == ""
    finals = [grammar for begins, grammar in grammars.items() if "final" in begins]
    assert finals == [grammar_of(FOLLOWED[name])] * 2
    assert {form.closing for form in structured.constraint.forms if form.grammar} == {specials.RETURN}


@pytest.mark.parametrize("schema", [{"not": {}}, {"type": "strin"}, False])
def test_what_cannot_be_held_is_refused(schema: Any) -> None:
    with pytest.raises(SchemaError):
        Structured.of(schema)


@pytest.mark.parametrize(
    ("title", "name"), [("Weather report", None), (None, "answer"), (7, "answer"), ("ok", "ok"), ("<|end|>", None)]
)
def test_the_prompt_tells_of_it_by_a_name_without_markup(title: object, name: str | None) -> None:
    told = Structured.of({"type": "object", **({} if title is None else {"title": title})}).format
    assert re.fullmatch(r"[\w.-]+", told.name)
    assert name is None or told.name == name


@given(st.sampled_from(sorted(FOLLOWED)), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_an_answer_by_the_forms_is_read_back_whole_and_validates(vocabulary, name: str, seed: int) -> None:
    structured = Structured.of(FOLLOWED[name])
    content = text_of(tree_of(FOLLOWED[name]).rules, seed)
    thought, *finals = structured.constraint.forms
    for form in finals:
        stream = said(structured.constraint, thought, "Hm.") + "<|start|>assistant"
        stream += said(structured.constraint, form, content)
        jsonschema.Draft202012Validator(FOLLOWED[name]).validate(json.loads(content))
        if "<|" not in content:  # that would be read as markup here, though no token of it is
            assert parse(vocabulary, vocabulary.ids(stream)).parts == (ReasoningPart("Hm."), TextPart(content))


def forms_of(tool: str) -> list[Form]:
    return [form for form in calls_constraint(TOOLS).forms if f"functions.{tool}" in opening(form)]


def test_reasoning_preambles_and_answers_are_free_beside_calls() -> None:
    free = {opening(f): f.closing for f in calls_constraint(TOOLS).forms if "to=" not in opening(f) and not f.grammar}
    assert free == {
        "<|channel|>analysis<|message|>": specials.END,
        "<|channel|>commentary<|message|>": specials.END,
        "<|channel|>final<|message|>": specials.RETURN,
    }


def test_a_call_is_held_to_the_schema_of_its_tool() -> None:
    assert {form.grammar for form in forms_of("weather")} == {grammar_of(PLACE)}
    assert {form.closing for form in calls_constraint(TOOLS).forms if "to=" in opening(form)} == {specials.CALL}


def test_a_tool_without_arguments_gets_none() -> None:
    (grammar,) = {form.grammar for form in forms_of("note")}
    assert grammar == grammar_of({"type": "object", "additionalProperties": False})
    texts = {text_of(tree_of({"type": "object", "additionalProperties": False}).rules, seed) for seed in range(20)}
    assert all(json.loads(text) == {} for text in texts)


def test_a_tool_whose_schema_no_grammar_holds_takes_anything() -> None:
    assert {form.grammar for form in forms_of("odd")} == {""}
    assert len(forms_of("odd")) == len(forms_of("weather"))


def test_every_way_to_call_is_read_back_as_that_call(vocabulary) -> None:
    constraint = calls_constraint(TOOLS)
    assert forms_of("weather")
    for form in forms_of("weather"):
        stream = said(constraint, form, '{"place": "Oslo"}')
        parser = parse(vocabulary, vocabulary.ids(stream), recipients(TOOLS))
        assert parser.parts == (ToolCallPart("functions.weather", '{"place": "Oslo"}'),), stream
        assert parser.stopped_by == specials.CALL


def test_no_tools_no_forms_of_calls() -> None:
    assert len(calls_constraint(()).forms) == 3
