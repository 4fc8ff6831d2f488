"""Random texts that a grammar lets through."""

from __future__ import annotations

import random

from inglenook.harmony.grammar import Chars, Choice, Literal, Node, Repeat, Rule, Sequence


def text_of(rules: dict[str, Node], seed: int) -> str:
    """One of them; the deeper it gets, the shorter are its parts."""
    return _Walk(rules, random.Random(seed)).text(Rule("root"), 0)


class _Walk:
    def __init__(self, rules: dict[str, Node], source: random.Random) -> None:
        self._rules = rules
        self._random = source
        self._depths = _depths(rules)

    def text(self, node: Node, depth: int) -> str:
        match node:
            case Literal(text):
                return text
            case Chars(ranges):
                low, high = self._random.choice(ranges)
                return chr(self._random.choice([low, high, self._random.randint(low, high)]))
            case Sequence(nodes):
                return "".join(self.text(n, depth) for n in nodes)
            case Choice(nodes):
                if depth > 12:
                    return self.text(min(nodes, key=lambda n: _depth(n, self._depths)), depth)
                return self.text(self._random.choice(nodes), depth)
            case Repeat(inner, least, most):
                more = 0 if depth > 12 else self._random.choice([0, 0, 1, 2, 5])
                if most is not None:
                    more = most - least if self._random.random() < 0.1 and depth < 5 else min(more, most - least)
                return "".join(self.text(inner, depth) for _ in range(least + more))
            case Rule(name):
                return self.text(self._rules[name], depth + 1)


def _depth(node: Node, depths: dict[str, int]) -> int:
    """How many rules within each other the shortest text takes."""
    match node:
        case Sequence(nodes):
            return max((_depth(n, depths) for n in nodes), default=0)
        case Choice(nodes):
            return min((_depth(n, depths) for n in nodes), default=9999)
        case Repeat(inner, least, _):
            return _depth(inner, depths) if least else 0
        case Rule(name):
            return depths.get(name, 9999)
    return 0


def _depths(rules: dict[str, Node]) -> dict[str, int]:
    depths: dict[str, int] = {}
    for _ in rules:
        found = {name: 1 + _depth(node, depths) for name, node in rules.items()}
        if found == depths:
            break
        depths = {name: depth for name, depth in found.items() if depth < 9999}
    return depths
