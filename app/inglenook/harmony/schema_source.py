"""JSON schemas (draft 2020-12) as they are written: references, what is said in several places, and what is refused.

A schema is what an answer is held to, so nothing of it is passed over: a keyword is followed, has no effect, or is
refused by its name and place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard
from urllib.parse import unquote

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_

Schema = Mapping[str, Any]

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
ANNOTATIONS = frozenset(
    [
        "$schema",
        "$id",
        "$anchor",
        "$comment",
        "$vocabulary",
        "$defs",
        "definitions",
        "title",
        "description",
        "default",
        "deprecated",
        "readOnly",
        "writeOnly",
        "examples",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
    ]
)
OF_TYPE: dict[str, frozenset[str]] = {
    "string": frozenset(["minLength", "maxLength", "pattern", "format"]),
    "number": frozenset(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]),
    "array": frozenset(
        [
            "items",
            "prefixItems",
            "minItems",
            "maxItems",
            "uniqueItems",
            "unevaluatedItems",
            "contains",
            "minContains",
            "maxContains",
            "additionalItems",
        ]
    ),
    "object": frozenset(
        [
            "properties",
            "required",
            "additionalProperties",
            "minProperties",
            "maxProperties",
            "unevaluatedProperties",
            "patternProperties",
            "propertyNames",
            "dependentRequired",
            "dependentSchemas",
            "dependencies",
        ]
    ),
}
_REFUSED = frozenset(
    [
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "patternProperties",
        "contains",
        "minContains",
        "maxContains",
        "additionalItems",
        "$dynamicRef",
        "$recursiveRef",
    ]
)
_LEAST = frozenset(["minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum"])
_MOST = frozenset(["maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum"])
_DEEPEST = 64


class SchemaError(UserError):
    """The schema cannot be followed."""


def unsupported(keyword: str, path: str) -> SchemaError:
    """A keyword that no grammar can express, or ours does not."""
    return SchemaError(
        N_('The schema cannot be followed: "{keyword}" at {path} is not supported. Change it, or leave it out.'),
        keyword=keyword,
        path=path,
    )


def unsupported_value(keyword: str, path: str, value: object) -> SchemaError:
    """A keyword with a value that is not supported."""
    return SchemaError(
        N_('The schema cannot be followed: "{keyword}" at {path} cannot be {value} here. Change it, or leave it out.'),
        keyword=keyword,
        path=path,
        value=value if isinstance(value, str) else json.dumps(value)[:80],
    )


def wrong(keyword: str, path: str) -> SchemaError:
    """A value that JSON Schema does not allow."""
    return SchemaError(
        N_('This is no JSON schema: "{keyword}" at {path} has a value of the wrong kind. Correct it.'),
        keyword=keyword,
        path=path,
    )


def not_together(keyword: str, other: str, path: str) -> SchemaError:
    """Keywords that are supported, but not both at once."""
    return SchemaError(
        N_('The schema cannot be followed: "{keyword}" and "{other}" at {path} cannot be combined. Leave one out.'),
        keyword=keyword,
        other=other,
        path=path,
    )


def overlapping(path: str) -> SchemaError:
    """Alternatives of a `oneOf` that one value may match two of."""
    return SchemaError(
        N_(
            'The schema cannot be followed: an answer could match two of the alternatives of "oneOf" at {path}. '
            'Use "anyOf", or give each a required property with a "const" of its own.'
        ),
        path=path,
    )


def impossible(path: str) -> SchemaError:
    """Nothing can match."""
    return SchemaError(N_("No answer can match the schema at {path}. Correct it."), path=path)


def too_large(path: str) -> SchemaError:
    """Or too deep, or it goes round in circles."""
    return SchemaError(
        N_("The schema cannot be followed: at {path} it is too large, nested too deeply, or names itself in a circle."),
        path=path,
    )


class Source:
    """A whole schema, to look references up in."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._id = root.get("$id") if isinstance(root, Mapping) else None

    def find(self, reference: Any, path: str) -> tuple[Any, str]:
        """What a `$ref` at `path` names, and its own path. Raises `SchemaError`."""
        if not isinstance(reference, str):
            raise wrong("$ref", path)
        base, _, name = reference.partition("#")
        if base and base != self._id:
            raise unsupported_value("$ref", path, reference)
        name = unquote(name)
        if name and not name.startswith("/"):
            found = [(schema, at) for schema, at in _subschemas(self.root, "#") if schema.get("$anchor") == name]
            if len(found) != 1:
                raise unsupported_value("$ref", path, reference)
            return found[0]
        at = self.root
        for part in name.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(at, list) and key.isascii() and key.isdigit() and int(key) < len(at):
                at = at[int(key)]
            elif isinstance(at, Mapping) and key in at:
                at = at[key]
            else:
                raise unsupported_value("$ref", path, reference)
        return at, f"#{name}"

    def flat(self, schema: Any, path: str, depth: int = 0) -> Schema | None:
        """`schema` with its references and `allOf` merged in; None where nothing matches. Raises `SchemaError`."""
        check(schema, path)
        if isinstance(schema, bool):
            return {} if schema else None
        if depth > _DEEPEST:
            raise too_large(path)
        found: Schema | None = {k: v for k, v in schema.items() if k not in ("$ref", "allOf")}
        parts: list[tuple[Any, str]] = []
        if "$ref" in schema:
            parts.append(self.find(schema["$ref"], path))
        parts += [(part, f"{path}/allOf/{i}") for i, part in enumerate(schema.get("allOf", []))]
        for part, part_path in parts:
            other = self.flat(part, part_path, depth + 1)
            if found is None or other is None:
                return None
            found = merged(found, other, path)
        return found


def check(schema: Any, path: str) -> None:
    """Raises `SchemaError` where it is none, or has what no type of value excuses."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise wrong(path.rpartition("/")[2], path)
    if "$id" in schema and path != "#":
        raise unsupported("$id", path)
    types = types_of(schema, path)
    for keyword in schema:
        needed = next((t for t, words in OF_TYPE.items() if keyword in words), None)
        vacuous = needed is not None and needed not in types and not (needed == "number" and "integer" in types)
        if keyword in _REFUSED and not vacuous:
            raise unsupported(keyword, path)
    for keyword in ("allOf", "anyOf", "oneOf"):
        if keyword in schema and not (isinstance(schema[keyword], list) and schema[keyword]):
            raise wrong(keyword, path)


def types_of(schema: Schema, path: str) -> list[str]:
    """Types that a value may have. Where none is said, those that the other keywords are about, or else all."""
    said = schema.get("type")
    if said is None:
        hinted = [t for t in TYPES if t in OF_TYPE and not OF_TYPE[t].isdisjoint(schema)]
        return hinted or [t for t in TYPES if t != "integer"]
    found = [said] if isinstance(said, str) else said
    if not isinstance(found, list) or not all(isinstance(t, str) and t in TYPES for t in found):
        raise wrong("type", path)
    return [t for t in TYPES if t in found and not (t == "integer" and "number" in found)]


def merged(a: Schema, b: Schema, path: str) -> Schema:
    """What says both. Raises `SchemaError` where that is not one schema."""
    for one, other in ((a, b), (b, a)):
        _check_closed(one, other, path)
    found = dict(a)
    for keyword, value in b.items():
        if keyword not in a or keyword in ANNOTATIONS:
            found.setdefault(keyword, value)
        else:
            found[keyword] = value if same(a[keyword], value) else _both(keyword, a[keyword], value, path)
    return found


def _check_closed(one: Schema, other: Schema, path: str) -> None:
    """What `one` says of all its other properties or items must not meet those of `other`."""
    for keyword, names in (("additionalProperties", "properties"), ("unevaluatedProperties", "properties")):
        more = set(other.get(names, ())) | set(other.get("required", ()))
        if one.get(keyword, True) not in (True, {}) and not more <= set(one.get(names, ())):
            raise not_together(keyword, "allOf", path)
    for keyword in ("items", "unevaluatedItems"):
        if keyword in one and "prefixItems" in other and not same(one.get("prefixItems"), other["prefixItems"]):
            raise not_together(keyword, "prefixItems", path)


def _both(keyword: str, a: Any, b: Any, path: str) -> Any:
    """A value for `keyword` that says what both do."""
    if keyword == "type":
        ours, theirs = types_of({"type": a}, path), types_of({"type": b}, path)
        return [
            t
            for t in TYPES
            if (t in ours or (t == "integer" and "number" in ours))
            and (t in theirs or (t == "integer" and "number" in theirs))
        ]
    if keyword == "required":
        return [*a, *(name for name in b if name not in a)]
    if keyword in _LEAST | _MOST:
        if not is_number(a) or not is_number(b):
            raise wrong(keyword, path)
        return max(a, b) if keyword in _LEAST else min(a, b)
    if keyword == "enum":
        return [value for value in a if any(same(value, other) for other in b)]
    if keyword == "const":
        raise impossible(path)
    if keyword == "properties":
        return {**a, **{name: {"allOf": [a[name], b[name]]} if name in a else b[name] for name in b}}
    if keyword in ("items", "additionalProperties", "propertyNames"):
        return {"allOf": [a, b]}
    if keyword == "uniqueItems":
        return True
    raise not_together(keyword, "allOf", path)


def _subschemas(schema: Any, path: str) -> Iterator[tuple[Schema, str]]:
    if isinstance(schema, Mapping):
        yield schema, path
        for key, value in schema.items():
            yield from _subschemas(value, f"{path}/{escaped(key)}")
    elif isinstance(schema, list):
        for i, value in enumerate(schema):
            yield from _subschemas(value, f"{path}/{i}")


def escaped(key: object) -> str:
    """A key as a part of a JSON pointer."""
    return str(key).replace("~", "~0").replace("/", "~1")


def is_number(value: object) -> TypeGuard[float]:
    """A JSON number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(a: Any, b: Any) -> bool:
    """Equal as JSON values: 1 is 1.0, and not true."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


def type_of(value: Any) -> str:
    """The type of a JSON value; a whole number is an integer."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if float(value).is_integer() else "number"
    kinds = ((str, "string"), (list, "array"), (Mapping, "object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")
