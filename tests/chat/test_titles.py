"""Titles from first messages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.chat.titles import TITLE_LENGTH, title_from


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Hello", "Hello"),
        ("\n\n  What   is\tthis? \nMore.", "What is this?"),
        (" \n ", ""),
        ("a" * 48, "a" * 48),
        ("a" * 49, "a" * 47 + "…"),
        ("word " * 20, "word word word word word word word word word…"),
        ("# Plan for *today*", "Plan for today"),
        ("- **Why** is `x = 1` ***so***?", "Why is x = 1 so?"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("```", "```"),
        ("# ", "#"),
        ("2 * 3 * 4 and 2*3*4, **kwargs, #1 and C#, snake_case", "2 * 3 * 4 and 2*3*4, **kwargs, #1 and C#,…"),
        ("see https://example.org/" + "x" * 60, "see https://example.org/" + "x" * 23 + "…"),
    ],
)
def test_titles(text: str, title: str) -> None:
    assert title_from(text) == title


@settings(deadline=None)
@given(st.text())
def test_a_title_is_one_short_line(text: str) -> None:
    title = title_from(text)
    assert len(title) <= TITLE_LENGTH
    assert "\n" not in title
    assert title == title.strip()
    assert bool(title) == bool(text.strip())


@settings(deadline=None)
@given(st.lists(st.text("abcdefg", min_size=1, max_size=12), min_size=12))
def test_words_are_not_cut(words: list[str]) -> None:
    title = title_from(" ".join(words))
    if title.endswith("…"):
        assert title[:-1].split() == words[: len(title[:-1].split())]
