"""Patterns as grammars: what a grammar writes is found by `re`, and what it cannot hold is refused by name."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.harmony.grammar import Grammar, sequence
from inglenook.harmony.pattern import PatternError, character, pattern, text, without

from .grammar_texts import text_of

SIGNS = ["a", "b", ".", r"\d", r"\w", r"\.", r"\\", "[a-c]", "[^a-c]", r"[\d_]", r"[^\n]", "é", '"', r"\n", r"\x41"]
atoms = st.sampled_from([*SIGNS, r"\u00e9"])
counts = st.sampled_from(["", "*", "+", "?", "{2}", "{1,3}", "{0,2}", "{1,}", "+?", "*?"])


def joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    # A group is repeated at least once and has something in it: what may be empty cannot be repeated.
    groups = st.sampled_from(["(?:(?:{})x)", "((?:{})x)", "(?<n>(?:{})x)"]).flatmap(lambda form: inner.map(form.format))
    one = st.tuples(atoms | groups, counts).map("".join)
    row = st.lists(one, min_size=1, max_size=3).map("".join)
    return st.lists(row, min_size=1, max_size=2).map("|".join)


# A name may be there only once in a pattern, and only Python wants a P before it.
sources = st.recursive(atoms, joined, max_leaves=6).filter(lambda source: source.count("(?<n>") <= 1)
anchored = st.tuples(st.booleans(), sources, st.booleans()).map(
    lambda found: f"{'^' * found[0]}(?:{found[1]}){'$' * found[2]}"
)


def written(source: str, seed: int) -> str:
    """A text that the grammar lets through, as the content of a JSON string."""
    rules = {"root": pattern(source)}
    return str(json.loads(f'"{text_of(rules, seed)}"'))


def in_python(source: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\$$", r"\\Z", source.replace("(?<n>", "(?P<n>")))


@settings(max_examples=60, deadline=None)
@given(anchored, st.integers(0, 10**6))
def test_what_a_grammar_writes_is_found(source: str, seed: int) -> None:
    said = written(source, seed)
    assert in_python(source).search(said), (source, said)


def test_the_control_another_pattern_does_not_find_it() -> None:
    assert not in_python("^(?:b+)$").search(written("^(?:a+)$", 1))


@pytest.mark.parametrize("seed", range(30))
def test_without_anchors_it_may_stand_anywhere(seed: int) -> None:
    assert re.search("ab", written("ab", seed))
    assert written("^ab", seed).startswith("ab")
    assert written("ab$", seed).endswith("ab")


def test_every_alternative_has_anchors_of_its_own() -> None:
    said = {written("^a$|^b$", seed) for seed in range(30)}
    assert said == {"a", "b"}


@given(st.text(max_size=12).filter(lambda content: not re.search("[\ud800-\udfff]", content)))
def test_a_text_is_written_as_json_has_it(content: str) -> None:
    grammar = Grammar({"root": sequence(text(content))})
    assert json.loads(f'"{text_of(grammar.rules, 1)}"') == content


ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)).map(lambda r: (r[0], r[0] + r[1])), max_size=4)


@given(ranges, ranges)
def test_without_is_a_difference_of_sets(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    def members(found: object) -> set[int]:
        return {n for low, high in found for n in range(low, high + 1)}  # type: ignore[attr-defined]

    left = without(tuple(a), tuple(b))
    assert members(left) == members(a) - members(b)
    assert all(low <= high for low, high in left)
    assert all(one[1] < other[0] for one, other in pairwise(left)), "sorted, apart"


@pytest.mark.parametrize("code", [0, 8, 9, 10, 0x1F, 0x22, 0x5C, 0x7F, 0xE9, 0x2028, 0x1F600])
def test_a_character_is_escaped_where_it_must_be(code: int) -> None:
    said = text_of({"root": character(((code, code),))}, 1)
    assert json.loads(f'"{said}"') == chr(code)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("(?=a)", "(?=a"),
        ("(?<!a)b", "(?<!"),
        (r"(a)\1", r"\1"),
        (r"\bword", r"\b"),
        (r"\p{L}", r"\p"),
        ("a**", "*"),
        ("*a", "*"),
        ("(a", "("),
        ("a)", ")"),
        ("[a", "["),
        ("[b-a]", "-"),
        ("a{3,1}", "{3,1}"),
        ("(?:a?)*", "*"),
        ("a^b", "^"),
        ("a$b", "$"),
        (r"\ud800", r"\ud800"),
        ("[]", "[]"),
        ("(" * 60 + "a" + ")" * 60, "("),
    ],
)
def test_what_cannot_be_held_is_refused_by_its_part(source: str, part: str) -> None:
    with pytest.raises(PatternError) as error:
        pattern(source)
    assert error.value.args[0] == part
