"""Numbers within bounds as grammars: exact at the bounds, on both sides, and whole."""

from __future__ import annotations

import json
from decimal import Decimal

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from inglenook.harmony.grammar import NOTHING, Chars, Choice, Literal, Node, Repeat, Rule, Sequence
from inglenook.harmony.numbers import DIGITS, INTEGER, NUMBER, integers, multiples, numbers, scaled

from .grammar_texts import text_of

bounds = st.integers(-2000, 2000) | st.integers(-(10**12), 10**12)
decimals = st.decimals(-1000, 1000, places=3)


def texts(node: Node, rules: dict[str, Node] | None = None, most: int = 5000) -> set[str]:
    """All that a small grammar writes."""
    match node:
        case Literal(text):
            return {text}
        case Chars(ranges):
            return {chr(c) for low, high in ranges for c in range(low, high + 1)}
        case Choice(nodes):
            return {text for one in nodes for text in texts(one, rules, most)}
        case Sequence(nodes):
            found = {""}
            for one in nodes:
                found = {a + b for a in found for b in texts(one, rules, most)}
                assert len(found) <= most
            return found
        case Repeat(inner, least, int(limit)):
            once, found = texts(inner, rules, most), {""}
            all_ = set(found) if least == 0 else set()
            for count in range(1, limit + 1):
                found = {a + b for a in found for b in once}
                all_ |= found if count >= least else set()
            return all_
        case Rule(name):
            assert rules is not None
            return texts(rules[name], rules, most)
    raise AssertionError(node)


@settings(deadline=None)
@given(st.integers(-300, 300), st.integers(0, 400))
def test_whole_numbers_are_all_in_the_range_and_no_others(low: int, size: int) -> None:
    assert texts(integers(low, low + size)) == {str(n) for n in range(low, low + size + 1)}


@settings(deadline=None)
@given(bounds, bounds, st.integers(0, 10**6))
def test_large_ranges_keep_their_bounds(a: int, b: int, seed: int) -> None:
    low, high = min(a, b), max(a, b)
    assert low <= json.loads(text_of({"root": integers(low, high)}, seed)) <= high


@given(bounds, st.integers(0, 10**6), st.booleans())
def test_open_ranges_keep_the_bound_that_there_is(bound: int, seed: int, lowest: bool) -> None:
    value = json.loads(text_of({"root": integers(bound, None) if lowest else integers(None, bound)}, seed))
    assert value >= bound if lowest else value <= bound


def test_a_range_without_numbers_has_no_text() -> None:
    assert integers(3, 2) == NOTHING
    assert numbers(Decimal("0.5"), Decimal("0.5"), above=True) == NOTHING


@settings(deadline=None)
@given(decimals, decimals, st.booleans(), st.booleans(), st.integers(0, 10**6))
def test_numbers_validate_by_jsonschema(a: Decimal, b: Decimal, above: bool, below: bool, seed: int) -> None:
    low, high = min(a, b), max(a, b)
    assume(low < high)
    node = numbers(low, high, above=above, below=below)
    schema = {
        "exclusiveMinimum" if above else "minimum": float(low),
        "exclusiveMaximum" if below else "maximum": float(high),
    }
    said = text_of({"root": node}, seed)
    jsonschema.Draft202012Validator(schema).validate(json.loads(said))
    assert "e" not in said.lower()


def test_that_check_can_fail() -> None:
    said = json.loads(text_of({"root": numbers(Decimal(5), Decimal(6))}, 1))
    assert not jsonschema.Draft202012Validator({"maximum": 4}).is_valid(said)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("node", [INTEGER, NUMBER])
def test_without_bounds_all_are_json(node: Node, seed: int) -> None:
    value = json.loads(text_of({"root": node}, seed))
    assert isinstance(value, int if node == INTEGER else int | float)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 10**6))
def test_multiples_are_multiples(of: int, seed: int) -> None:
    node, rules = multiples(of, "m")
    value = json.loads(text_of({**rules, "root": node}, seed))
    assert value % of == 0


@given(decimals, st.integers(0, 5), st.booleans(), st.booleans())
def test_scaled_is_the_nearest_that_keeps_the_bound(bound: Decimal, places: int, exclusive: bool, lowest: bool) -> None:
    found = Decimal(scaled(bound, places, exclusive, lowest=lowest)).scaleb(-places)
    step = Decimal(1).scaleb(-places) * (1 if lowest else -1)

    def keeps(value: Decimal) -> bool:
        return (
            (value > bound if exclusive else value >= bound)
            if lowest
            else (value < bound if exclusive else value <= bound)
        )

    assert keeps(found)
    assert not keeps(found - step)


def test_so_few_digits_that_a_fraction_keeps_them() -> None:
    for seed in range(200):
        said = text_of({"root": numbers(Decimal(0), Decimal(1))}, seed)
        assert len(said.replace(".", "").replace("-", "")) <= DIGITS
