"""Markdown source to a flat list of leaves, incrementally: a streamed answer costs the same at its end as at its start.

The text is cut, line by line, at places where CommonMark certainly begins a new block. A cut depends on nothing but the
text before it, so a text fed in any pieces gives the same leaves as the text fed at once; only the piece after the last
cut is ever parsed again. A leaf is one thing to lay out (a paragraph, a code block, a table); the lists and quotes
around it are its `containers`. Nothing here knows Qt, and inline markup is left to `markdown_inline`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING

from inglenook.ui.widgets.markdown_inline import heal

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.token import Token


class Kind(Enum):
    """What a leaf is."""

    PARAGRAPH = "paragraph"
    HEADING = "heading"
    CODE = "code"
    TABLE = "table"
    RULE = "rule"
    MATH = "math"
    PLAIN = "plain"  # a line of the user's, shown as it is


QUOTE = "quote"
ITEM = "item"
TODO = "[ ]"
DONE = "[x]"
_BULLETS = "•◦▪"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One thing to lay out.

    `text` is inline Markdown (paragraph, heading) or literal (code, math, plain). `containers` are QUOTE and ITEM from
    the outside in; `marker` is what stands before the first leaf of a list item (a bullet, "3.", TODO, DONE). `info` is
    a fence's language; `level` a heading's, 1 to 6. `rows` are a table's cells as inline Markdown, the header first,
    and `aligns` "left", "right" or "center" of each column. `tight` says that it belongs closely to the leaf before it;
    `first` that a new block of the source begins with it.
    """

    kind: Kind
    text: str = ""
    containers: tuple[str, ...] = ()
    marker: str = ""
    level: int = 0
    info: str = ""
    rows: tuple[tuple[str, ...], ...] = ()
    aligns: tuple[str, ...] = ()
    tight: bool = False
    first: bool = False


_FENCE = re.compile(r"(`{3,}(?=[^`]*$)|~{3,})(.*)$")
_BULLET = re.compile(r"([-*+])[ \t]+\S")
_NUMBER = re.compile(r"\d{1,9}([.)])[ \t]+\S")
_HR = re.compile(r"([-*_])([ \t]*\1){2,}[ \t]*$")
_HEADING = re.compile(r"#{1,6}[ \t]")
_MARKS_ONLY = re.compile(r"[ \t>]*(?:[-*+#`~=|:_\\$\[ ]|\d{1,9}[.)]?)*[ \t]*$")
_TABLE_HEAD = re.compile(r"\|.*\|[ \t]*$")


def _marker(line: str) -> str:
    """The list marker that `line` begins with in its first column: "-", "*", "+", "." or ")"; "" if none."""
    if _HR.match(line):
        return ""
    found = _BULLET.match(line) or _NUMBER.match(line)
    return found[1] if found else ""


@dataclass(slots=True)
class _Segment:
    """The lines since the last cut. `fence` is the run of marks that opened a code block in the first column."""

    lines: list[str] = field(default_factory=list)
    marker: str = ""
    blank: bool = False
    fence: str = ""
    info: str = ""

    def closes(self, line: str) -> bool:
        """Whether `line` ends this segment's open fence."""
        mark = line.strip(" \t")
        indented = len(line) - len(line.lstrip(" ")) > 3
        return not indented and len(mark) >= len(self.fence) and set(mark) == {self.fence[0]}

    def cut_before(self, line: str) -> bool:
        """Whether a new block certainly begins with `line`."""
        if not self.lines or not line or line[0] in " \t":
            return False
        return self.blank or bool(
            _FENCE.match(line) or _HEADING.match(line) or (self.marker and _marker(line) == self.marker)
        )

    def leaves(self, extra: str | None = None, *, live: bool = False) -> list[Leaf]:
        """Those of this segment, with `extra` as one more line; `live` says that more text may come."""
        lines = self.lines if extra is None else [*self.lines, extra]
        if self.fence:
            return [Leaf(Kind.CODE, "\n".join(lines), info=self.info, first=True)]
        return _parse("\n".join(lines), live=live) if any(lines) else []


class MarkdownSource:
    """A Markdown text that grows. `stable` are leaves that no later text changes; `tail()` are the others."""

    def __init__(self) -> None:
        self.stable: list[Leaf] = []
        self.text = ""
        self._partial = ""
        self._open = _Segment()
        self._finished = False

    def append(self, text: str) -> None:
        """Adds text to the end."""
        self.text += text
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self._take(_clean(line))

    def finish(self) -> None:
        """No more text comes: everything is stable."""
        self._finished = True
        if self._partial:
            self._take(_clean(self._partial))
            self._partial = ""
        self._commit()

    def tail(self) -> list[Leaf]:
        """Leaves of the end that more text may change, as they should be shown while it streams."""
        if self._finished:
            return []
        segment, line = self._open, _clean(self._partial)
        if segment.fence:
            closing = line.strip() and set(line.strip()) == {segment.fence[0]}
            return segment.leaves(None if closing or not line else line)
        if _MARKS_ONLY.match(line) and not (len(segment.lines) > 1 and line.startswith("|")):
            line = ""  # "-" may become a list, a rule or a table: wait for what follows
        if not line:
            return _healed(segment.leaves(live=True))
        if opened := _FENCE.match(line):
            return [*segment.leaves(), Leaf(Kind.CODE, "", info=opened[2].strip(), first=True)]
        if segment.cut_before(line):
            return [*segment.leaves(), *_healed(_Segment().leaves(line, live=True))]
        return _healed(segment.leaves(line, live=True))

    def _take(self, line: str) -> None:
        segment = self._open
        if segment.fence:
            if segment.closes(line):
                self._commit()
            else:
                segment.lines.append(line)
            return
        if segment.cut_before(line):
            self._commit()
            segment = self._open
        if not segment.lines:
            if opened := _FENCE.match(line):
                segment.fence, segment.info = opened[1], opened[2].strip()
                return
            segment.marker = _marker(line)
        segment.blank = not line.strip()
        if segment.lines or not segment.blank:
            segment.lines.append(line)

    def _commit(self) -> None:
        self.stable += self._open.leaves()
        self._open = _Segment()


def _clean(line: str) -> str:
    """Without what would be another kind of line end to Qt or markdown-it."""
    return line.rstrip("\r").translate(_LINE_ENDS)


_LINE_ENDS = {ord(c): " " for c in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"} | {0: "\ufffd"}


def _healed(leaves: list[Leaf]) -> list[Leaf]:
    """With the markup that is still open at the end closed, so that half of it does not flash by as text."""
    if leaves and leaves[-1].kind in (Kind.PARAGRAPH, Kind.HEADING):
        leaves[-1] = replace(leaves[-1], text=heal(leaves[-1].text))
    elif leaves and leaves[-1].kind is Kind.TABLE:
        *rows, last = leaves[-1].rows
        leaves[-1] = replace(leaves[-1], rows=(*rows, tuple(heal(cell) for cell in last)))
    return leaves


def _parse(source: str, *, live: bool) -> list[Leaf]:
    if live and _TABLE_HEAD.match(source):
        source += "\n" + "|".join(["", *["-"] * (source.strip().count("|") - 1), ""])
    return _Walk().run(_parser().parse(source, {"live": live}))


@cache
def _parser() -> MarkdownIt:
    """Block rules only. No HTML; no setext headings (a streamed list would flash as one); no reference definitions."""
    from markdown_it import MarkdownIt  # 0.1 s, not at window start

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.disable(["inline", "text_join", "html_block", "lheading", "reference"])
    parser.block.ruler.before("fence", "math_block", _math_block, {"alt": ["paragraph", "list", "blockquote"]})
    return parser


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    r"""A `\[ … \]` or `$$ … $$` that begins a line; TeX allows no blank line within, so neither is one here."""
    begin = state.bMarks[start] + state.tShift[start]
    closer = {"\\[": "\\]", "$$": "$$"}.get(state.src[begin : begin + 2])
    if closer is None or state.is_code_block(start):
        return False
    body: list[str] = []
    for line in range(start, end):
        if line > start and (state.isEmpty(line) or state.sCount[line] < state.blkIndent):
            return False
        text = state.src[state.bMarks[line] + state.tShift[line] + (2 if line == start else 0) : state.eMarks[line]]
        head, found, after = text.partition(closer)
        body.append(head.strip())
        if found:
            if after.strip(" .,;"):
                return False
            break
    else:
        if not state.env.get("live"):
            return False
    if not silent:
        state.line = line + 1
        state.push("math_block", "math", 0).content = "\n".join(filter(None, body))
    return True


class _Walk:
    """Flattens markdown-it's tokens."""

    def __init__(self) -> None:
        self._leaves: list[Leaf] = []
        self._containers: list[str] = []
        self._marker = ""
        self._lists: list[int] = []  # for each open list: 1 if numbered, else 0
        self._rows: list[list[str]] = []
        self._aligns: list[str] = []
        self._in_table = False
        self._level = 0
        self._tight = False

    def run(self, tokens: Sequence[Token]) -> list[Leaf]:
        for token in tokens:
            visit = getattr(self, f"_{token.type}", None)
            if visit is not None:
                visit(token)
        return self._leaves

    def _add(self, kind: Kind, text: str = "", **more: object) -> None:
        leaf = Leaf(kind, text, tuple(self._containers), self._marker, tight=self._tight, first=not self._leaves)
        self._leaves.append(replace(leaf, **more))  # type: ignore[arg-type]  # the fields that the callers below name
        self._marker = ""

    def _flush_marker(self) -> None:
        """A marker whose item has no text of its own gets an empty paragraph to stand before."""
        if self._marker:
            self._add(Kind.PARAGRAPH)

    def _bullet_list_open(self, _token: Token) -> None:
        self._flush_marker()
        self._lists.append(0)

    def _ordered_list_open(self, _token: Token) -> None:
        self._flush_marker()
        self._lists.append(1)

    def _bullet_list_close(self, _token: Token) -> None:
        self._lists.pop()

    _ordered_list_close = _bullet_list_close

    def _list_item_open(self, token: Token) -> None:
        self._containers.append(ITEM)
        bullets = self._lists.count(0)
        self._marker = f"{token.info}{token.markup}" if self._lists[-1] else _BULLETS[min(bullets, len(_BULLETS)) - 1]

    def _list_item_close(self, _token: Token) -> None:
        self._flush_marker()
        self._containers.pop()

    def _blockquote_open(self, _token: Token) -> None:
        self._flush_marker()
        self._containers.append(QUOTE)

    def _blockquote_close(self, _token: Token) -> None:
        self._containers.pop()

    def _paragraph_open(self, token: Token) -> None:
        self._level, self._tight = 0, token.hidden

    def _heading_open(self, token: Token) -> None:
        self._level, self._tight = int(token.tag[1]), False

    def _inline(self, token: Token) -> None:
        text = token.content
        if self._in_table:
            self._rows[-1].append(text)
            return
        if self._marker and self._marker in _BULLETS and text[:4].lower() in ("[ ] ", "[x] "):
            self._marker, text = (TODO if text[1] == " " else DONE), text[4:]
        self._add(Kind.HEADING if self._level else Kind.PARAGRAPH, text, level=self._level)

    def _fence(self, token: Token) -> None:
        self._add(Kind.CODE, token.content.removesuffix("\n"), info=token.info.strip())

    _code_block = _fence

    def _math_block(self, token: Token) -> None:
        self._add(Kind.MATH, token.content)

    def _hr(self, _token: Token) -> None:
        self._add(Kind.RULE)

    def _table_open(self, _token: Token) -> None:
        self._in_table, self._rows, self._aligns = True, [], []

    def _tr_open(self, _token: Token) -> None:
        self._rows.append([])

    def _th_open(self, token: Token) -> None:
        self._aligns.append(str(token.attrs.get("style", "text-align:left")).partition(":")[2])

    def _table_close(self, _token: Token) -> None:
        self._in_table = False
        self._add(Kind.TABLE, rows=tuple(map(tuple, self._rows)), aligns=tuple(self._aligns))


def leaves_of(text: str) -> list[Leaf]:
    """All leaves of a finished text."""
    source = MarkdownSource()
    source.append(text)
    source.finish()
    return source.stable
