"""Cutting and parsing: the leaves of a text do not depend on how it arrived."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from inglenook.ui.widgets.markdown_source import DONE, ITEM, QUOTE, TODO, Kind, Leaf, MarkdownSource, leaves_of

PIECES = st.sampled_from(
    ["# ", "- ", "* ", "1. ", "2) ", "> ", "```\n", "```py\n", "~~~\n", "    ", "  ", "\n", "\n\n", "| a | b |\n",
     "|---|:-:|\n", "**", "`", "\\[", "\\]", "$$", "---\n", "===\n",
     "word ", "[x](http://a.b)", "<b>", "[ ] ", "\t", "\r\n", "é", "漢", "\u202e",
     "\u2029", "\x00"]
)  # fmt: skip
TEXTS = st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=200))


def streamed(text: str, seed: int) -> list[Leaf]:
    cut = random.Random(seed)
    source, at = MarkdownSource(), 0
    while at < len(text):
        size = cut.randint(1, 7)
        source.append(text[at : at + size])
        source.tail()
        at += size
    source.finish()
    assert source.tail() == []
    return source.stable


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.integers())
def test_any_text_in_any_pieces_gives_what_it_gives_at_once(text: str, seed: int) -> None:
    assert streamed(text, seed) == leaves_of(text)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(0, 300))
def test_what_is_stable_stays(text: str, at: int) -> None:
    source = MarkdownSource()
    source.append(text[:at])
    before = list(source.stable)
    source.append(text[at:])
    source.finish()
    assert source.stable[: len(before)] == before


def test_only_the_open_end_is_unstable() -> None:
    source = MarkdownSource()
    source.append("".join(f"Paragraph {i}.\n\n" for i in range(100)) + "The end")
    assert len(source.stable) == 99  # the last but one ends with the line that is still being written
    assert [leaf.text for leaf in source.tail()] == ["Paragraph 99.", "The end"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# A\ntext", [Leaf(Kind.HEADING, "A", level=1, first=True), Leaf(Kind.PARAGRAPH, "text")]),
        ("a\n```py\nx\n\ny\n```\nb", ["a", "x\n\ny", "b"]),
        ("```\nnever closed", ["never closed"]),
        ("````\n```\n````", ["```"]),
        ("\\[\nx_1 * y_2\n\\]", ["x_1 * y_2"]),
        ("text\n$$ a $$\nmore", ["text", "a", "more"]),
        ("\\[ not closed\n\nnext", ["\\[ not closed", "next"]),
    ],
)
def test_blocks(text: str, expected: list[object]) -> None:
    leaves = leaves_of(text)
    assert (leaves if isinstance(expected[0], Leaf) else [leaf.text for leaf in leaves]) == expected


def test_lists_quotes_tasks() -> None:
    leaves = leaves_of("1. a\n2. b\n   - c\n\n     d\n- [ ] e\n- [x] f\n> g\n> - h\n")
    assert [(leaf.text, leaf.containers, leaf.marker) for leaf in leaves] == [
        ("a", (ITEM,), "1."),
        ("b", (ITEM,), "2."),
        ("c", (ITEM, ITEM), "•"),
        ("d", (ITEM, ITEM), ""),
        ("e", (ITEM,), TODO),
        ("f", (ITEM,), DONE),
        ("g", (QUOTE,), ""),
        ("h", (QUOTE, ITEM), "•"),
    ]


def test_table_with_cells_and_alignment() -> None:
    (leaf,) = leaves_of("| a | b |\n|---|--:|\n| `x` | 2 |\n")
    assert leaf.kind is Kind.TABLE
    assert leaf.rows == (("a", "b"), ("`x`", "2"))
    assert leaf.aligns == ("left", "right")


@pytest.mark.parametrize("text", ["| a | b |", "| a | b |\n", "| a | b |\n|-", "| a | b |\n|---|---|\n| c |"])
def test_a_table_shows_as_one_from_its_first_line(text: str) -> None:
    source = MarkdownSource()
    source.append(text)
    assert [leaf.kind for leaf in source.tail()] == [Kind.TABLE]


@pytest.mark.parametrize("part", ["Text\n-", "Text\n=", "Text\n\n#", "Text\n`", "Text\n``", "Text\n1", "Text\n1."])
def test_half_a_marker_is_not_shown_while_streaming(part: str) -> None:
    source = MarkdownSource()
    source.append(part)
    assert [leaf.text for leaf in source.tail()] == ["Text"]


def test_cuts_are_where_commonmark_has_blocks() -> None:
    """The same blocks as markdown-it finds in the uncut text."""
    text = "# T\n\npara\nstill\n\n- a\n- b\n\n  c\n- d\n\n1. x\n\n   ```\n   code\n   ```\n"
    text += "2. y\n\n> q\n\n```\nz\n```\n\nend\n"
    tokens = MarkdownIt("commonmark").parse(text)
    expected = [t.content.removesuffix("\n") for t in tokens if t.type in ("inline", "fence")]
    assert [leaf.text for leaf in leaves_of(text)] == expected


BLOCKS = st.sampled_from(
    ["word\nword **word**", "- a\n- b\nlazy\n- c", "3. a\n4. b\n   - c\n   - d", "# word", "> a\n> b", "> - a\nlazy",
     "* * *", "```\nx\n\n- y\n```", "- a\n\n  b\n- c", "1. a\n\n   ```\n   x\n   ```", "    indented\n\n    code",
     "word\n# word\nword"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(BLOCKS, max_size=8), st.sampled_from(["\n\n", "\n\n\n"]))
def test_cut_texts_have_the_blocks_of_commonmark(blocks: list[str], between: str) -> None:
    text = between.join(blocks)
    tokens = MarkdownIt("commonmark").parse(text)
    expected = [t.content.removesuffix("\n") for t in tokens if t.type in ("inline", "fence", "code_block")]
    assert [leaf.text for leaf in leaves_of(text) if leaf.kind is not Kind.RULE] == expected
