"""Grammars as trees, and their text in GBNF, the notation of llama.cpp.

llama.cpp copies what is repeated, walks into rules without a limit, and notices only some of the grammars that would
never end: so that none is handed to it, trees are checked first, and long repetitions are written in blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

NO_TEXT = "no text"
LONGEST = 65_536  # of a repetition with a bound
_BLOCK = 256  # repeated things that make one block; llama.cpp takes 2,000 at most
_MOST_PARTS = 500_000  # of a whole grammar: in llama.cpp's memory, some 10 MB
_MOST_STEPS = 100_000  # that llama.cpp's search for left recursion may take
_DEEPEST = 200  # rules that begin with a rule that begins with a rule, and so on


class GrammarError(Exception):
    """The grammar has no text, or is too large for llama.cpp."""


@dataclass(frozen=True, slots=True)
class Literal:
    """That very text."""

    text: str


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of these ranges, both ends included."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these; of none, nothing."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """From `least` to `most` times, None: without a bound. The node is never empty."""

    node: Node
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Rule:
    """What the rule of that name says."""

    name: str


Node = Literal | Chars | Sequence | Choice | Repeat | Rule

EMPTY = Literal("")
NOTHING = Choice(())
"""Matches no text at all, not even the empty one."""


def sequence(*nodes: Node) -> Node:
    """They all, in turn."""
    flat: list[Node] = []
    for node in nodes:
        parts = node.nodes if isinstance(node, Sequence) else (node,)
        for part in parts:
            if part == NOTHING:
                return NOTHING
            if isinstance(part, Literal) and flat and isinstance(last := flat[-1], Literal):
                flat[-1] = Literal(last.text + part.text)
            elif part != EMPTY:
                flat.append(part)
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat)) if flat else EMPTY


def choice(*nodes: Node) -> Node:
    """One of them."""
    flat: dict[Node, None] = {}
    for node in nodes:
        flat.update(dict.fromkeys(node.nodes if isinstance(node, Choice) else (node,)))
    return next(iter(flat)) if len(flat) == 1 else Choice(tuple(flat))


def repeat(node: Node, least: int, most: int | None) -> Node:
    """So many times."""
    if most is not None and most < least:
        return NOTHING
    if node in (EMPTY, NOTHING) or most == 0:
        return EMPTY if node == EMPTY or least == 0 else NOTHING
    return node if (least, most) == (1, 1) else Repeat(node, least, most)


def optional(node: Node) -> Node:
    """It, or nothing."""
    return repeat(node, 0, 1)


def chars(text: str) -> Chars:
    """One of these characters."""
    return Chars(tuple((ord(c), ord(c)) for c in text))


@dataclass(slots=True)
class Grammar:
    """Rules by name; the text begins at `root`."""

    rules: dict[str, Node] = field(default_factory=dict)

    def text(self) -> str:
        """In GBNF. Raises `GrammarError`."""
        _check(self.rules)
        writer = _Writer()
        lines = [f"{name} ::= {writer.choice(node)}" for name, node in self.rules.items()]
        return "\n".join([*lines, *writer.lines]) + "\n"


# -- checks --


def _check(rules: dict[str, Node]) -> None:
    if sum(_size(node) for node in rules.values()) > _MOST_PARTS:
        raise GrammarError("too large")
    ends: set[str] = set()
    while more := {name for name, node in rules.items() if name not in ends and _can_end(node, ends)}:
        ends |= more
    if "root" not in ends:
        raise GrammarError(NO_TEXT)
    empty: set[str] = set()
    while more := {name for name, node in rules.items() if name not in empty and can_be_empty(node, empty)}:
        empty |= more
    firsts = {name: list(_firsts(node, empty)) for name, node in rules.items()}
    steps: dict[str, int] = {}
    for name in rules:
        _count_steps(name, firsts, steps)
    if sum(steps.values()) > _MOST_STEPS:
        raise GrammarError("too many choices")


def _size(node: Node) -> int:
    """Parts that llama.cpp makes of it."""
    match node:
        case Literal(text):
            return len(text) + 1
        case Chars(ranges):
            return 2 * len(ranges) + 1
        case Sequence(nodes) | Choice(nodes):
            return 1 + sum(map(_size, nodes))
        case Repeat(inner, least, most):
            return _size(inner) + 4 * min(most or least, 4 * _BLOCK)
    return 1


def _can_end(node: Node, ends: set[str]) -> bool:
    """Whether it has a text, if those rules have."""
    match node:
        case Sequence(nodes):
            return all(_can_end(n, ends) for n in nodes)
        case Choice(nodes):
            return any(_can_end(n, ends) for n in nodes)
        case Repeat(inner, least, _):
            return least == 0 or _can_end(inner, ends)
        case Rule(name):
            return name in ends
    return True


def can_be_empty(node: Node, empty: Collection[str] = ()) -> bool:
    """Whether it matches the empty text, if those rules do."""
    match node:
        case Literal(text):
            return not text
        case Sequence(nodes):
            return all(can_be_empty(n, empty) for n in nodes)
        case Choice(nodes):
            return any(can_be_empty(n, empty) for n in nodes)
        case Repeat(inner, least, _):
            return least == 0 or can_be_empty(inner, empty)
        case Rule(name):
            return name in empty
    return False


def _firsts(node: Node, empty: Collection[str]) -> Iterator[str]:
    """Rules that it may begin with, as often as they are named."""
    match node:
        case Sequence(nodes):
            for part in nodes:
                yield from _firsts(part, empty)
                if not can_be_empty(part, empty):
                    return
        case Choice(nodes):
            for part in nodes:
                yield from _firsts(part, empty)
        case Repeat(inner, _, _):
            yield from _firsts(inner, empty)
        case Rule(name):
            yield name


def _count_steps(name: str, firsts: dict[str, list[str]], steps: dict[str, int], within: tuple[str, ...] = ()) -> int:
    """Steps of a walk into what `name` begins with, and so on."""
    if name in within:
        raise GrammarError("left recursion")
    if len(within) > _DEEPEST:
        raise GrammarError("too deep")
    if name not in steps:
        steps[name] = 1 + sum(_count_steps(first, firsts, steps, (*within, name)) for first in firsts[name])
    return steps[name]


# -- GBNF --


class _Writer:
    """Writes nodes; what it makes rules of itself is in `lines`."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[str, str] = {}  # of such rules, by their text

    def choice(self, node: Node) -> str:
        """As the right side of a rule, or in parentheses."""
        if isinstance(node, Choice):
            return " | ".join(self._sequence(n) for n in node.nodes)
        return self._sequence(node)

    def _sequence(self, node: Node) -> str:
        if isinstance(node, Sequence):
            return " ".join(self._one(n) for n in node.nodes)
        return self._one(node)

    def _one(self, node: Node) -> str:
        match node:
            case Literal(text):
                return f'"{"".join(map(_escaped, text))}"'
            case Chars(ranges):
                inner = (_escaped(chr(a)) + (f"-{_escaped(chr(b))}" if b > a else "") for a, b in ranges)
                return f"[{''.join(inner)}]"
            case Rule(name):
                return name
            case Repeat(inner, least, most):
                return self._repeat(inner, least, most)
        return f"({self.choice(node)})"

    def _repeat(self, node: Node, least: int, most: int | None) -> str:
        if max(least, most or 0) > LONGEST:
            raise GrammarError("too many repetitions")
        what = self._one(node) if isinstance(node, Chars | Rule) else self._rule(self.choice(node))
        if max(least, most or 0) <= 4 * _BLOCK:
            return f"{what}{{{least},{'' if most is None else most}}}"
        block = self._rule(f"{what}{{{_BLOCK}}}")
        parts = [f"{block}{{{least // _BLOCK}}}"] if least >= _BLOCK else []
        parts += [f"{what}{{{least % _BLOCK}}}"] if least % _BLOCK else []
        if most is None:
            parts.append(f"{what}*")
        elif blocks := (most - least) // _BLOCK:
            rest = f"{what}{{0,{(most - least) % _BLOCK}}}" if (most - least) % _BLOCK else '""'
            some = f"{block}{{0,{blocks - 1}}} {what}{{0,{_BLOCK - 1}}}"
            parts.append(f"({some} | {block}{{{blocks}}} {rest})")
        elif most > least:
            parts.append(f"{what}{{0,{most - least}}}")
        return " ".join(parts)

    def _rule(self, text: str) -> str:
        if text not in self._names:
            self._names[text] = f"r{len(self._names)}"
            self.lines.append(f"{self._names[text]} ::= {text}")
        return self._names[text]


def _escaped(c: str) -> str:
    if c.isascii() and (c.isalnum() or c in " _{}:,./+"):
        return c
    return f"\\x{ord(c):02X}" if ord(c) < 256 else f"\\U{ord(c):08X}"
