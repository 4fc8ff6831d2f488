"""Grammars of JSON numbers within bounds: exact, in plain decimal notation, and of a bounded length.

Numbers with so many decimals are whole numbers with a point in them; so the numbers in a range are those without
decimals, those with one, those with two and so on. So few digits are written that reading them as a binary fraction
does not move them over a bound.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

from inglenook.harmony.grammar import (
    EMPTY,
    NOTHING,
    Chars,
    Literal,
    Node,
    Rule,
    chars,
    choice,
    optional,
    repeat,
    sequence,
)

DIGITS = 15  # that a binary fraction keeps
_DECIMALS = 6
_DIGIT = Chars(((ord("0"), ord("9")),))
_NOT_ZERO = Chars(((ord("1"), ord("9")),))
_MINUS = Literal("-")

INTEGER = sequence(optional(_MINUS), choice(Literal("0"), sequence(_NOT_ZERO, repeat(_DIGIT, 0, 17))))
NUMBER = sequence(
    optional(_MINUS),
    choice(Literal("0"), sequence(_NOT_ZERO, repeat(_DIGIT, 0, 15))),
    optional(sequence(Literal("."), repeat(_DIGIT, 1, 15))),
    optional(sequence(chars("eE"), optional(chars("+-")), repeat(_DIGIT, 1, 2))),
)


def integers(low: int | None, high: int | None) -> Node:
    """Whole numbers from `low` to `high`, both included; None: as far as some digits more reach."""
    if low is None and high is None:
        return INTEGER
    return _signed(low, high, 0)


def numbers(low: Decimal | None, high: Decimal | None, *, above: bool = False, below: bool = False) -> Node:
    """Numbers from `low` to `high`, without the bound itself where it is to be `above` or `below` it."""
    if low is None and high is None:
        return NUMBER
    bounds = [b for b in (low, high) if b is not None]
    whole = max(len(str(abs(int(b)))) for b in bounds)
    decimals = max(_DECIMALS, *(-int(b.normalize().as_tuple().exponent) for b in bounds))
    found: list[Node] = []
    if above or below:  # what rounds to a bound that may be reached does no harm
        decimals = min(decimals, max(DIGITS - whole, 0))
    for places in range(decimals + 1):
        first = None if low is None else scaled(low, places, above, lowest=True)
        last = None if high is None else scaled(high, places, below, lowest=False)
        found.append(_signed(first, last, places))
    return choice(*found)


def multiples(of: int, name: str) -> tuple[Node, dict[str, Node]]:
    """Multiples of a whole number, with the rules that this takes: one for each remainder, called `name` and it."""
    rules: dict[str, Node] = {}
    rule_of = [f"{name}{i}" for i in range(of)]

    def ahead(remainder: int, digits: str) -> list[Node]:
        by_rest: dict[int, str] = {}
        for d in digits:
            rest = (remainder * 10 + int(d)) % of
            by_rest[rest] = by_rest.get(rest, "") + d
        return [sequence(chars(found), Rule(rule_of[rest])) for rest, found in by_rest.items()]

    for i in range(of):
        rules[rule_of[i]] = choice(*([EMPTY] if i == 0 else []), *ahead(i, "0123456789"))
    return choice(Literal("0"), sequence(optional(_MINUS), choice(*ahead(0, "123456789")))), rules


def scaled(bound: Decimal, places: int, exclusive: bool, *, lowest: bool) -> int:
    """The lowest or the highest whole number of units of that decimal place that keeps the bound."""
    with localcontext() as context:
        context.prec = 400
        exact = bound.scaleb(places)
        found = exact.to_integral_value(ROUND_CEILING if lowest else ROUND_FLOOR)
    step = 1 if lowest else -1
    return int(found) + (step if exclusive and found == exact else 0)


def _signed(low: int | None, high: int | None, places: int) -> Node:
    """Whole numbers in that range, with a point before their last `places` digits."""
    most = 10 ** (max(DIGITS, *(len(str(abs(b))) + 1 for b in (low, high) if b is not None)) + places) - 1
    low, high = (-most if low is None else low), (most if high is None else high)
    found: list[Node] = []
    if low < 0:
        found.append(sequence(_MINUS, _positive(max(1, -high), -low, places)))
    if high >= 0:
        found.append(_positive(max(0, low), high, places))
    return choice(*found) if low <= high else NOTHING


def _positive(low: int, high: int, places: int) -> Node:
    """The same without a sign."""
    found: list[Node] = []
    shortest = places + 1
    for length in range(max(shortest, len(str(low))), max(shortest, len(str(high))) + 1):
        first = max(low, 10 ** (length - 1) if length > shortest else 0)
        last = min(high, 10**length - 1)
        if first <= last:
            found.append(_digits(f"{first:0{length}}", f"{last:0{length}}", places))
    return choice(*found) if found else NOTHING


def _digits(low: str, high: str, places: int) -> Node:
    """Texts of as many digits from `low` to `high`, with the point where so many are left."""
    if not low:
        return EMPTY
    rest = len(low) - 1
    point = Literal(".") if rest == places and places else EMPTY

    def begins(a: str, b: str, then: Node) -> Node:
        return sequence(Chars(((ord(a), ord(b)),)) if a < b else Literal(a), point, then)

    if low[0] == high[0]:
        return begins(low[0], low[0], _digits(low[1:], high[1:], places))
    first, last = int(low[0]), int(high[0])
    found: list[Node] = []
    if low[1:] != "0" * rest:
        found.append(begins(low[0], low[0], _digits(low[1:], "9" * rest, places)))
        first += 1
    if high[1:] != "9" * rest:
        found.append(begins(high[0], high[0], _digits("0" * rest, high[1:], places)))
        last -= 1
    if first <= last:
        found.append(begins(str(first), str(last), _any(rest, places)))
    return choice(*found)


def _any(count: int, places: int) -> Node:
    """So many digits, with the point where `places` are left."""
    if places and count > places:
        return sequence(repeat(_DIGIT, count - places, count - places), Literal("."), repeat(_DIGIT, places, places))
    return repeat(_DIGIT, count, count)
