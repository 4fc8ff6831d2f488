"""Columns hold what was put into them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.core.events import GenerationStats
from inglenook.core.messages import PreamblePart, ReasoningPart, TextPart, ToolCallPart, ToolResultPart
from inglenook.store import codec

words = st.text()  # without surrogates
parts = st.one_of(
    st.builds(TextPart, words),
    st.builds(ReasoningPart, words, st.floats(0, 1e6)),
    st.builds(PreamblePart, words),
    st.builds(ToolCallPart, words, words, words),
    st.builds(ToolResultPart, words, words, words),
)


@settings(deadline=None)
@given(st.lists(parts).map(tuple))
def test_parts_round_trip(some: tuple) -> None:
    assert codec.decode_parts(codec.encode_parts(some)) == some


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**31 - 1)).map(tuple))
def test_tokens_round_trip_in_four_bytes_each(ids: tuple) -> None:
    data = codec.encode_tokens(ids)
    assert len(data) == 4 * len(ids)
    assert codec.decode_tokens(data) == ids


def test_tokens_are_little_endian() -> None:
    assert codec.encode_tokens([200006]) == (200006).to_bytes(4, "little")


def test_stats_round_trip() -> None:
    stats = GenerationStats(10, 4, 7, 0.25, 0.125, 3.5)
    assert codec.decode_stats(codec.encode_stats(stats)) == stats
    assert codec.decode_stats(codec.encode_stats(None)) is None


@settings(deadline=None)
@given(st.text(st.characters()))
def test_storable_text_is_utf8_and_otherwise_unchanged(text: str) -> None:
    stored = codec.storable(text)
    stored.encode()
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert stored == text


def test_lone_surrogates_become_replacement_characters_and_pairs_are_joined() -> None:
    assert codec.storable("a\ud800b") == "a\ufffdb"
    assert codec.storable("\ud83d\ude00\udc00") == "😀\ufffd"
    assert codec.decode_parts(codec.encode_parts([TextPart("x\udfff")])) == (TextPart("x\ufffd"),)
