"""Whether a JSON value is as a schema (draft 2020-12) wants it, and if not, where and why: in words for a model.

The compiler of grammars refuses what it cannot hold; here a tool's arguments are checked whatever its schema says. What
this does not know of a schema (another file's, a keyword's value of the wrong kind, a pattern that Python cannot read,
`format`) is passed over: a tool is not useless because its author wrote more than can be checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from inglenook.harmony.schema_source import Schema, SchemaError, Source, escaped, is_number, same

MOST = 3
"""Faults that are told: a model mends the first ones first."""

_LONGEST = 80  # characters of a value that is quoted
_ARTICLE = {"object": "an object", "array": "an array", "integer": "an integer"}
_ECMA = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\$|\(\?<(?=[A-Za-z_])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at `path`, a JSON pointer ("" is the whole value)."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"at {self.path}: {self.reason}" if self.path else self.reason


def faults(value: Any, schema: Any) -> tuple[Fault, ...]:
    """The first `MOST` of what is wrong with `value`; none if it validates. Never raises."""
    try:
        return tuple(islice(_Checker(schema).value(value, schema, ""), MOST))
    except RecursionError:
        return (Fault("", "is nested too deep"),)


class _Checker:
    """For one schema, which references are looked up in."""

    def __init__(self, schema: Any) -> None:
        self._source = Source(schema)

    def value(self, value: Any, schema: Any, path: str) -> Iterator[Fault]:
        """What is wrong with a value of any type."""
        if schema is False:
            yield Fault(path, "is not allowed")
        if not isinstance(schema, Mapping):
            return
        yield from self._plain(value, schema, path)
        yield from self._combined(value, schema, path)
        if is_number(value):
            yield from _number(value, schema, path)
        elif isinstance(value, str):
            yield from _string(value, schema, path)
        elif isinstance(value, list):
            yield from self._array(value, schema, path)
        elif isinstance(value, Mapping):
            yield from self._object(value, schema, path)

    def holds(self, value: Any, schema: Any) -> bool:
        """Whether it validates."""
        return next(self.value(value, schema, ""), None) is None

    def _plain(self, value: Any, schema: Schema, path: str) -> Iterator[Fault]:
        said = schema.get("type")
        types = [said] if isinstance(said, str) else said
        if isinstance(types, list) and not any(_is_of(value, one) for one in types):
            wanted = " or ".join(_ARTICLE.get(str(one), f"a {one}" if one != "null" else "null") for one in types)
            yield Fault(path, f"must be {wanted}, not {_shown(value)}")
        if "const" in schema and not same(value, schema["const"]):
            yield Fault(path, f"must be {_shown(schema['const'])}, not {_shown(value)}")
        values = schema.get("enum")
        if isinstance(values, list) and not any(same(value, one) for one in values):
            yield Fault(path, f"must be one of {', '.join(map(_shown, values[:20]))}, not {_shown(value)}")

    def _combined(self, value: Any, schema: Schema, path: str) -> Iterator[Fault]:
        """References, alternatives and conditions."""
        for target in self._referred(schema):
            yield from self.value(value, target, path)
        for part in _schemas(schema, "allOf"):
            yield from self.value(value, part, path)
        if options := _schemas(schema, "anyOf"):
            yield from self._any(value, options, path)
        if options := _schemas(schema, "oneOf"):
            matching = [i for i, one in enumerate(options) if self.holds(value, one)]
            if len(matching) > 1:
                yield Fault(path, f"matches {len(matching)} of the alternatives, and may match one only")
            elif not matching:
                yield from self._any(value, options, path)
        if "not" in schema and self.holds(value, schema["not"]):
            yield Fault(path, f"must not be {_shown(value)}")
        if "if" in schema:
            branch = "then" if self.holds(value, schema["if"]) else "else"
            yield from self.value(value, schema.get(branch, True), path)

    def _any(self, value: Any, options: list[Any], path: str) -> Iterator[Fault]:
        """One of the options has to hold; told is what is wrong with the one that comes nearest."""
        found = [tuple(islice(self.value(value, one, path), MOST)) for one in options]
        if all(found):
            nearest = max(found, key=lambda wrong: (min(len(fault.path) for fault in wrong), -len(wrong)))
            yield Fault(path, f"matches none of the alternatives ({'; '.join(map(str, nearest))})")

    def _referred(self, schema: Schema) -> Iterator[Any]:
        for keyword in ("$ref", "$dynamicRef"):
            if keyword in schema:
                try:
                    yield self._source.find(schema[keyword], "#")[0]
                except SchemaError:
                    continue

    def _array(self, value: list[Any], schema: Schema, path: str) -> Iterator[Fault]:
        yield from _size(len(value), schema, "Items", "items", path)
        prefix = _schemas(schema, "prefixItems")
        for i, (item, one) in enumerate(zip(value, prefix, strict=False)):
            yield from self.value(item, one, f"{path}/{i}")
        for i in range(len(prefix), len(value) if "items" in schema else 0):
            yield from self.value(value[i], schema["items"], f"{path}/{i}")
        if "contains" in schema:
            count = sum(self.holds(item, schema["contains"]) for item in value)
            least, most = schema.get("minContains", 1), schema.get("maxContains")
            if is_number(least) and count < least:
                yield Fault(path, f"has {count} items as they are wanted, and must have {least} or more of them")
            if is_number(most) and count > most:
                yield Fault(path, f"has {count} items of a kind of which {most} are allowed")
        if schema.get("uniqueItems") is True:
            twice = next((i for i, item in enumerate(value) if any(same(item, other) for other in value[:i])), None)
            if twice is not None:
                yield Fault(f"{path}/{twice}", "is there twice, and may be there only once")
        if "unevaluatedItems" in schema:
            seen = self._items_seen(value, schema)
            for i in (i for i in range(len(value)) if i not in seen):
                yield from self.value(value[i], schema["unevaluatedItems"], f"{path}/{i}")

    def _object(self, value: Mapping[str, Any], schema: Schema, path: str) -> Iterator[Fault]:
        yield from _size(len(value), schema, "Properties", "properties", path)
        for name in _names(schema.get("required")):
            if name not in value:
                yield Fault(path, f'the property "{name}" is missing')
        for name, inner in value.items():
            at = f"{path}/{escaped(name)}"
            rules = list(_rules_of(name, schema))
            for rule in rules:
                yield from self.value(inner, rule, at)
            if not rules and "additionalProperties" in schema:
                yield from self._more(name, inner, schema, "additionalProperties", at)
            if "propertyNames" in schema:
                for fault in self.value(name, schema["propertyNames"], ""):
                    yield Fault(at, f"its name {fault.reason}")
        for name, needed in _pairs(schema, "dependentRequired"):
            for other in _names(needed) if name in value else ():
                if other not in value:
                    yield Fault(path, f'the property "{other}" is missing, which "{name}" needs')
        for name, one in _pairs(schema, "dependentSchemas"):
            if name in value:
                yield from self.value(value, one, path)
        if "unevaluatedProperties" in schema:
            seen = self._names_seen(value, schema)
            for name in (name for name in value if name not in seen):
                at = f"{path}/{escaped(name)}"
                yield from self._more(name, value[name], schema, "unevaluatedProperties", at)

    def _more(self, name: str, value: Any, schema: Schema, keyword: str, path: str) -> Iterator[Fault]:
        if schema[keyword] is False:
            known = [key for key, _ in _pairs(schema, "properties")]
            hint = f" (there are {', '.join(known[:20])})" if known else ""
            yield Fault(path, f'there is no property "{name}"{hint}')
        else:
            yield from self.value(value, schema[keyword], path)

    # -- what other keywords have looked at --

    def _holding(self, value: Any, schema: Schema) -> Iterator[Schema]:
        """The schemas within that say something of the same value, and that it keeps."""
        parts = [*self._referred(schema), *_schemas(schema, "allOf")]
        parts += [one for key in ("anyOf", "oneOf") for one in _schemas(schema, key) if self.holds(value, one)]
        if "if" in schema:
            is_so = self.holds(value, schema["if"])
            parts += [schema["if"], schema.get("then", True)] if is_so else [schema.get("else", True)]
        if isinstance(value, Mapping):
            parts += [one for name, one in _pairs(schema, "dependentSchemas") if name in value]
        return (part for part in parts if isinstance(part, Mapping))

    def _names_seen(self, value: Mapping[str, Any], schema: Schema, *, within: bool = False) -> set[str]:
        """Properties that a keyword beside `unevaluatedProperties`, or one within `schema`, has looked at."""
        if "additionalProperties" in schema or (within and "unevaluatedProperties" in schema):
            return set(value)
        seen = {name for name in value if any(True for _ in _rules_of(name, schema))}
        return seen.union(*(self._names_seen(value, part, within=True) for part in self._holding(value, schema)))

    def _items_seen(self, value: list[Any], schema: Schema, *, within: bool = False) -> set[int]:
        if "items" in schema or (within and "unevaluatedItems" in schema):
            return set(range(len(value)))
        seen = set(range(len(_schemas(schema, "prefixItems"))))
        if "contains" in schema:
            seen |= {i for i, item in enumerate(value) if self.holds(item, schema["contains"])}
        return seen.union(*(self._items_seen(value, part, within=True) for part in self._holding(value, schema)))


def _rules_of(name: str, schema: Schema) -> Iterator[Any]:
    """What is said of the property of that name, but for all others alike."""
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and name in properties:
        yield properties[name]
    for pattern, one in _pairs(schema, "patternProperties"):
        if (search := _search(pattern)) is not None and search(name):
            yield one


def _number(value: float, schema: Schema, path: str) -> Iterator[Fault]:
    bounds: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
        ("minimum", "at least", lambda bound: value >= bound),
        ("maximum", "at most", lambda bound: value <= bound),
        ("exclusiveMinimum", "more than", lambda bound: value > bound),
        ("exclusiveMaximum", "less than", lambda bound: value < bound),
    )
    for keyword, words, keeps in bounds:
        bound = schema.get(keyword)
        if is_number(bound) and not keeps(bound):
            yield Fault(path, f"must be {words} {bound}, not {_shown(value)}")
    of = schema.get("multipleOf")
    if is_number(of) and of > 0 and not _is_multiple(value, of):
        yield Fault(path, f"must be a multiple of {of}, not {_shown(value)}")


def _is_multiple(value: float, of: float) -> bool:
    if isinstance(value, int) and isinstance(of, int):
        return value % of == 0
    try:
        return (value / of).is_integer()
    except OverflowError:  # an integer beyond all fractions
        return False


def _string(value: str, schema: Schema, path: str) -> Iterator[Fault]:
    yield from _size(len(value), schema, "Length", "characters", path)
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and (search := _search(pattern)) is not None and not search(value):
        yield Fault(path, f"must match the pattern {pattern}, and {_shown(value)} does not")


def _size(size: int, schema: Schema, keyword: str, what: str, path: str) -> Iterator[Fault]:
    least, most = schema.get(f"min{keyword}"), schema.get(f"max{keyword}")
    if is_number(least) and size < least:
        yield Fault(path, f"has {size} {what}, and must have {least} or more")
    if is_number(most) and size > most:
        yield Fault(path, f"has {size} {what}, and must have {most} or fewer")


@lru_cache(256)
def _search(pattern: str) -> Callable[[str], object] | None:
    """Finds a pattern of ECMA 262; None if Python cannot."""

    def python(found: re.Match[str]) -> str:
        return {"$": r"\Z", "(?<": "(?P<"}.get(found[0], found[0])

    try:
        return re.compile(_ECMA.sub(python, pattern), re.ASCII).search
    except (re.error, OverflowError, RecursionError):
        return None


def _is_of(value: Any, name: Any) -> bool:
    match name:
        case "integer":
            return is_number(value) and (isinstance(value, int) or value.is_integer())
        case "number":
            return is_number(value)
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, Mapping)
    return name != "null" or value is None  # a type that there is not is passed over


def _schemas(schema: Schema, keyword: str) -> list[Any]:
    found = schema.get(keyword)
    return found if isinstance(found, list) else []


def _pairs(schema: Schema, keyword: str) -> Iterator[tuple[str, Any]]:
    found = schema.get(keyword)
    yield from found.items() if isinstance(found, Mapping) else ()


def _names(value: Any) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _shown(value: Any) -> str:
    """As JSON, not too long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):  # no JSON, or an integer of more digits than Python writes
        return "that"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
