from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inglenook.harmony.raw import RawKind, RawToken, raw

SPECIALS = {"<|start|>": 7, "<|end|>": 8}


def test_each_token_stands_for_itself():
    tokens = [(7, b""), (1, b"caf"), (2, b"\xc3"), (3, b"\xa9"), (8, b"<|end|>"), (99, b""), (4, b"<|end|>")]
    assert raw(tokens, SPECIALS) == (
        RawToken(7, RawKind.CONTROL, "<|start|>"),
        RawToken(1, RawKind.TEXT, "caf"),
        RawToken(2, RawKind.TEXT, ""),
        RawToken(3, RawKind.TEXT, "é"),
        RawToken(8, RawKind.CONTROL, "<|end|>"),
        RawToken(99, RawKind.UNKNOWN, "[99]"),
        RawToken(4, RawKind.TEXT, "<|end|>"),
    )


def test_bytes_that_are_no_characters_are_written_out():
    tokens = [(1, b"\xf0\x9f"), (7, b""), (2, b"\xff"), (3, b"\xc3")]
    assert [t.text for t in raw(tokens, SPECIALS)] == ["\\xf0\\x9f", "<|start|>", "\\xff", "\\xc3"]


pieces = st.tuples(st.integers(0, 9), st.sampled_from([b"a", b"\xc3", b"\xa9", "日".encode(), b"\xf0\x9f", b""]))


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(tokens=st.lists(pieces, max_size=12))
def test_every_token_is_accounted_for(tokens):
    shown = raw(tokens, SPECIALS)
    assert [t.id for t in shown] == [i for i, _ in tokens]
    names = {7: b"<|start|>", 8: b"<|end|>"}
    expected = b"".join(names.get(i, piece or b"[%d]" % i) for i, piece in tokens)
    written = "".join(t.text for t in shown)
    assert written == expected.decode("utf-8", "backslashreplace")


def test_nothing():
    assert raw([], SPECIALS) == ()


def test_of_real_streams_all_ids_are_shown(vocabulary):
    ids = vocabulary.ids("<|channel|>??<|channel|>final<|message|>日本語 🧩<|end|>dropped<|return|>")
    shown = raw(((i, vocabulary.piece(i)) for i in ids), vocabulary.specials)
    assert "".join(t.text for t in shown) == "<|channel|>??<|channel|>final<|message|>日本語 🧩<|end|>dropped<|return|>"
