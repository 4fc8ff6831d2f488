"""JSON schemas (draft 2020-12) as grammars: what a grammar lets through validates, and what cannot be held is refused.

Not all that validates is let through: properties come in the order of the schema, those that it does not name only
where `additionalProperties` says so, whole numbers are written without a point, and white space is as people use it, of
a bounded length, so that nothing can be written for ever but what the schema asks for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from inglenook.harmony import members, numbers
from inglenook.harmony.grammar import (
    EMPTY,
    LONGEST,
    NO_TEXT,
    NOTHING,
    Chars,
    Grammar,
    GrammarError,
    Literal,
    Node,
    Repeat,
    Rule,
    chars,
    choice,
    optional,
    repeat,
    sequence,
)
from inglenook.harmony.pattern import PatternError, pattern
from inglenook.harmony.schema_apart import is_apart
from inglenook.harmony.schema_source import (
    ANNOTATIONS,
    OF_TYPE,
    Schema,
    Source,
    check,
    escaped,
    impossible,
    is_number,
    merged,
    not_together,
    overlapping,
    same,
    too_large,
    type_of,
    types_of,
    unsupported,
    unsupported_value,
    wrong,
)

_MOST_RULES = 5_000
_DEEPEST = 40  # schemas within each other, not counting references
_ENUMERATED = 1_000  # multiples within bounds that are written out

SPACE = Rule("space")
_FIXED: dict[str, Node] = {
    "space": optional(
        choice(
            Literal(" "),
            sequence(Literal("\n"), choice(repeat(Literal(" "), 0, 24), repeat(Literal("\t"), 1, 8))),
        )
    ),
    "char": choice(
        Chars(((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, 0x10FFFF))),
        sequence(
            Literal("\\"),
            choice(
                chars('"\\/bfnrt'),
                sequence(Literal("u"), Rule("unit")),
            ),
        ),
    ),
    "hex": Chars(((0x30, 0x39), (0x41, 0x46), (0x61, 0x66))),
    "unit": choice(  # no surrogates: other characters need no escape
        sequence(
            Chars(((0x30, 0x39), (0x41, 0x43), (0x45, 0x46), (0x61, 0x63), (0x65, 0x66))), repeat(Rule("hex"), 3, 3)
        ),
        sequence(chars("Dd"), Chars(((0x30, 0x37),)), repeat(Rule("hex"), 2, 2)),
    ),
    "string": sequence(Literal('"'), repeat(Rule("char"), 0, None), Literal('"')),
    "number": numbers.NUMBER,
    "integer": numbers.INTEGER,
}
_FORMATS = {
    "date": (_DATE := r"[1-9]\d{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)"
             r"|(?:0[13578]|1[02])-31)"),
    "time": (_TIME := r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"),
    "date-time": f"(?:{_DATE})T(?:{_TIME})",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "ipv4": (_IPV4 := r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"),
    "ipv6": r"(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}",
    "hostname": (_HOST := r"[a-z0-9](?:[a-z0-9]|-[a-z0-9]){0,15}(?:\.[a-z0-9](?:[a-z0-9]|-[a-z0-9]){0,15}){0,4}"),
    "email": rf"[A-Za-z0-9_+-]{{1,32}}(?:\.[A-Za-z0-9_+-]{{1,15}}){{0,2}}@{_HOST}",
    "uri": rf"https?://{_HOST}(?:/[A-Za-z0-9._~-]{{0,64}}){{0,16}}(?:\?[A-Za-z0-9._~=&-]{{0,256}})?(?:#[A-Za-z0-9._~-]{{0,64}})?",
}  # fmt: skip


def grammar_of(schema: Any) -> str:
    """A grammar in GBNF of JSON texts that validate. Raises `SchemaError` if there is none, or not of all it says."""
    try:
        return tree_of(schema).text()
    except GrammarError as error:
        if str(error) == NO_TEXT:
            raise impossible("#") from None
        raise too_large("#") from None


def tree_of(schema: Any) -> Grammar:
    """The same as a tree, not yet checked."""
    compiler = _Compiler(schema)
    try:
        compiler.run()
    except (GrammarError, RecursionError):
        raise too_large("#") from None
    return compiler.grammar


class _Compiler:
    """Makes the rules. Each schema that a `$ref` names is a rule, so that it may refer to itself."""

    def __init__(self, schema: Any) -> None:
        self._source = Source(schema)
        self._rules: dict[str, Node] = {"root": EMPTY, **_FIXED}
        self.grammar = Grammar(self._rules)
        self._waiting: list[tuple[str, Any, str]] = []  # rules to be made, of which schema, and where that is
        self._of_path: dict[str, Rule] = {}
        self._depth = 0

    def run(self) -> None:
        """Makes them all."""
        self._of_path["#"] = Rule("root")
        self._waiting.append(("root", self._source.root, "#"))
        while self._waiting:
            name, schema, path = self._waiting.pop()
            self._rules[name] = self._value(schema, path)

    def rule(self, node: Node) -> Node:
        """A name for it, unless it is short."""
        if isinstance(node, Rule | Chars) or (isinstance(node, Literal) and len(node.text) < 30) or node == NOTHING:
            return node
        if len(self._rules) > _MOST_RULES:
            raise GrammarError("too large")
        name = f"n{len(self._rules)}"
        self._rules[name] = node
        return Rule(name)

    def _reference(self, reference: Any, path: str) -> Node:
        schema, at = self._source.find(reference, path)
        if at not in self._of_path:
            self._of_path[at] = Rule(f"s{len(self._of_path)}")
            self._rules[self._of_path[at].name] = NOTHING  # until its turn comes
            self._waiting.append((self._of_path[at].name, schema, at))
        return self._of_path[at]

    def _value(self, schema: Any, path: str) -> Node:
        check(schema, path)
        if schema is True:
            return self._anything()
        if schema is False:
            return NOTHING
        if "$ref" in schema and ANNOTATIONS.issuperset(schema.keys() - {"$ref"}):
            return self._reference(schema["$ref"], path)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise too_large(path)
        flat = self._source.flat(schema, path)
        node = NOTHING if flat is None else self._flat(flat, path)
        self._depth -= 1
        return node

    def _anything(self) -> Node:
        if "any" not in self._rules:
            self._rules["any"] = NOTHING
            self._rules["any"] = self._of_types({}, "#")
        return Rule("any")

    def _flat(self, schema: Schema, path: str) -> Node:
        """Of a schema without references and `allOf`."""
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._alternatives(schema, keyword, path)
        if not ANNOTATIONS.issuperset(schema):
            if "const" in schema or "enum" in schema:
                return self._literals(schema, path)
            return self._of_types(schema, path)
        return self._anything()

    # -- alternatives and constants --

    def _alternatives(self, schema: Schema, keyword: str, path: str) -> Node:
        rest = {k: v for k, v in schema.items() if k != keyword}
        alone = ANNOTATIONS.issuperset(rest)
        flats: list[Schema] = []
        nodes: list[Node] = []
        for i, one in enumerate(schema[keyword]):
            at = f"{path}/{keyword}/{i}"
            if alone and keyword == "anyOf":
                nodes.append(self._value(one, at))
                continue
            flat = self._source.flat(one, at)
            if flat is None:
                continue
            whole = flat if alone else merged(rest, flat, at)
            flats.append(whole)
            nodes.append(self._value(one, at) if alone else self._deeper(whole, at))
        if keyword == "oneOf":
            for i, flat in enumerate(flats):
                if not all(is_apart(flat, other, self._source, path) for other in flats[:i]):
                    raise overlapping(path)
        return choice(*map(self.rule, nodes))

    def _deeper(self, schema: Schema, path: str) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise too_large(path)
        node = self._flat(schema, path)
        self._depth -= 1
        return node

    def _literals(self, schema: Schema, path: str) -> Node:
        values: Any = [schema["const"]] if "const" in schema else schema["enum"]
        if not isinstance(values, list):
            raise wrong("enum", path)
        if "const" in schema and "enum" in schema:
            values = [v for v in values if any(same(v, other) for other in schema["enum"])]
        name = "const" if "const" in schema else "enum"
        types = types_of({k: v for k, v in schema.items() if k == "type"}, path)
        found = []
        for value in values:
            kind = type_of(value)
            if kind not in types and not (kind == "integer" and "number" in types):
                continue
            about = OF_TYPE.get("number" if kind == "integer" else kind, frozenset())
            if other := next((k for k in schema if k in about), ""):
                raise not_together(name, other, path)
            try:
                text = json.dumps(value, ensure_ascii=False, allow_nan=False)
                text.encode()
            except ValueError:
                raise wrong(name, path) from None
            found.append(Literal(text))
        return choice(*found)

    # -- types --

    def _of_types(self, schema: Schema, path: str) -> Node:
        makers: dict[str, Callable[[Schema, str], Node]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": self._number,
            "integer": self._number,
            "boolean": lambda _schema, _path: choice(Literal("true"), Literal("false")),
            "null": lambda _schema, _path: Literal("null"),
        }
        types = types_of(schema, path)
        return choice(*(makers[t]({**schema, "type": t}, path) for t in types))

    def _string(self, schema: Schema, path: str) -> Node:
        least, most = _count(schema, "minLength", path) or 0, _count(schema, "maxLength", path)
        content = self._content(schema, path)
        if content is None:
            if least == 0 and most is None:
                return Rule("string")
            content = repeat(Rule("char"), least, most)
        elif least or most is not None:
            if not isinstance(content, Repeat) or not isinstance(content.node, Chars):
                raise not_together("pattern" if "pattern" in schema else "format", "minLength/maxLength", path)
            bounds = [m for m in (most, content.most) if m is not None]
            content = repeat(content.node, max(least, content.least), min(bounds, default=None))
        return sequence(Literal('"'), content, Literal('"')) if content != NOTHING else NOTHING

    def _content(self, schema: Schema, path: str) -> Node | None:
        """By pattern or format; None if there is neither."""
        if "pattern" in schema:
            if not isinstance(schema["pattern"], str):
                raise wrong("pattern", path)
            if "format" in schema:
                raise not_together("pattern", "format", path)
            try:
                return pattern(schema["pattern"])
            except PatternError as error:
                raise unsupported_value("pattern", path, f"{schema['pattern'][:80]} ({error})") from None
        if "format" in schema:
            if schema["format"] not in _FORMATS:
                raise unsupported_value("format", path, schema["format"])
            return pattern(f"^(?:{_FORMATS[schema['format']]})$")
        return None

    def _number(self, schema: Schema, path: str) -> Node:
        low, above = _bound(schema, "minimum", "exclusiveMinimum", path, lowest=True)
        high, below = _bound(schema, "maximum", "exclusiveMaximum", path, lowest=False)
        whole = schema["type"] == "integer"
        multiple = schema.get("multipleOf")
        if multiple is not None:
            if not is_number(multiple) or multiple <= 0:
                raise wrong("multipleOf", path)
            if not float(multiple).is_integer():
                raise unsupported_value("multipleOf", path, multiple)
            whole = True
        if not whole:
            if low is None and high is None:
                return Rule("number")
            return numbers.numbers(low, high, above=above, below=below)
        first = None if low is None else numbers.scaled(low, 0, above, lowest=True)
        last = None if high is None else numbers.scaled(high, 0, below, lowest=False)
        if multiple is not None and multiple != 1:
            return self._multiples(int(multiple), first, last, path)
        return Rule("integer") if first is None and last is None else numbers.integers(first, last)

    def _multiples(self, of: int, first: int | None, last: int | None, path: str) -> Node:
        if first is not None and last is not None and (last - first) // of <= _ENUMERATED:
            return choice(*(Literal(str(n)) for n in range(-(-first // of) * of, last + 1, of)))
        if first is not None or last is not None:
            raise not_together("multipleOf", "minimum/maximum", path)
        if of > 200:
            raise unsupported_value("multipleOf", path, of)
        node, rules = numbers.multiples(of, f"m{of}x")
        self._rules.update(rules)
        return self.rule(node)

    def _array(self, schema: Schema, path: str) -> Node:
        least, most = _count(schema, "minItems", path) or 0, _count(schema, "maxItems", path)
        prefix = schema.get("prefixItems", [])
        if not isinstance(prefix, list) or ("prefixItems" in schema and not prefix):
            raise wrong("prefixItems", path)
        if schema.get("uniqueItems", False) is not False and (most is None or most > 1):
            raise unsupported("uniqueItems", path)
        if schema.get("unevaluatedItems", False) not in (True, False):
            raise unsupported("unevaluatedItems", path)
        nodes = [self.rule(self._value(one, f"{path}/prefixItems/{i}")) for i, one in enumerate(prefix)]
        rest: Node = NOTHING
        if "items" in schema:
            rest = self.rule(self._value(schema["items"], f"{path}/items"))
        elif (not prefix or least > len(prefix)) and schema.get("unevaluatedItems", True) is True:
            rest = self._anything()
        return members.array(nodes, rest, least, most, SPACE)

    def _object(self, schema: Schema, path: str) -> Node:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if not isinstance(properties, Mapping):
            raise wrong("properties", path)
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise wrong("required", path)
        more = schema.get("additionalProperties", not properties and schema.get("unevaluatedProperties", True))
        if schema.get("unevaluatedProperties", False) not in (True, False):
            raise unsupported("unevaluatedProperties", path)
        said = schema.get("additionalProperties", True)
        shown = {**properties, **{name: said for name in required if name not in properties}}
        found = []
        for name, one in shown.items():
            try:
                name.encode()
            except UnicodeEncodeError:
                raise wrong("properties", path) from None
            at = f"{path}/properties/{escaped(name)}" if name in properties else f"{path}/additionalProperties"
            found.append((name, self.rule(self._value(one, at)), name in required))
        if "propertyNames" in schema and shown:
            raise not_together("propertyNames", "properties", path)
        extra: Node = NOTHING
        if more is not False:
            extra = self.rule(self._value(more, f"{path}/additionalProperties"))
        keys = None
        if "propertyNames" in schema:
            names = {"allOf": [schema["propertyNames"], {"type": "string"}]}
            keys = self.rule(self._value(names, f"{path}/propertyNames"))
        least, most = self._sizes(schema, path, len(required), len(shown), open_=extra != NOTHING)
        return members.Object(self.rule, SPACE).node(found, keys, extra, least, most)

    def _sizes(self, schema: Schema, path: str, required: int, shown: int, *, open_: bool) -> tuple[int, int | None]:
        """How many others than the named properties there are to be. A name may come twice, and counts once then."""
        least, most = _count(schema, "minProperties", path) or 0, _count(schema, "maxProperties", path)
        if most is not None and (open_ or most < shown):
            if shown:
                raise not_together("maxProperties", "properties", path)
        elif most is not None:
            most = None
        if least > required and (shown or least > 1):
            raise unsupported_value("minProperties", path, least)
        return (least if not shown else 0), most


def _count(schema: Schema, keyword: str, path: str) -> int | None:
    value = schema.get(keyword)
    if value is None:
        return None
    if not is_number(value) or value < 0 or not float(value).is_integer():
        raise wrong(keyword, path)
    if value > LONGEST:
        raise unsupported_value(keyword, path, value)
    return int(value)


def _bound(schema: Schema, keyword: str, strict: str, path: str, *, lowest: bool) -> tuple[Decimal | None, bool]:
    """The stricter of the two, and whether it is not to be reached itself."""
    found: list[tuple[Decimal, bool]] = []
    for word in (keyword, strict):
        if word in schema:
            value = schema[word]
            if not is_number(value):
                raise wrong(word, path)
            if not abs(value) < 1e30 or 0 < abs(value) < 1e-12:
                raise unsupported_value(word, path, value)
            found.append((Decimal(repr(value)), word == strict))
    if not found:
        return None, False
    return max(found) if lowest else min(found, key=lambda one: (one[0], not one[1]))
