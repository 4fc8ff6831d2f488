"""Inline Markdown to runs of styled text, with the rules of safety: no HTML, no images, links of three schemes only.

The model's words are untrusted: what comes out of here is plain text and a few flags, nothing that a text engine could
take for markup or a resource. Characters that reorder text (Trojan Source, CVE-2021-42574) are made visible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from inglenook.core.i18n import tr
from inglenook.ui.widgets.markdown_math import math_glyphs

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

LINE = "\u2028"  # a line break within a paragraph, as Qt's text layout has it


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of text of one style. `href` is empty or an http, https or mailto address."""

    text: str
    bold: bool = False
    italic: bool = False
    strike: bool = False
    code: bool = False
    math: bool = False  # TeX as it was written
    formula: bool = False  # a piece of a formula as it is read; `shift` is 1 if raised, -1 if lowered
    shift: int = 0
    href: str = ""


_OVERRIDES = {0x202D: "LRO", 0x202E: "RLO"}
_CONTROLS = _OVERRIDES | {
    0x061C: "ALM", 0x200E: "LRM", 0x200F: "RLM", 0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF",
    0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI",
}  # fmt: skip
_SHOW_OVERRIDES = {code: f"⟨{name}⟩" for code, name in _OVERRIDES.items()}
_SHOW_CONTROLS = {code: f"⟨{name}⟩" for code, name in _CONTROLS.items()}
_SCHEME = re.compile(r"(?:https?://|mailto:)[^\s\\]+$", re.IGNORECASE)
_BARE = re.compile(r"https?://[^\s<>\"'`\u2028]*[^\s<>\"'`\u2028.,;:!?*_~]", re.IGNORECASE)
_BR = re.compile(r"<br[ \t]*/?>", re.IGNORECASE)


def visible_controls(text: str) -> str:
    """`text` with each character that changes the direction of writing shown by its name."""
    return text.translate(_SHOW_CONTROLS)


def safe_href(target: str) -> str:
    """`target` if it is an address that may be opened, else ''."""
    return target if _SCHEME.match(target) else ""


@lru_cache(maxsize=4096)
def inline_runs(text: str) -> tuple[Run, ...]:
    """The runs of one paragraph's inline Markdown, never empty runs, line breaks as `LINE`."""
    if not text:
        return ()
    children = _parser().parseInline(text)[0].children or []
    runs: list[Run] = []
    for run in _runs(children):
        for piece in _linked(run):
            if not piece.text.isascii():
                shown = piece.text.translate(_SHOW_CONTROLS if piece.code or piece.href else _SHOW_OVERRIDES)
                piece = replace(piece, text=shown)
            if runs and _look(runs[-1]) == _look(piece):
                runs[-1] = replace(piece, text=runs[-1].text + piece.text)
            elif piece.text:
                runs.append(piece)
    return tuple(runs)


def _look(run: Run) -> tuple[object, ...]:
    return run.bold, run.italic, run.strike, run.code, run.math, run.formula, run.shift, run.href


def math_runs(source: str, style: Run = Run("")) -> Iterator[Run]:  # noqa: B008 - a frozen value
    """The runs of a formula in TeX: read if it is simple, else as written."""
    glyphs = math_glyphs(source)
    if glyphs is None:
        yield replace(style, text=_one_line(source), math=True)
        return
    for piece in glyphs:
        yield replace(style, text=visible_controls(piece.text), formula=True, italic=piece.italic, shift=piece.shift)


def plain(runs: tuple[Run, ...]) -> str:
    """The text of runs as it is seen."""
    return "".join(run.text for run in runs)


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # 0.1 s, not at window start

    parser = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    parser.disable(["html_inline"])
    parser.inline.ruler.before("escape", "math", _math)
    parser.inline.ruler.before("escape", "dollar_math", _dollar_math)
    parser.inline.ruler.before("autolink", "br", _br)
    setattr(parser, "validateLink", lambda _url: True)  # noqa: B010 - `safe_href` decides instead: no raw source is shown
    return parser


def _math(state: StateInline, silent: bool) -> bool:
    r"""`\( … \)`, `\[ … \]` and `$$ … $$`: what is between is not Markdown."""
    opener = state.src[state.pos : state.pos + 2]
    closer = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}.get(opener)
    if closer is None:
        return False
    end = state.src.find(closer, state.pos + 2, state.posMax)
    if end < 0 or not state.src[state.pos + 2 : end].strip():
        return False
    if not silent:
        state.push("math_inline", "math", 0).content = state.src[state.pos + 2 : end].strip()
    state.pos = end + 2
    return True


_DOLLARS = re.compile(r"\$(?![\s$])([^$]{0,300}?[^\s$\\])\$(?![\w$])")
_FORMULA = re.compile(r"[\\^_=<>+|!()]|^-?[\d.,]+$|^-?\d*[^\W\d_]$")
_PROSE = re.compile(r"(?<![\\\w])[^\W\d_]{3,}[\s,;:]+[^\W\d_]{3,}|\n\s*\n")


def _dollar_math(state: StateInline, silent: bool) -> bool:
    """`$ … $`, which are as often prices or variables of a shell: only what is no prose and looks like a formula."""
    found = _DOLLARS.match(state.src, state.pos, state.posMax)
    before = state.src[state.pos - 1 : state.pos]
    if not found or before.isalnum() or before in ("$", "_"):
        return False
    if _PROSE.search(found[1]) or not _FORMULA.search(found[1]):
        return False
    if not silent:
        state.push("math_inline", "math", 0).content = found[1]
    state.pos = found.end()
    return True


def _br(state: StateInline, silent: bool) -> bool:
    """`<br>`, the one tag that models write in table cells."""
    found = _BR.match(state.src, state.pos)
    if not found:
        return False
    if not silent:
        state.push("hardbreak", "br", 0)
    state.pos = found.end()
    return True


def _runs(tokens: list[Token]) -> Iterator[Run]:
    style = Run("")
    outer: list[str] = []
    for token in tokens:
        kind = token.type
        if kind in ("text", "text_special"):
            yield replace(style, text=token.content.replace("\n", LINE))
        elif kind in ("softbreak", "hardbreak"):
            yield replace(style, text=LINE)
        elif kind == "code_inline":
            yield replace(style, text=token.content, code=True)
        elif kind == "math_inline":
            yield from math_runs(token.content, style)
        elif kind == "image":
            href = style.href or safe_href(str(token.attrs.get("src", "")))
            yield replace(style, text=_one_line(token.content) or tr("Image"), href=href, italic=True)
        elif kind == "link_open":
            outer.append(style.href)
            style = replace(style, href=safe_href(str(token.attrs.get("href", ""))))
        elif kind == "link_close":
            style = replace(style, href=outer.pop())
        elif kind in ("strong_open", "strong_close"):
            style = replace(style, bold=token.nesting > 0)
        elif kind in ("em_open", "em_close"):
            style = replace(style, italic=token.nesting > 0)
        elif kind in ("s_open", "s_close"):
            style = replace(style, strike=token.nesting > 0)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _linked(run: Run) -> Iterator[Run]:
    """`run` with the web addresses in it made links."""
    if run.code or run.math or run.formula or run.href or "://" not in run.text:
        yield run
        return
    at = 0
    for found in _BARE.finditer(run.text):
        url = found[0]
        while url.endswith(")") and url.count(")") > url.count("("):
            url = url[:-1]
        yield replace(run, text=run.text[at : found.start()])
        yield replace(run, text=url, href=safe_href(url))
        at = found.start() + len(url)
    yield replace(run, text=run.text[at:])


_CODE_SPAN = re.compile(r"(`+)(?!`)(.*?)(?<!`)\1(?!`)", re.DOTALL)
_OPEN_LINK = re.compile(r"!?\[([^\[\]]*)(?:\]\([^()\s]*)?$")
_TRAILING_MARKS = re.compile(r"(?<![\w\\])[*_~`]+$|\\$")


def heal(text: str) -> str:
    """`text` of a paragraph that is still being written, with what is open at its end closed or left out."""
    text = _TRAILING_MARKS.sub("", text.rstrip())
    rest = _CODE_SPAN.sub("", text)
    if ticks := re.search(r"`+", rest):
        return text.rstrip("`") + ticks[0] if not text.endswith("`" * len(ticks[0])) else text.rstrip("`")
    for opener, closer in (("\\(", "\\)"), ("\\[", "\\]")):
        if rest.rfind(opener) > rest.rfind(closer):
            return text.removesuffix("\\") + closer
    if "[" in rest:
        text = _OPEN_LINK.sub(r"\1", text)
    for mark in ("**", "__", "~~"):
        if rest.count(mark) % 2:
            text = text.rstrip(mark[0] + " ") + mark if not text.endswith(mark) else text.removesuffix(mark)
    return text
