"""A call's arguments as an object, repaired once where only their punctuation is wrong.

About what real models get wrong: raw patches, a stray bracket at the end, truncation (Ollama #11704, #12884, #17638; LM
Studio #942). A repair never adds to a value: a string that does not end was cut off, and half a command must not be
run. json_repair and its like make something of any text; here the model is told instead, and writes it again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from inglenook.harmony.render import without_surrogates

MOST = 4_000_000
"""Characters beyond which arguments are refused."""

_CLOSES = {"{": "}", "[": "]"}
_TOKEN = re.compile(
    r"""(?P<string>"[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*')|(?P<open>[{\[])|(?P<close>[}\]])"""
    r"""|(?P<quote>["'])|(?P<word>[^\s"'{}\[\],:]+)|(?P<sign>[,:])|(?P<blank>\s+)""",
    re.DOTALL,
)
_IN_SINGLE_QUOTES = re.compile(r'\\.|"', re.DOTALL)
_WORDS = {"True": "true", "False": "false", "None": "null"}
_HALF = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}|\\u[dD][c-fC-F]")


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a tool is called with. `repaired`: they were not JSON as the model wrote them."""

    values: dict[str, Any]
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class BadArguments:
    """They cannot be read. `answer` is the tool's result to send the model: JSON with the key `error`."""

    answer: str


def read_arguments(text: str) -> Arguments | BadArguments:
    """The object that `text` says. Never raises; linear in `text`. No text at all is a call without arguments.

    Repaired are: a code fence around it, single quotes and Python's words, unescaped line ends within strings, trailing
    commas, brackets that are missing at the end, brackets too many after it, and an object within a string. Halves of
    surrogate pairs become U+FFFD, for nothing can be done with them. What is sent to `python` is code: do not read it.
    """
    if not text.strip():
        return Arguments({})
    if len(text) > MOST:
        return BadArguments(_answer(f"they are longer than {MOST} characters"))
    try:
        return _read(text)
    except RecursionError:
        return BadArguments(_answer("they are nested too deep"))


def _read(text: str) -> Arguments | BadArguments:
    try:
        value = _json(text)
    except ValueError as wrong:  # also for integers of more digits than Python reads
        value = _try(_json, _rewritten(_without_fence(text)))
        if isinstance(value, dict):
            return Arguments(value, repaired=True)
        return BadArguments(_answer(f"they are not valid JSON ({wrong})"))
    if isinstance(value, dict):
        return Arguments(value)
    if isinstance(value, str) and isinstance(inner := _try(_json, value), dict):
        return Arguments(inner, repaired=True)
    return BadArguments(_answer(f"they are a JSON {_kind(value)}, not an object"))


def _json(text: str) -> Any:
    value = json.loads(text, parse_constant=_refuse)
    if _HALF.search(text):
        value = json.loads(without_surrogates(json.dumps(value, ensure_ascii=False)))
    return value


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _without_fence(text: str) -> str:
    """What stands between ``` and ```, if they enclose all of `text`; the first may name a language."""
    inner = text.strip()
    if len(inner) < 6 or not (inner.startswith("```") and inner.endswith("```")):
        return text
    language, _, rest = inner[3:-3].partition("\n")
    return rest if language.strip().isalnum() or not language.strip() else inner[3:-3]


def _rewritten(text: str) -> str:
    """`text` as JSON: quotes, words, commas and closing brackets put right; empty if that is not all that is wrong."""
    out: list[str] = []
    expected: list[str] = []  # closing brackets, innermost last
    kind: str | None = None
    position, ended = 0, False
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup == "quote":  # a string without an end
            return ""
        position, written = found.end(), found[0]
        if found.lastgroup == "blank":
            continue
        kind = found.lastgroup
        if ended:  # after the object: brackets too many are left out, words are not
            if kind != "close":
                return ""
        elif kind == "open":
            out.append(written)
            expected.append(_CLOSES[written])
        elif not expected or (kind == "close" and expected[-1] != written):
            return ""
        elif kind == "close":
            if out[-1] == "," and out[-2] not in {",", "{", "["}:
                out.pop()
            out.append(expected.pop())
            ended = not expected
        else:
            out.append(_string(written) if kind == "string" else _WORDS.get(written, written))
    if not ended and (kind == "sign" or (kind == "word" and out[-1] not in {"true", "false", "null"})):
        return ""  # cut off where more was to come, or perhaps within a number
    return " ".join(out + expected[::-1])


def _string(written: str) -> str:
    """A quoted string as JSON has it; unchanged if it cannot be read, which the JSON reader then says."""
    double = written
    if written.startswith("'"):
        body = _IN_SINGLE_QUOTES.sub(lambda m: {"\\'": "'", '"': '\\"'}.get(m[0], m[0]), written[1:-1])
        double = f'"{body}"'
    value = _try(lambda text: json.loads(text, strict=False), double)
    return json.dumps(value) if isinstance(value, str) else double


def _try(reader: Callable[[str], Any], text: str) -> Any:
    """What `reader` makes of `text`; None if it cannot."""
    try:
        return reader(text)
    except ValueError:
        return None


def _answer(reason: str) -> str:
    message = f"The arguments cannot be used: {reason}. Call the tool again with one JSON object as its arguments."
    return json.dumps({"error": message}, ensure_ascii=False)


def _kind(value: Any) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), "value")
