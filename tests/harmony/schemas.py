"""Schemas that are followed: every keyword, alone and with those that it meets in the wild."""

from __future__ import annotations

from typing import Any

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "email": {"type": "string", "format": "email"},
        "tags": {"type": "array", "items": {"enum": ["a", "b\n", 'say "c"', "ü€😀"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
TREE = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "number"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value", "children"],
        }
    },
}
SHAPES = {
    "oneOf": [
        {"type": "object", "properties": {"kind": {"const": "circle"}, "r": {"type": "number"}}, "required": ["kind"]},
        {"type": "object", "properties": {"kind": {"const": "square"}, "a": {"type": "number"}}, "required": ["kind"]},
        {"type": "null"},
    ]
}

FOLLOWED: dict[str, Any] = {
    "person": PERSON,
    "tree": TREE,
    "shapes": SHAPES,
    "anything": True,
    "empty": {},
    "object": {"type": "object"},
    "array": {"type": "array"},
    "types": {"type": ["string", "integer", "null"]},
    "boolean": {"type": "boolean", "title": "t", "description": "d", "default": True, "examples": [False]},
    "const": {"const": {"a": [1, 2.5, None, 'x\\"\u0007é'], "": {}}},
    "enum": {"enum": [1, "1", True, None, [], {}]},
    "enum of a type": {"type": "integer", "enum": [1, "1", 2.5, 3.0, True]},
    "const in enum": {"const": 2, "enum": [1, 2, 3]},
    "lengths": {"type": "string", "minLength": 3, "maxLength": 5},
    "long": {"type": "string", "minLength": 300, "maxLength": 5000},
    "longer": {"type": "string", "minLength": 1200},
    "lengths without a type": {"minLength": 2},
    "pattern": {"type": "string", "pattern": r"^\(?[0-9]{3}\)?[-. ][0-9]{3}-[0-9]{4}$"},
    "pattern anywhere": {"type": "string", "pattern": "a+b|^c"},
    "pattern of everything": {"pattern": r"^(?:[^a-f\d]|\W\S|\.|\u0041\x42?|(?:x|yy*?)|[\]\-\\^]|.{2,3})+$"},
    "pattern of quotes": {"type": "string", "pattern": r'^["\\\n\t\x00-\x1f/]{3}$'},
    "pattern and length": {"type": "string", "pattern": "^[A-Z]+$", "minLength": 2, "maxLength": 4},
    "integers": {"type": "integer"},
    "from": {"type": "integer", "minimum": -15},
    "to": {"type": "integer", "maximum": 1203},
    "between": {"type": "integer", "minimum": -107, "exclusiveMaximum": 4096},
    "positive": {"type": "integer", "exclusiveMinimum": 0},
    "fractions as bounds": {"type": "integer", "minimum": 0.5, "maximum": 9.5},
    "safe integers": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
    "numbers": {"type": "number"},
    "a fraction": {"type": "number", "minimum": 0, "maximum": 1},
    "strictly": {"type": "number", "exclusiveMinimum": -0.5, "exclusiveMaximum": 12.25},
    "tiny": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e-9},
    "price": {"type": "number", "minimum": 0.01},
    "below": {"type": "number", "exclusiveMaximum": -3},
    "both bounds": {"type": "number", "minimum": 1, "exclusiveMinimum": 1, "maximum": 2},
    "multiples": {"type": "integer", "multipleOf": 7},
    "multiples between": {"type": "integer", "multipleOf": 5, "minimum": -12, "maximum": 31},
    "multiples of ten": {"type": "number", "multipleOf": 10},
    "items": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4},
    "no items": {"type": "array", "items": False},
    "many items": {"type": "array", "items": {"type": "boolean"}, "minItems": 1100, "maxItems": 1500},
    "tuple": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": False},
    "tuple and more": {"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "boolean"}, "minItems": 3},
    "short tuple": {"type": "array", "prefixItems": [True, {"type": "null"}], "maxItems": 1},
    "unique, at most one": {"type": "array", "uniqueItems": True, "maxItems": 1},
    "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    "map with something": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
    "small map": {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 2},
    "named keys": {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z]+$", "maxLength": 3},
        "additionalProperties": {"type": "null"},
    },
    "all optional": {"properties": {c: {"type": "null"} for c in "abcd"}},
    "mixed": {"properties": {c: {"type": "null"} for c in "abcde"}, "required": ["b", "d"]},
    "and others": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "ab": {"type": "integer"}, 'q"': {"type": "integer"}},
        "additionalProperties": {"type": "string"},
        "required": ["ab"],
    },
    "only others": {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "null"}},
    "required but not named": {"type": "object", "properties": {"a": True}, "required": ["b"]},
    "impossible property": {"properties": {"a": False, "b": {"type": "null"}}},
    "any of": {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "integer"}, {"type": "array", "maxItems": 1}]},
    "any of, with the rest": {
        "type": "object",
        "properties": {"a": {"type": "null"}, "b": {"type": "null"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "nullable": {"anyOf": [{"$ref": "#/$defs/x"}, {"type": "null"}], "$defs": {"x": {"type": "integer"}}},
    "one of": {"oneOf": [{"type": "string"}, {"type": "integer"}, {"const": None}]},
    "one of objects": {
        "oneOf": [
            {"properties": {"a": {"type": "null"}}, "required": ["a"], "type": "object", "additionalProperties": False},
            {"properties": {"b": {"type": "null"}}, "required": ["b"], "type": "object", "additionalProperties": False},
        ]
    },
    "all of": {
        "allOf": [
            {"$ref": "#/$defs/base"},
            {"properties": {"b": {"type": "integer", "minimum": 5}}, "required": ["b"]},
            {"properties": {"b": {"maximum": 9}}},
        ],
        "$defs": {"base": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}},
    },
    "a reference and more": {"$ref": "#/$defs/n", "maximum": 3, "$defs": {"n": {"type": "integer", "minimum": 1}}},
    "an anchor": {"$ref": "#here", "$defs": {"odd/na~me": {"$anchor": "here", "enum": [1]}}},
    "a pointer": {"$ref": "#/$defs/odd~1na~0me%20", "$defs": {"odd/na~me ": {"enum": [1]}}},
    "itself": {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    },
    "no more": {"type": "object", "properties": {"a": True}, "unevaluatedProperties": False},
    "without effect": {"type": "string", "minimum": 3, "required": ["a"], "contains": {}, "x-ours": 1},
    **{
        f"format {name}": {"type": "string", "format": name}
        for name in ("date", "time", "date-time", "uuid", "ipv4", "ipv6", "hostname", "email", "uri")
    },
}
