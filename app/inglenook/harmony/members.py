"""Grammars of JSON arrays and objects from those of their items, names and values."""

from __future__ import annotations

import json
from collections.abc import Callable

from inglenook.harmony.grammar import EMPTY, NOTHING, Chars, Literal, Node, choice, optional, repeat, sequence
from inglenook.harmony.pattern import without

_RAW = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, 0x10FFFF))  # characters of a string that need no escape


def array(prefix: list[Node], rest: Node, least: int, most: int | None, space: Node) -> Node:
    """From `least` to `most` items: first those of `prefix`, then any number of `rest`."""
    comma = sequence(Literal(","), space)

    def after(i: int) -> Node:
        """What may follow `i` items."""
        if i >= len(prefix):
            more = None if most is None else most - i
            return EMPTY if more is not None and more <= 0 else repeat(sequence(comma, rest), max(0, least - i), more)
        if most is not None and i >= most:
            return EMPTY
        one = sequence(comma, prefix[i], after(i + 1))
        return one if i < least else optional(one)

    first = prefix[0] if prefix else rest
    some = sequence(first, after(1), space) if most != 0 else NOTHING
    if least == 0:
        some = optional(some)
    return sequence(Literal("["), space, some, Literal("]")) if most is None or least <= most else NOTHING


class Object:
    """Makes objects; `rule` names what is used more than once."""

    def __init__(self, rule: Callable[[Node], Node], space: Node) -> None:
        self._rule = rule
        self._space = space
        self._comma = sequence(Literal(","), space)

    def node(
        self, named: list[tuple[str, Node, bool]], keys: Node | None, extra: Node, least: int, most: int | None
    ) -> Node:
        """Properties `named` (name, value, whether it must be there) in their order, then others with values `extra`.

        `keys` are the others' names, None: any; from `least` to `most` of them.
        """
        members: list[tuple[Node, bool]] = []
        for name, value, is_required in named:
            member = self._member(Literal(json.dumps(name, ensure_ascii=False)), value)
            if member != NOTHING:
                members.append((member, is_required))
            elif is_required:
                return NOTHING
        if keys is None:
            keys = self._others({name for name, _, _ in named})
        other = self._member(keys, extra)
        if other != NOTHING:
            other = self._rule(other)
        more = repeat(sequence(self._comma, other), max(least - 1, 0), None if most is None else max(most - 1, 0))
        last = repeat(sequence(self._comma, other), least, most) if members else more
        body = self._body(members, other if most != 0 else NOTHING, more, last, must=least > 0)
        return sequence(Literal("{"), self._space, body, Literal("}"))

    def _member(self, key: Node, value: Node) -> Node:
        return sequence(key, Literal(":"), self._space, value)

    def _body(self, members: list[tuple[Node, bool]], other: Node, more: Node, last: Node, *, must: bool) -> Node:
        """What is between the braces, with the space after it. `last`: others after a member; `more`: after another."""
        tails = [last]  # what may follow when there has been a member, from the last member on
        for member, is_required in reversed(members):
            one = sequence(self._comma, member)
            tails.append(self._rule(sequence(one if is_required else optional(one), tails[-1])))
        tails.reverse()
        firsts: list[Node] = []
        for i, (member, is_required) in enumerate(members):
            firsts.append(sequence(member, tails[i + 1], self._space))
            if is_required:
                return choice(*firsts)
        firsts.append(sequence(other, more, self._space))
        some = choice(*firsts)
        return some if must else optional(some)

    def _others(self, names: set[str]) -> Node:
        """Names as JSON strings, but for these, and without escapes, which could spell one of them."""
        return sequence(Literal('"'), self._not(frozenset(names)), Literal('"'))

    def _not(self, names: frozenset[str]) -> Node:
        """Texts that are none of `names`."""
        if not names:
            return repeat(Chars(_RAW), 0, None)
        heads = {name[0] for name in names if name}
        free = without(_RAW, tuple((ord(c), ord(c)) for c in heads))
        found = [sequence(Chars(free), repeat(Chars(_RAW), 0, None))] + ([] if "" in names else [EMPTY])
        for head in sorted(heads):
            if without(((ord(head), ord(head)),), _RAW):
                continue  # it has no form without an escape
            tails = frozenset(name[1:] for name in names if name[:1] == head)
            found.append(sequence(Literal(head), self._rule(self._not(tails))))
        return choice(*found)
