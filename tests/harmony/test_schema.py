"""Texts that a schema's grammar lets through validate, by jsonschema; what cannot be held is refused by name."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.harmony.schema import grammar_of, tree_of
from inglenook.harmony.schema_source import SchemaError

from .grammar_texts import text_of
from .schemas import FOLLOWED

TEXTS = 60


def validator(schema):
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_is_let_through_validates(name: str) -> None:
    schema = FOLLOWED[name]
    check = validator(schema)
    grammar = tree_of(schema)
    assert grammar_of(schema).startswith("root ::=")
    count = 3 if "long" in name or "many" in name else TEXTS
    for seed in range(count):
        text = text_of(grammar.rules, seed)
        check.validate(json.loads(text))


REFUSED = {
    "not": ({"not": {"type": "string"}}, "not", "#"),
    "a place": (
        {"properties": {"a/b": {"items": {"type": "string", "format": "regex"}}}},
        "format",
        "#/properties/a~1b/items",
    ),
    "if": ({"if": {}, "then": {}}, "if", "#"),
    "keys by pattern": ({"type": "object", "patternProperties": {"^a": {}}}, "patternProperties", "#"),
    "dependent": ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired", "#"),
    "contains": ({"type": "array", "contains": {"type": "null"}}, "contains", "#"),
    "unique": ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "uniqueItems", "#"),
    "dynamic": ({"$dynamicRef": "#a"}, "$dynamicRef", "#"),
    "another file": ({"$ref": "other.json"}, "$ref", "#"),
    "no such place": ({"items": {"$ref": "#/$defs/none"}}, "$ref", "#/items"),
    "another base": ({"properties": {"a": {"$id": "x"}}}, "$id", "#/properties/a"),
    "type": ({"type": "strin"}, "type", "#"),
    "types": ({"type": [1]}, "type", "#"),
    "wrong kind": ({"properties": {"a": 3}}, "a", "#/properties/a"),
    "wrong bound": ({"type": "integer", "minimum": "3"}, "minimum", "#"),
    "wrong count": ({"type": "string", "maxLength": -1}, "maxLength", "#"),
    "large": ({"type": "string", "maxLength": 10_000_000}, "maxLength", "#"),
    "lookahead": ({"type": "string", "pattern": "^(?=a)b$"}, "pattern", "#"),
    "back reference": ({"type": "string", "pattern": r"^(a)\1$"}, "pattern", "#"),
    "word boundary": ({"type": "string", "pattern": r"a\b"}, "pattern", "#"),
    "unicode class": ({"type": "string", "pattern": r"\p{L}"}, "pattern", "#"),
    "inner anchor": ({"type": "string", "pattern": "a^b"}, "pattern", "#"),
    "pattern and length": ({"type": "string", "pattern": "^(ab)+$", "maxLength": 5}, "pattern", "#"),
    "fractions": ({"type": "number", "multipleOf": 0.01}, "multipleOf", "#"),
    "multiples from": ({"type": "integer", "multipleOf": 3, "minimum": 5}, "multipleOf", "#"),
    "alternatives that overlap": ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf", "#"),
    "objects that overlap": (
        {"oneOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]},
        "oneOf",
        "#",
    ),
    "what validates without a type": ({"oneOf": [{"type": "string"}, {"properties": {"a": {}}}]}, "oneOf", "#"),
    "too few properties": ({"type": "object", "additionalProperties": True, "minProperties": 2}, "minProperties", "#"),
    "closed, and more": (
        {"allOf": [{"properties": {"a": {}}, "additionalProperties": False}, {"properties": {"b": {}}}]},
        "additionalProperties",
        "#",
    ),
    "not a number": ({"const": float("nan")}, "const", "#"),
    "half a pair": ({"const": "\ud800"}, "const", "#"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_held_is_refused_by_name_and_place(name: str) -> None:
    schema, keyword, place = REFUSED[name]
    with pytest.raises(SchemaError) as caught:
        grammar_of(schema)
    assert keyword in str(caught.value)
    assert f" {place} " in str(caught.value) or f" {place}. " in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"allOf": [{"type": "string"}, {"type": "null"}]},
        {"type": "object", "required": ["a"], "properties": {"a": False}},
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "array", "minItems": 2, "maxItems": 1},
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"type": "string", "enum": [1, 2]},
        [],
        3,
    ],
    ids=json.dumps,
)
def test_what_nothing_can_match(schema) -> None:
    with pytest.raises(SchemaError):
        grammar_of(schema)


def test_schemas_that_would_be_too_much_for_the_engine() -> None:
    deep: object = {"type": "null"}
    for _ in range(300):
        deep = {"type": "array", "items": deep}
    wide = {"type": "object", "properties": {f"p{i}": {"enum": [f"{i}-{j}" for j in range(50)]} for i in range(2000)}}
    doubling = {"$ref": "#/$defs/d0", "$defs": {}}
    for i in range(40):
        doubling["$defs"][f"d{i}"] = {
            "anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"$ref": f"#/$defs/d{i + 1}"}, {"const": i}]
        }
    doubling["$defs"]["d40"] = {"const": 40}
    for schema in (deep, wide):
        with pytest.raises(SchemaError):
            grammar_of(schema)
    assert len(grammar_of(doubling)) < 10_000


@settings(max_examples=25)
@given(
    st.integers(-2000, 2000), st.integers(0, 3000), st.sampled_from([1, 10, 1000]), st.booleans(), st.integers(0, 2**32)
)
def test_numbers_within_bounds(low: int, width: int, unit: int, strict: bool, seed: int) -> None:
    names = ("exclusiveMinimum", "exclusiveMaximum") if strict else ("minimum", "maximum")
    for kind in ("number", "integer"):
        schema = {"type": kind, names[0]: low / unit, names[1]: (low + width) / unit}
        try:
            grammar_of(schema)
        except SchemaError:
            assert kind == "integer" or width == 0
            continue
        for i in range(10):
            value = json.loads(text_of(tree_of(schema).rules, seed + i))
            jsonschema.Draft202012Validator(schema).validate(value)


def test_the_control_a_wider_grammar_is_noticed() -> None:
    """The oracle sees what a grammar of another schema lets through."""
    wider, schema = tree_of({"type": "integer", "maximum": 130}), {"type": "integer", "maximum": 120}
    texts = [text_of(wider.rules, seed) for seed in range(300)]
    assert not all(jsonschema.Draft202012Validator(schema).is_valid(json.loads(text)) for text in texts)
