"""Reasoning that turns in circles with a word changed each time is found; texts that look alike are left alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.chat.test_loops import ALIKE, ROOT, SOURCES

from inglenook.chat.near_loops import ROUNDS, WORDS, NearGuard

CIRCLES = {
    "a number": [f"Let me check the value {i} once more, to be sure.\n" for i in range(200)],
    "a number in one paragraph": [f"Wait, maybe the right answer is rather {i * 7}. " for i in range(200)],
    "a word": [f"But what if the user means the {w} one instead? " for w in ["red", "green", "old", "new"] * 50],
    "two sentences": [f"Hmm, that is not right either. So let me try it with {i} this time. " for i in range(200)],
    "the same with a word now and then": ["I should look at this again from the beginning. "] * 200,
    "in German": [f"Also prüfe ich noch einmal, ob die Zahl {i} wirklich größer ist. " for i in range(200)],
    "paragraphs": [f"Actually, let me reconsider {i} here.\n\nIt may not be what was wanted.\n\n" for i in range(200)],
}  # fmt: skip


def pieces_of(text: str) -> list[bytes]:
    """As a vocabulary cuts it."""
    return [piece.encode() for piece in re.findall(r" ?[^\W\d]+|\d{1,3}|\s+(?=\S)|\s|[^\w\s]", text)]


def found_after(text: str) -> int | None:
    """How many words a guard needs."""
    guard, words = NearGuard(), 0
    for piece in pieces_of(text):
        words += piece[:1].isspace()
        if guard.feed(piece):
            return words
    return None


@pytest.mark.parametrize("name", CIRCLES)
def test_circles_are_found(name: str) -> None:
    rounds = CIRCLES[name]
    before = "The user wants to know which of them is the largest. I compare them one by one.\n"
    count = found_after(before + "".join(rounds))
    assert count is not None
    assert count <= 2 * max(WORDS, ROUNDS * len(rounds[0].split())) + 50


@pytest.mark.parametrize("name", CIRCLES)
def test_not_before_their_rounds(name: str) -> None:
    assert found_after("".join(CIRCLES[name][: ROUNDS - 1])) is None


PROSE = {
    "a search through cases": "".join(
        f"Take n = {n}: then n squared is {n * n}, and the rest is {n * n % 7}. " for n in range(300)
    ),
    "divisors": "".join(
        f"Is 997 divisible by {n}? {n} times {997 // n} is {997 // n * n}, so no. " for n in range(2, 300)
    ),
    "counting": "".join(f"{n} sheep. " for n in range(500)),
    "a poem": (
        "The river runs down to the sea, my love,\nand the sea runs up to the sky.\n"
        "And who shall say which of us two, my love,\nwill be the first to cry?\n\n"
    )
    * 6,
    "ten green bottles": "".join(
        f"{n} green bottles hanging on the wall,\n{n} green bottles hanging on the wall,\n"
        f"And if one green bottle should accidentally fall,\nThere'll be {n - 1} green bottles hanging on the wall.\n\n"
        for n in range(10, 0, -1)
    ),
    "a list of steps": "".join(f"{n}. Turn the page and read the next line of it aloud.\n" for n in range(300)),
    "bullets": "".join(f"- Person number {n} is here and has a ticket for it\n" for n in range(300)),
    "calls": "".join(f"assert value_of({n}) == 4, 'this is not the value that it should have'\n" for n in range(300)),
    "yaml": "".join(f"name: the person with the number {n} in the list of all\n" for n in range(300)),
}  # fmt: skip


@pytest.mark.parametrize("name", [*PROSE, *ALIKE])
def test_texts_that_look_alike_are_no_circles(name: str) -> None:
    assert found_after({**PROSE, **ALIKE}[name]) is None


def test_no_circle_in_what_people_write() -> None:
    """Some of this program, its documentation and the demo model's texts; the control is `CIRCLES`."""
    files = [*SOURCES[::5], *(f for f in SOURCES if f.suffix != ".py"), *_demo_texts()]
    assert len(files) > 40
    for file in files:
        assert found_after(file.read_text("utf-8")) is None, file


def _demo_texts() -> list[Path]:
    folder = ROOT.parents[1] / "packaging" / "demo_model"
    return sorted(p for kind in ("*.toml", "*.md", "*.txt", "*.json", "*.py") for p in folder.rglob(kind))


@given(st.text(max_size=400), st.integers(1, 9))
def test_any_text_in_any_pieces(text: str, size: int) -> None:
    data, guard = text.encode("utf-8", "replace"), NearGuard()
    assert not any(guard.feed(data[i : i + size]) for i in range(0, len(data), size))


def test_a_sentence_without_end_is_forgotten() -> None:
    guard = NearGuard()
    for _ in range(100_000):
        assert not guard.feed(b"word ")
    assert len(guard._text) < 3000
