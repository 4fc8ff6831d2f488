"""The title that a conversation has until the user gives it one."""

from __future__ import annotations

import re

TITLE_LENGTH = 48
# Markdown that people type: a title shows the words alone.
_FENCE = re.compile(r"\s*(```|~~~)[^`]*")
_LEADING = re.compile(r"\A(?:(?:#{1,6}|[-*+>]) )+")
_MARKED = re.compile(r"(?<![\w*`])(\*{1,3}|`+)(?![\s*`])([^*`]*[^\s*`])\1(?![\w*`])")


def title_from(text: str) -> str:
    """The first line of `text` that says something, cut at a word to `TITLE_LENGTH` characters; '' if none does."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    line = next((line for line in lines if not _FENCE.fullmatch(line)), lines[0] if lines else "")
    line = _MARKED.sub(r"\2", _LEADING.sub("", line)) or line
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[: TITLE_LENGTH - 1]
    at_word = cut.rpartition(" ")[0] if line[TITLE_LENGTH - 1] != " " else cut
    # Scripts without spaces, and long addresses, have no word to cut at.
    return (at_word if len(at_word) > TITLE_LENGTH // 2 else cut).rstrip() + "…"
