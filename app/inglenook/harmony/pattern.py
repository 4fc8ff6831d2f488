r"""Regular expressions of JSON schemas (ECMA 262) as grammars of JSON strings' contents.

A grammar is regular and more, but has no lookaround, no references to groups and no word boundaries: these are refused
by name. Classes such as `\d` stand for ASCII, as in ECMA 262, so that the same text matches by other engines' rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from inglenook.harmony.grammar import (
    EMPTY,
    LONGEST,
    Chars,
    Literal,
    Node,
    can_be_empty,
    chars,
    choice,
    repeat,
    sequence,
)

Ranges = tuple[tuple[int, int], ...]

_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_SHORT = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 0x22: '"', 0x5C: "\\"}  # as JSON escapes them
_DIGIT: Ranges = ((0x30, 0x39),)
_WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Ranges = ((9, 13), (0x20, 0x20))
_LINE_ENDS: Ranges = ((10, 10), (13, 13), (0x85, 0x85), (0x2028, 0x2029))
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}


class PatternError(Exception):
    """The part of a pattern that cannot be followed is its first argument."""


def character(ranges: Ranges) -> Node:
    """One of these characters as it stands in a JSON string."""
    ranges = without(ranges, (_SURROGATES,))
    raw = without(ranges, ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C)))
    others = [c for c in (*range(0x20), 0x22, 0x5C) if any(low <= c <= high for low, high in ranges)]
    escapes: list[Node] = []
    if short := "".join(_SHORT[c] for c in others if c in _SHORT):
        escapes.append(chars(short))
    for tens in "01":
        if ones := "".join(f"{c:02x}"[1] for c in others if c not in _SHORT and f"{c:02x}"[0] == tens):
            escapes.append(sequence(Literal(f"u00{tens}"), chars(ones)))
    return choice(*([Chars(raw)] if raw else []), *([sequence(Literal("\\"), choice(*escapes))] if escapes else []))


def text(content: str) -> Node:
    """That text as it stands in a JSON string."""
    return sequence(*(character(((ord(c), ord(c)),)) for c in content))


def pattern(source: str) -> Node:
    """Contents of JSON strings in which `source` is found. Raises `PatternError`."""
    reader = _Reader(source)
    node = reader.alternatives(top=True)
    if reader.at < len(source):
        reader.refuse(")")
    return node


class _Reader:
    """Reads a pattern from `at` on."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self._depth = 0

    def refuse(self, part: str) -> NoReturn:
        """Raises `PatternError`."""
        raise PatternError(part)

    def alternatives(self, *, top: bool) -> Node:
        """Up to a `)` or the end. At the `top`, what is not anchored may stand anywhere in the text."""
        found = [self._alternative(top=top)]
        while self._next() == "|":
            self.at += 1
            found.append(self._alternative(top=top))
        return choice(*found)

    def _next(self) -> str:
        return self.source[self.at : self.at + 1]

    def _alternative(self, *, top: bool) -> Node:
        some = repeat(ANY, 0, None)
        begin = end = some if top else EMPTY
        if top and self._next() == "^":
            self.at += 1
            begin = EMPTY
        parts: list[Node] = []
        while (c := self._next()) and c not in "|)":
            if c == "$" and top and self.source[self.at + 1 : self.at + 2] in ("", "|"):
                self.at += 1
                end = EMPTY
                break
            if c in "^$":
                self.refuse(c)
            parts.append(self._quantified(self._atom()))
        return sequence(begin, *parts, end)

    def _quantified(self, node: Node) -> Node:
        c = self._next()
        if c and c in "*+?":
            self.at += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[c]
        elif c == "{":
            least, most = self._counts()
        else:
            return node
        if self._next() == "?":  # lazy: finds the same texts
            self.at += 1
        if (more := self._next()) and more in "*+?{":
            self.refuse(more)
        if can_be_empty(node):  # a grammar may not repeat that
            self.refuse(c)
        return repeat(node, least, most)

    def _counts(self) -> tuple[int, int | None]:
        end = self.source.find("}", self.at)
        inner = self.source[self.at + 1 : end] if end > 0 else ""
        low, comma, high = inner.partition(",")
        if not _is_count(low) or not (high == "" or _is_count(high)):
            self.refuse("{")
        self.at = end + 1
        least = int(low)
        most = int(high) if high else None if comma else least
        if max(least, most or 0) > LONGEST or (most is not None and most < least):
            self.refuse("{" + inner + "}")
        return least, most

    def _atom(self) -> Node:
        c = self._next()
        self.at += 1
        if c == "(":
            return self._group()
        if c == "[":
            return character(self._class())
        if c == ".":
            return character(without(((0, _LAST),), _LINE_ENDS))
        if c == "\\":
            return character(self._escape(within=False))
        if c in "*+?{}]":
            self.refuse(c)
        return character(((ord(c), ord(c)),))

    def _group(self) -> Node:
        self._depth += 1
        if self._depth > 50:
            self.refuse("(")
        if self._next() == "?":
            start = self.at - 1
            if self.source.startswith("?:", self.at):
                self.at += 2
            elif self.source.startswith("?<", self.at) and self.source[self.at + 2 : self.at + 3] not in ("=", "!", ""):
                self.at = self.source.find(">", self.at) + 1 or len(self.source)
            else:
                self.refuse(self.source[start : start + 4])
        node = self.alternatives(top=False)
        if self._next() != ")":
            self.refuse("(")
        self.at += 1
        self._depth -= 1
        return node

    def _class(self) -> Ranges:
        """After `[`, to after `]`."""
        negated = self._next() == "^"
        start = self.at = self.at + negated
        found: list[tuple[int, int]] = []
        while (c := self._next()) != "]":
            if not c:
                self.refuse("[")
            low = self._member()
            if self._next() == "-" and self.source[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self._member()
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or high[0][0] < low[0][0]:
                    self.refuse("-")
                low = ((low[0][0], high[0][1]),)
            found += low
        source = self.source[start : self.at]
        self.at += 1
        ranges = _joined(found)
        if negated:  # other engines' classes have more than ASCII in them
            named = any(f"\\{c}" in source.replace("\\\\", "") for c in "dwsDWS")
            ranges = without(((0, _LAST),), (*ranges, (0x80, _LAST)) if named else ranges)
        if not without(ranges, (_SURROGATES,)):
            self.refuse("[]")
        return ranges

    def _member(self) -> Ranges:
        c = self._next()
        self.at += 1
        return self._escape(within=True) if c == "\\" else ((ord(c), ord(c)),)

    def _escape(self, *, within: bool) -> Ranges:
        r"""After `\`."""
        c = self._next()
        self.at += 1
        if c and c.lower() in _CLASSES:
            ranges = _CLASSES[c.lower()]
            # What is no space by ECMA 262 may be one elsewhere, and the other way round: neither is either.
            return ranges if c.islower() else without(((0, _LAST),), _joined((*ranges, (0x80, _LAST))))
        if c in _CONTROLS and not (c == "0" and self._next().isdigit()):
            return ((_CONTROLS[c], _CONTROLS[c]),)
        if c == "b" and within:
            return ((8, 8),)
        if c and c in "xu":
            return self._hex(c)
        if not c or c.isalnum():
            self.refuse("\\" + c)
        return ((ord(c), ord(c)),)

    def _hex(self, kind: str) -> Ranges:
        digits = self.source[self.at : self.at + (2 if kind == "x" else 4)]
        if len(digits) < (2 if kind == "x" else 4) or not all(d in "0123456789abcdefABCDEF" for d in digits):
            self.refuse("\\" + kind)
        self.at += len(digits)
        code = int(digits, 16)
        if _SURROGATES[0] <= code <= _SURROGATES[1]:
            self.refuse("\\u" + digits)
        return ((code, code),)


def _is_count(digits: str) -> bool:
    return digits.isascii() and digits.isdigit() and len(digits) < 7


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted, without overlaps."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], high)
        else:
            found.append((low, high))
    return tuple(found)


def without(ranges: Ranges, less: Ranges) -> Ranges:
    """What of `ranges` is not in `less`."""
    found = list(_joined(ranges))
    for low, high in less:
        cut: list[tuple[int, int]] = []
        for a, b in found:
            cut += [(a, min(b, low - 1))] if a < low else []
            cut += [(max(a, high + 1), b)] if b > high else []
        found = cut
    return tuple(found)


ANY = character(((0, _LAST),))
"""Any character."""
