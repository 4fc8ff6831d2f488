"""The title that a conversation has until the user gives it one."""

from __future__ import annotations

TITLE_LENGTH = 48


def title_from(text: str) -> str:
    """The first line of `text` that says something, cut at a word to `TITLE_LENGTH` characters; '' if none does."""
    line = next((" ".join(line.split()) for line in text.splitlines() if line.strip()), "")
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[: TITLE_LENGTH - 1]
    at_word = cut.rpartition(" ")[0] if line[TITLE_LENGTH - 1] != " " else cut
    # Scripts without spaces, and long addresses, have no word to cut at.
    return (at_word if len(at_word) > TITLE_LENGTH // 2 else cut).rstrip() + "…"
