"""Tool declarations as the model was trained to read them: JSON schemas written as TypeScript types.

The text equals openai-harmony's, with three deviations where that library is wrong: every line of a description is a
comment (the library comments only the first line of a parameter's), a comment that ends a line stays on that line, and
a tool without parameters takes none (the library writes an empty object, or `any` for an empty schema).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from inglenook.core.prompt import Builtin, ResponseFormat, ToolSpec
from inglenook.harmony.specials import FUNCTIONS, safe_name

MAX_DEPTH = 64
"""Nesting of a schema beyond which its types are `any`: a schema from outside must not exhaust the stack."""

_PLAIN_TYPES = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean"}


def tools_section(tools: Sequence[ToolSpec]) -> str:
    """The `# Tools` section of the developer message, declaring `tools` in the namespace `functions`."""
    return "\n".join(["# Tools\n", f"## {FUNCTIONS}\n", *_namespace(FUNCTIONS, tools)])


def builtins_section(builtins: Sequence[Builtin]) -> str:
    """The `# Tools` section of the system message, in the order of names, as openai-harmony has it."""
    sections = []
    for builtin in sorted(builtins, key=lambda b: b.name):
        name, lines = safe_name(builtin.name), _lines(builtin.description)
        if builtin.functions:
            lines = [*map("// {}".format, lines), *_namespace(name, builtin.functions)]
        sections.append("\n".join([f"## {name}\n", *lines]))
    return "\n\n".join(["# Tools", *sections])


def formats_section(formats: Sequence[ResponseFormat]) -> str:
    """The `# Response Formats` section, the last of the developer message (openai/harmony, docs/format.md)."""
    sections = ["# Response Formats"]
    for one in formats:
        comment = _comment(one.description, "") if one.description else ""
        sections.append(f"## {safe_name(one.name)}\n\n{comment}{_json(one.schema)}")
    return "\n\n".join(sections)


def recipients(tools: Sequence[ToolSpec], builtins: Sequence[Builtin] = ()) -> tuple[str, ...]:
    """What the calls of these tools are addressed to."""
    names = [f"{FUNCTIONS}.{safe_name(tool.name)}" for tool in tools]
    for builtin in builtins:
        name = safe_name(builtin.name)
        names += [f"{name}.{safe_name(f.name)}" for f in builtin.functions] or [name]
    return tuple(names)


def _namespace(name: str, tools: Sequence[ToolSpec]) -> list[str]:
    lines = [f"namespace {name} {{\n"]
    for tool in tools:
        lines += [f"// {line}" for line in _lines(tool.description)]
        argument = f"_: {typescript(tool.parameters)}" if _takes_arguments(tool.parameters) else ""
        lines.append(f"type {safe_name(tool.name)} = ({argument}) => any;\n")
    return [*lines, f"}} // namespace {name}"]


def typescript(schema: Any, indent: str = "", depth: int = 0) -> str:
    """The type that a JSON schema describes. What the format has no notation for (`$ref`, `anyOf`, ...) is `any`."""
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return "any"
    if isinstance(variants := schema.get("oneOf"), list):
        return "".join(f"\n{indent} | {_variant(v, indent, depth)}{_remarks(v)}" for v in variants)
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join("number" if k == "integer" else k for k in kind if isinstance(k, str)) or "any"
    if kind == "object":
        return _object(schema, indent, depth)
    if kind == "array":
        return f"{typescript(schema['items'], indent, depth + 1)}[]" if "items" in schema else "Array<any>"
    if kind == "string" and (values := _string_values(schema)):
        return " | ".join(values)
    return _PLAIN_TYPES.get(kind, "any") if isinstance(kind, str) else "any"


def _takes_arguments(parameters: Mapping[str, Any] | None) -> bool:
    if not parameters:
        return False
    is_empty_object = parameters.get("type") == "object" and not parameters.get("properties")
    return not is_empty_object or "oneOf" in parameters


def _object(schema: Mapping[str, Any], indent: str, depth: int) -> str:
    out = _comment(schema.get("description"), indent) + "{\n"
    properties = schema.get("properties")
    listed = schema.get("required")
    required = listed if isinstance(listed, list) else []
    for name, value in properties.items() if isinstance(properties, Mapping) else ():
        out += _property(f"{indent}{name}{'' if name in required else '?'}:", value, indent, depth)
    return f"{out}{indent}}}"


def _property(label: str, schema: Any, indent: str, depth: int) -> str:
    """One property with its comments; `label` is its indented name with `?` and colon."""
    schema = schema if isinstance(schema, Mapping) else {}
    out = ""
    if isinstance(schema.get("title"), str):
        out += _comment(schema["title"], indent) + f"{indent}//\n"
    if "oneOf" not in schema:
        out += _comment(schema.get("description"), indent)
    examples = schema.get("examples")
    if isinstance(examples, list) and examples:
        out += f"{indent}// Examples:\n"
        out += "".join(_comment(f'- "{e}"', indent) for e in examples if isinstance(e, str))
    if isinstance(schema.get("oneOf"), list):
        return out + _union_property(label, schema, indent, depth)
    out += f"{label} {_nullable(schema, typescript(schema, indent + '    ', depth + 1))},"
    if "default" in schema and "oneOf" not in schema:
        out += f" // default: {_one_line(_default(schema))}"
    return out + "\n"


def _union_property(label: str, schema: Mapping[str, Any], indent: str, depth: int) -> str:
    """A `oneOf` property: its variants on lines of their own, a description that the first one repeats said once."""
    variants: list[Any] = schema["oneOf"]
    description = schema.get("description")
    first = variants[0].get("description") if variants and isinstance(variants[0], Mapping) else None
    above = isinstance(description, str) and description != first
    out = _comment(description, indent) if above else ""
    if "default" in schema:
        out += _comment(f"default: {_default(schema)}", indent)
    out += f"{label}\n"
    for i, variant in enumerate(variants):
        said = above and i == 0
        own = variant.get("description") if isinstance(variant, Mapping) else None
        remarks = _remarks(variant, describe=not said and own != description, bare_enum_default=True)
        out += f"{indent} | {_variant(variant, indent, depth)}{remarks}\n"
    return f"{out}{indent},\n"


def _variant(schema: Any, indent: str, depth: int) -> str:
    return _nullable(schema, typescript(schema, indent + "   ", depth + 1))


def _nullable(schema: Any, written: str) -> str:
    nullable = isinstance(schema, Mapping) and schema.get("nullable") is True
    return f"{written} | null" if nullable and "null" not in written else written


def _remarks(variant: Any, *, describe: bool = True, bare_enum_default: bool = False) -> str:
    """The comment after a variant: description and default, on the same line."""
    if not isinstance(variant, Mapping):
        return ""
    found = []
    if describe and isinstance(variant.get("description"), str):
        found.append(_one_line(variant["description"]))
    if "default" in variant:
        value = _default(variant) if bare_enum_default else _default(variant, quote_enums=True)
        found.append(f"default: {_one_line(value)}")
    return f" // {' '.join(found)}" if found else ""


def _default(schema: Mapping[str, Any], *, quote_enums: bool = False) -> str:
    """A default as it stands in a comment: strings quoted, but bare where they are one of an enum's values."""
    value = schema["default"]
    if not isinstance(value, str):
        return _json(value)
    has_enum = isinstance(schema.get("enum"), list) and bool(schema["enum"])
    if has_enum:
        return _json(value) if quote_enums else value
    return f'"{value}"'


def _string_values(schema: Mapping[str, Any]) -> list[str]:
    values = schema.get("enum")
    return [f'"{v}"' for v in values if isinstance(v, str)] if isinstance(values, list) else []


def _comment(text: Any, indent: str) -> str:
    """`text` as whole lines of comment; nothing for what is not text."""
    if not isinstance(text, str):
        return ""
    return "".join(f"{indent}// {line}\n" for line in _lines(text) or [""])


def _lines(text: str) -> list[str]:
    """Lines as openai-harmony counts them: LF or CRLF ends one, and no empty line follows the last end."""
    *ended, last = text.split("\n")
    lines = [line.removesuffix("\r") for line in ended]
    return [*lines, last] if last else lines


def _one_line(text: str) -> str:
    return " ".join(_lines(text)) if "\n" in text else text


def _json(value: Any) -> str:
    """Compact JSON with floats as Rust's serde writes them (`1e-7`, not `1e-07`), to equal openai-harmony."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_json(str(k))}:{_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_json, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        value = float(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return "null"
        if 1e-5 <= abs(value) < 1e-4:
            return f"{Decimal(repr(value)):f}"
        return repr(value).replace("e+", "e").replace("e-0", "e-")
    return json.dumps(value, ensure_ascii=False)
