"""Highlighting by Pygments in slices of time, so that a long block never holds up the window.

While a block grows, only its last stretch (from a line that begins something, such as `def`) is coloured anew. When it
is complete, one exact pass over the whole runs in slices of a few milliseconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pygments.lexer import Lexer

Span = tuple[int, int, str]  # start and length in the line (Python characters), colour role in Palette.syntax
STRETCH = 16  # lines after which a new stretch may begin


@cache
def lexer_for(language: str) -> Lexer | None:
    """Pygments' lexer for a fence's info string, or None."""
    from pygments.lexers import get_lexer_by_name  # 0.05 s, not at window start
    from pygments.util import ClassNotFound

    name = language.split()[0].strip("{}.").lower() if language.split() else ""
    try:
        return get_lexer_by_name(name, stripnl=False, ensurenl=False) if name else None
    except ClassNotFound:
        return None


@cache
def _role(kind: Any) -> str:
    """The colour of a Pygments token type; '' is that of ordinary text."""
    from pygments.token import Token

    table = (
        (Token.Comment.Preproc, "keyword"),
        (Token.Comment, "comment"),
        (Token.Keyword.Type, "type"),
        (Token.Keyword.Constant, "number"),
        (Token.Keyword, "keyword"),
        (Token.Literal.String, "string"),
        (Token.Literal.Number, "number"),
        (Token.Operator.Word, "keyword"),
        (Token.Operator, "operator"),
        (Token.Punctuation, "operator"),
        (Token.Name.Function, "function"),
        (Token.Name.Decorator, "function"),
        (Token.Name.Builtin, "function"),
        (Token.Name.Class, "type"),
        (Token.Name.Exception, "type"),
        (Token.Name.Tag, "keyword"),
        (Token.Name.Attribute, "function"),
        (Token.Generic.Deleted, "keyword"),
        (Token.Generic.Inserted, "string"),
        (Token.Generic.Heading, "function"),
        (Token.Generic.Prompt, "comment"),
    )
    return next((role for parent, role in table if kind in parent), "")


def highlight(lexer: Lexer, text: str) -> Iterator[list[Span]]:
    """The spans of each line of `text`, line by line."""
    line: list[Span] = []
    column = 0
    for _at, kind, value in lexer.get_tokens_unprocessed(text):
        role = _role(kind)
        pieces = value.split("\n")
        for i, piece in enumerate(pieces):
            if i:
                yield line
                line, column = [], 0
            if piece:
                if role:
                    line.append((column, len(piece), role))
                column += len(piece)
    yield line


class Highlighter:
    """The colours of a block whose lines grow. `spans[i]` are those of line i; `on_lines(first, last)` tells."""

    def __init__(self, language: str, on_lines: Callable[[int, int], None]) -> None:
        self.spans: list[list[Span]] = []
        self._lexer = lexer_for(language)
        self._on_lines = on_lines
        self._stretch = 0  # first line of the last stretch
        self._exact: Iterator[list[Span]] | None = None
        self._exact_at = 0

    @property
    def known(self) -> bool:
        """Whether the language is known."""
        return self._lexer is not None

    def grown(self, lines: list[str]) -> None:
        """The block now has these lines, the last maybe incomplete: with each new line, colours the last stretch."""
        known = len(self.spans)
        self.spans.extend([] for _ in range(len(lines) - known))
        if self._lexer is None or len(lines) == known:
            return
        first = self._stretch
        for i, spans in enumerate(highlight(self._lexer, "\n".join(lines[first:])), first):
            if i < len(self.spans):
                self.spans[i] = spans
        self._on_lines(first, len(lines))
        if len(lines) - first > STRETCH:
            starts = (i for i in range(len(lines) - 2, first, -1) if _begins(lines, i))
            self._stretch = next(starts, first if len(lines) - first < 3 * STRETCH else len(lines) - 2)

    def start_exact(self, lines: list[str]) -> None:
        """Begins the exact pass over the finished block."""
        self.spans.extend([] for _ in range(len(lines) - len(self.spans)))
        if self._lexer is not None:
            self._exact, self._exact_at = highlight(self._lexer, "\n".join(lines)), 0

    def go_on(self, seconds: float) -> bool:
        """Works for about `seconds` on the exact pass; False when there is nothing left to do."""
        if self._exact is None:
            return False
        until = time.perf_counter() + seconds
        first = self._exact_at
        for spans in self._exact:
            if self._exact_at < len(self.spans):
                self.spans[self._exact_at] = spans
            self._exact_at += 1
            if time.perf_counter() > until:
                break
        else:
            self._exact = None
        self._on_lines(first, self._exact_at)
        return self._exact is not None


def _begins(lines: list[str], i: int) -> bool:
    """Whether line i looks like the start of something at the outermost level."""
    return bool(lines[i]) and lines[i][0] not in " \t})]" and not lines[i - 1].strip()


@cache
def warm_up() -> None:
    """Imports the parser and the commonest lexers on a thread, before the first answer needs them."""
    threading.Thread(target=_import, daemon=True, name="warm-up").start()


def _import() -> None:
    import markdown_it  # noqa: F401 - for its effect

    for language in ("python", "text", "bash", "json", "javascript"):
        lexer_for(language)
