"""What repeats itself is found soon, and nothing else: texts that only look alike are left alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import inglenook
from inglenook.chat.loops import ANSWER, STEP, THOUGHT, WINDOW, LoopGuard, Rule, period

ROOT = Path(inglenook.__file__).parent
SOURCES = [*sorted(ROOT.rglob("*.py")), *sorted(ROOT.parents[1].glob("*.md")), ROOT.parents[1] / "LICENSE"]


def tokens_of(text: str) -> list[int]:
    """As a vocabulary cuts it, or somewhat smaller: words, numbers by three digits, runs of blanks, each sign."""
    known: dict[str, int] = {}
    found = re.findall(r" ?[^\W\d]+|\d{1,3}|\s+|[^\w\s]", text)
    return [known.setdefault(piece, len(known)) for piece in found]


def slow_period(ids: Sequence[int], rule: Rule) -> int:
    """`period` as its words say it."""
    for p in range(1, len(ids) // rule.rounds + 1):
        span = max(rule.tokens, rule.rounds * p)
        end = ids[-span:]
        if len(ids) >= span and all(a == b for a, b in zip(end, end[p:], strict=False)):
            return p
    return 0


def found_after(ids: Iterable[int], rule: Rule) -> int | None:
    """How many tokens a guard needs to find a loop in the stream."""
    guard = LoopGuard()
    for count, token in enumerate(ids, 1):
        guard.feed(token)
        if guard.finds_loop(rule):
            return count
    return None


small = st.lists(st.integers(0, 2), max_size=40)


@given(
    small,
    st.lists(st.integers(0, 2), min_size=1, max_size=8),
    st.integers(1, 12),
    st.integers(1, 30),
    st.integers(2, 5),
)
@example([], [0], 12, 12, 2)
@example([0, 0, 0], [0, 1], 6, 12, 2)
def test_period_is_what_it_says(before: list[int], cycle: list[int], times: int, tokens: int, rounds: int) -> None:
    ids = before + cycle * times
    rule = Rule(tokens, rounds)
    assert period(ids, rule) == slow_period(ids, rule)


@given(
    st.lists(st.integers(0, 300), max_size=3000),
    st.lists(st.integers(0, 300), min_size=1, max_size=WINDOW // ANSWER.rounds),
    st.sampled_from([THOUGHT, ANSWER]),
)
def test_a_loop_is_found_soon(before: list[int], cycle: list[int], rule: Rule) -> None:
    need = max(rule.tokens, rule.rounds * len(cycle))
    ids = (before + cycle * (need // len(cycle) + STEP + 1))[: len(before) + need + STEP]
    count = found_after(ids, rule)
    assert count is not None


def test_a_loop_is_found_not_before_its_rounds() -> None:
    line = tokens_of("The quick brown fox jumps over the lazy dog, and then it does so once more.\n")
    for rule in (THOUGHT, ANSWER):
        need = max(rule.tokens, rule.rounds * len(line))
        count = found_after(line * 200, rule)
        assert count is not None
        assert need <= count < need + STEP


def test_other_ends_are_no_loops() -> None:
    """What went round in circles and came out of it."""
    assert period([1, 2] * 400 + [3], THOUGHT) == 0
    assert period([1, 2] * 400, THOUGHT) == 2


class Counted(int):
    """Counts how often it is compared."""

    count = 0

    def __eq__(self, other: object) -> bool:
        Counted.count += 1
        return int(self) == other

    __hash__ = int.__hash__


@pytest.mark.parametrize("make", [lambda i: 0, lambda i: i % 2, lambda i: i % 97, lambda i: i * i % 7, lambda i: i])
@pytest.mark.parametrize("last", [0, 5])
def test_time_is_linear(make: object, last: int) -> None:
    """By the comparisons, on ends that are nearly loops, or none: no rule is met, so that all is looked at."""
    n = 20_000
    ids = [Counted(make(i)) for i in range(n - last)] + [Counted(1000 + i) for i in range(last)]  # type: ignore[operator]
    Counted.count = 0
    period(ids, Rule(n + 1, 2))
    period(ids, Rule(n, 2) if last else Rule(n - 1, 2))
    assert Counted.count <= 3 * n


def table(rows: int) -> str:
    """Much alike, and no two rows the same."""
    lines = [f"| {i} | {i * i} | {'yes' if i % 2 else 'no'} | 0.00 | 0.00 |" for i in range(rows)]
    return "| n | n² | odd | a | b |\n|---|---|---|---|---|\n" + "\n".join(lines)


ALIKE = {
    "table": table(300),
    "numbered list": "".join(f"{i}. Check that the value is not empty.\n" for i in range(1, 300)),
    "multiplication table": "\n".join(" ".join(f"{a * b:3}" for b in range(1, 21)) for a in range(1, 21)),
    "identity matrix": "\n".join(" ".join(str(int(a == b)) for b in range(30)) for a in range(30)),
    "json": "[" + ",\n".join(f'{{"id": {i}, "name": "item", "done": false}}' for i in range(200)) + "]",
    "rulers": "\n\n".join(f"{'-' * 80}\nChapter {i}\n{'=' * 80}" for i in range(40)),
    "imports": "\n".join(f"from package.module_{name} import {name}" for name in map(str, range(200))),
    "a table's empty rows": "|   |   |   |\n" * 15,
    "a hundred zeros": "0, " * 100,
    "a refrain": ("La la la la, la la la la, la la la la.\n" * 4 + "And one more verse, which tells something.\n") * 3,
    "steps of a proof": "".join(f"So f({i}) = f({i - 1}) + {i}, which is {i * (i + 1) // 2}. " for i in range(1, 150)),
    "a countdown": " ".join(str(i) for i in range(1000, 0, -1)),
}


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("rule", [THOUGHT, ANSWER])
def test_texts_that_look_alike_are_no_loops(name: str, rule: Rule) -> None:
    assert found_after(tokens_of(ALIKE[name]), rule) is None


@pytest.mark.parametrize("rule", [THOUGHT, ANSWER])
def test_no_loop_in_what_people_write(rule: Rule) -> None:
    """This program, its documentation and its licence; the control is that each would be one, said over and over."""
    assert len(SOURCES) > 100
    for file in SOURCES:
        ids = tokens_of(file.read_text("utf-8"))
        assert found_after(ids, rule) is None, file
        if 0 < len(ids) <= WINDOW // rule.rounds:
            assert found_after(ids * 1000, rule), file


def test_what_is_asked_for_a_few_times_is_an_answer() -> None:
    line = tokens_of("I will not talk in class.\n")
    assert found_after(line * 50, ANSWER) is None
    assert found_after(line * 500, ANSWER) is not None
