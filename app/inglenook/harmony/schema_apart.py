"""Whether two schemas share no value, as far as one can tell: `oneOf` holds only then, whatever the model writes."""

from __future__ import annotations

from typing import Any

from inglenook.harmony.schema_source import TYPES, Schema, Source, same, type_of, types_of

_DEEPEST = 8


def is_apart(a: Schema, b: Schema, source: Source, path: str, depth: int = 0) -> bool:
    """Whether nothing that is written by `a` or `b`, both without `$ref` and `allOf`, validates against the other."""
    ours, theirs = _values(a, path), _values(b, path)
    if ours is not None and theirs is not None:
        return not any(same(x, y) for x in ours for y in theirs)
    common = _types(a, ours, path) & _types(b, theirs, path)
    if not common:
        return True
    if common != {"object"} or ours is not None or theirs is not None or depth > _DEEPEST or _is_split(a, b):
        return False
    return _refuses(a, b, source, path, depth) and _refuses(b, a, source, path, depth)


def _is_split(*schemas: Schema) -> bool:
    return any("anyOf" in schema or "oneOf" in schema for schema in schemas)


def _values(schema: Schema, path: str) -> list[Any] | None:
    """All values that there are, if they are said one by one."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return values if isinstance(values, list) else None


def _types(schema: Schema, values: list[Any] | None, path: str) -> set[str]:
    if values is not None:
        found = {type_of(v) for v in values}
    else:  # where none is said, any validates, whichever of them is written
        found = set(types_of(schema, path)) if "type" in schema else set(TYPES)
    return {"number" if t == "integer" else t for t in found}


def _refuses(a: Schema, b: Schema, source: Source, path: str, depth: int) -> bool:
    """Whether no object that is written by `a` validates against `b`."""
    properties, others = a.get("properties", {}), b.get("properties", {})
    is_open = a.get("additionalProperties", not properties) is not False
    written = set(properties) | set(a.get("required", ()))
    if not is_open and any(name not in written for name in b.get("required", ())):
        return True
    for name in a.get("required", ()):
        if name in others:
            one, other = source.flat(properties.get(name, True), path), source.flat(others[name], path)
            if one is None or other is None or is_apart(one, other, source, path, depth + 1):
                return True
        elif b.get("additionalProperties") is False:
            return True
    return False
