from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inglenook.cli.terminal import StatusLine, harmless, has_styles, one_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_escape_sequences_become_visible() -> None:
    assert harmless("\x1b]0;title\x07") == "␛]0;title␇"
    assert harmless("\x9b31mred") == "\ufffd31mred"
    assert harmless("a\x7fb\x00") == "a␡b␀"
    assert harmless("abc\u202edef\u2066") == "abc\ufffddef\ufffd"
    assert harmless("half \ud83d of a pair") == "half \ufffd of a pair"


def test_text_stays_as_it_is() -> None:
    text = "Größe 3 × 4\n\tмир 世界 🙂 e\u0301 \u200d\n"
    assert harmless(text) == text
    assert harmless("two\r\nlines") == "two\nlines"


@given(st.text(st.characters(codec=None)))
def test_no_control_character_is_left(text: str) -> None:
    left = [c for c in harmless(text) if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
    assert left == []


@given(st.lists(st.text(st.characters(codec=None))))
def test_a_stream_is_as_harmless_as_the_whole(pieces: list[str]) -> None:
    assert "".join(map(harmless, pieces)) == harmless("".join(pieces))


def test_one_line() -> None:
    assert one_line("a\nb\r\n\tc \x1b[1m") == "a b c ␛[1m"


def test_status_line_is_rewritten_and_removed() -> None:
    out = Terminal()
    line = StatusLine(out)
    line.show("Loading: 9%")
    line.show("Loading: 9%")
    line.show("Short")
    line.clear()
    line.clear()
    assert out.getvalue() == "\rLoading: 9%" + "\rShort      " + "\r     \r"


def test_no_status_in_a_pipe() -> None:
    out = io.StringIO()
    line = StatusLine(out)
    line.show("Loading")
    line.clear()
    assert out.getvalue() == ""


def test_styles_only_on_a_terminal_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert has_styles(Terminal())
    assert not has_styles(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not has_styles(Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_styles(Terminal())
