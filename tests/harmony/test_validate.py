"""Values against schemas: the verdict is jsonschema's, and what is said leads to what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.harmony.validate import MOST, Fault, faults

from .grammar_texts import text_of
from .schemas import FOLLOWED

names = st.sampled_from(["a", "b", "ab", "/~", ""])
plain = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 6), st.sampled_from([0.5, 2.0, -1.5, 1e300]), st.text("abü1 ", max_size=4)
)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
types = st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])
patterns = st.sampled_from(["a", "^a", "b$", r"^\d$", "^[ab]{2,}$", "ü|1"])
counts = st.integers(0, 3)
bounds = st.sampled_from([-1, 0, 2, 3.5])


def schemas_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some, named = st.lists(inner, min_size=1, max_size=3), st.dictionaries(names, inner, max_size=3)
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "type": types | st.lists(types, min_size=1, max_size=3, unique=True),
        "const": values,
        "enum": st.lists(values, min_size=1, max_size=3),
        **dict.fromkeys(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"], bounds),
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        **{f"{end}{what}": counts for end in ("min", "max") for what in ("Length", "Items", "Properties", "Contains")},
        "pattern": patterns,
        "prefixItems": some,
        "uniqueItems": st.booleans(),
        **dict.fromkeys(["items", "contains", "additionalProperties", "propertyNames", "not", "if", "then"], inner),
        **dict.fromkeys(["else", "unevaluatedItems", "unevaluatedProperties"], inner),
        **dict.fromkeys(["properties", "dependentSchemas"], named),
        "patternProperties": st.dictionaries(patterns, inner, max_size=2),
        "required": st.lists(names, max_size=2, unique=True),
        "dependentRequired": st.dictionaries(names, st.lists(names, max_size=2, unique=True), max_size=2),
        **dict.fromkeys(["allOf", "anyOf", "oneOf"], some),
        "$ref": st.sampled_from(["#/$defs/one", "#/$defs/two"]),
    }
    return st.fixed_dictionaries({}, optional=keywords).flatmap(_some_of) | st.booleans()


def _some_of(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Few keywords at once, or no value validates."""
    return st.sets(st.sampled_from(sorted(schema)), max_size=3).map(lambda keep: {k: schema[k] for k in sorted(keep)}) \
        if schema else st.just({})  # fmt: skip


schemas = st.recursive(types.map(lambda kind: {"type": kind}), schemas_of, max_leaves=4)


def valid(schema: Any, value: Any) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@settings(max_examples=400, deadline=None)
@given(schemas, schemas, schemas, values)
def test_the_verdict_is_that_of_jsonschema(schema: Any, one: Any, two: Any, value: Any) -> None:
    whole = {**schema, "$defs": {"one": one, "two": two}} if isinstance(schema, dict) else schema
    try:
        expected = valid(whole, value)
    except RecursionError:  # a definition that names itself
        faults(value, whole)
        return
    assert (not faults(value, whole)) == expected, (whole, value)


CASES: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "unevaluated beside": (
        {"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}], "unevaluatedProperties": False},
        [{"a": 1, "b": 2}],
        [{"c": 1}],
    ),
    "unevaluated after a condition": (
        {
            "if": {"properties": {"a": {"const": 1}}, "required": ["a"]},
            "then": {"properties": {"b": {}}},
            "else": {"properties": {"c": {}}},
            "unevaluatedProperties": False,
        },
        [{"a": 1, "b": 2}, {"c": 3}],
        [{"a": 1, "c": 3}, {"b": 2}],
    ),
    "unevaluated items": (
        {"prefixItems": [{}], "contains": {"type": "string"}, "unevaluatedItems": {"type": "null"}},
        [[1, "x", None]],
        [[1, "x", 2]],
    ),
    "unevaluated of an alternative": (
        {"anyOf": [{"properties": {"a": {"type": "null"}}}, {"properties": {"b": {}}}], "unevaluatedProperties": False},
        [{"b": 1}, {"a": None, "b": 1}],
        [{"a": 1}],
    ),
    "a tree": (
        {
            "$ref": "#/$defs/n",
            "$defs": {"n": {"properties": {"c": {"items": {"$ref": "#/$defs/n"}}, "v": {"type": "integer"}}}},
        },
        [{"c": [{"c": [{"v": 1}]}]}],
        [{"c": [{"c": [{"v": "1"}]}]}],
    ),
    "numbers": ({"enum": [1, {"a": [True]}]}, [1, 1.0, {"a": [True]}], [True, {"a": [1]}]),
    "unique": ({"uniqueItems": True}, [[1, True, "1"], [{"a": 1}, {"a": 2}]], [[1, 1.0], [{"a": 1}, {"a": 1.0}]]),
    "only one": ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, [1, 2.5, "x"], [3, 1.5]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    schema, good, bad = CASES[name]
    for value, expected in [*((v, True) for v in good), *((v, False) for v in bad)]:
        assert valid(schema, value) is expected, "the case itself"
        assert (not faults(value, schema)) is expected, value


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_a_grammar_writes_has_no_faults(name: str) -> None:
    from inglenook.harmony.schema import tree_of

    grammar = tree_of(FOLLOWED[name])
    for seed in range(2 if "long" in name or "many" in name else 20):
        assert faults(json.loads(text_of(grammar.rules, seed)), FOLLOWED[name]) == ()


ADDRESS = {
    "type": "object",
    "properties": {
        "to": {"type": "array", "items": {"type": "object", "properties": {"zip": {"type": "string"}}}, "minItems": 1},
        "when": {"anyOf": [{"type": "string", "pattern": r"^\d{4}$"}, {"type": "null"}]},
        "kind": {"enum": ["letter", "parcel"]},
        "grams": {"type": "integer", "exclusiveMinimum": 0, "maximum": 5000},
    },
    "required": ["to"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, ['the property "to" is missing']),
        ({"to": []}, ["at /to: has 0 items, and must have 1 or more"]),
        ({"to": [{}, {"zip": 4}]}, ["at /to/1/zip: must be a string, not 4"]),
        ({"to": [{}], "kind": "l"}, ['at /kind: must be one of "letter", "parcel", not "l"']),
        ({"to": [{}], "grams": 0}, ["at /grams: must be more than 0, not 0"]),
        ({"to": [{}], "grams": 2.5}, ["at /grams: must be an integer, not 2.5"]),
        ({"to": [{}], "a/b": 1}, ['at /a~1b: there is no property "a/b" (there are to, when, kind, grams)']),
        (
            {"to": [{}], "when": "now"},
            [
                r'at /when: matches none of the alternatives (at /when: must match the pattern ^\d{4}$, and "now" does '
                "not)"
            ],
        ),
        ([], ["must be an object, not []"]),
    ],
)
def test_what_is_said_leads_there(value: Any, said: list[str]) -> None:
    assert [str(fault) for fault in faults(value, ADDRESS)] == said
    assert not valid(ADDRESS, value)


def test_few_faults_are_told_and_none_at_length() -> None:
    found = faults({"to": ["x" * 1000] * 100}, ADDRESS)
    assert len(found) == MOST
    assert all(len(str(fault)) < 200 for fault in found)


def nested(depth: int) -> Iterator[Any]:
    deep: Any = {}
    for _ in range(depth):
        deep = {"a": deep}
    yield deep


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (10**400, {"multipleOf": 0.5}),
        (next(nested(5000)), {"additionalProperties": {"$ref": "#"}}),
        (1, {"$ref": "#"}),
    ],
)
def test_what_cannot_be_is_refused(value: Any, schema: Any) -> None:
    assert len(faults(value, schema)) == 1


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": 3, "required": "a", "type": 7, "enum": 1, "allOf": {}, "pattern": 4, "minimum": "x"},
        {"pattern": "(", "patternProperties": {"(": False}, "format": "date", "type": "strange"},
        {"$ref": "https://example.org/other.json"},
        {"$ref": 5, "dependentRequired": [], "prefixItems": {}, "maxItems": None},
        3,
    ],
)
@pytest.mark.parametrize("value", [{"a": 1}, "x", 4, [1]])
def test_what_it_does_not_know_is_passed_over(value: Any, schema: Any) -> None:
    assert faults(value, schema) == ()


def test_patterns_are_those_of_ecma() -> None:
    assert faults("a\n", {"pattern": "^a$"}) == (Fault("", 'must match the pattern ^a$, and "a\\n" does not'),)
    assert faults("a$", {"pattern": r"^(?<x>[$])|a\$$"}) == ()
    assert faults("٣", {"pattern": r"\d"}), "an Arabic digit"
