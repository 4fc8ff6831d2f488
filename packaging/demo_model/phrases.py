"""Patterns of questions: `how (do|can) I {get} it` stands for every way to choose, and is also tested backwards.

(a|b|) is a choice, which may nest and may be empty; {name} is one of the words given with the patterns. `question` adds
what people do to a sentence when they type: no capitals, no question mark, a greeting before, a word left out, a
slip of the finger.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

_WORD = re.compile(r"\{(\w+)\}")
_INNERMOST = re.compile(r"\(([^()]*)\)")
_OPENINGS = (
    "Hi, ", "Hello, ", "Hey, ", "hi! ", "Hello! ", "please ", "Please tell me: ", "ok, ", "Well, ", "so ", "So, ",
    "One question: ", "quick question: ", "I have a question: ", "I wonder, ", "sorry, ", "and ", "Also, ", "um, ",
    "Next: ", "now ", "excuse me, ", "actually, ", "another question: ",
)  # fmt: skip
_CLOSINGS = (
    "?",
    "?",
    "?",
    "?",
    "",
    "",
    ".",
    "??",
    " ?",
    "!",
    " please",
    ", please",
    " please?",
    " thanks",
    "? Thanks!",
)


def filled(pattern: str, words: Mapping[str, str]) -> str:
    """`pattern` with its words put in."""
    while _WORD.search(pattern):
        pattern = _WORD.sub(lambda m: words[m[1]], pattern)
    return pattern


def one_of(pattern: str, rng: random.Random) -> str:
    """A filled pattern with every choice made at random."""
    while _INNERMOST.search(pattern):
        pattern = _INNERMOST.sub(lambda m: rng.choice(m[1].split("|")), pattern, count=1)
    return pattern


def plain(text: str) -> str:
    """For comparison: lower case, letters and digits only, one space between words."""
    return " ".join(re.findall(r"\w+", text.lower()))


def can_say(pattern: str, text: str) -> bool:
    """Whether a filled pattern can become `text`, but for case and punctuation."""
    parts = re.split(r"([()|])", pattern)
    regex = "".join(
        {"(": "(?:", ")": ")", "|": "|"}.get(p) or "".join(rf"{re.escape(w)}\W*" for w in re.findall(r"\w+", p.lower()))
        for p in parts
    )
    return re.fullmatch(rf"\W*{regex}", text.lower()) is not None


def question(text: str, rng: random.Random) -> str:
    """`text` as somebody might type it."""
    if rng.random() < 0.06:
        text = _one_word_less(text, rng)
    if rng.random() < 0.12:
        text = rng.choice(_OPENINGS) + text
    elif rng.random() < 0.5:
        text = text[:1].upper() + text[1:]
    if text[-1:] not in "?!.":
        text += rng.choice(_CLOSINGS)
    draw = rng.random()
    if draw < 0.15:
        text = text.lower()
    elif draw < 0.17:
        text = text.upper()
    if rng.random() < 0.1 and len(text) > 8:
        text = _slip(text, rng)
    return text


def _one_word_less(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    if len(words) > 4:
        del words[rng.randrange(len(words))]
    return " ".join(words)


def _slip(text: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(text) - 2)
    if not text[at : at + 2].isalpha():
        return text
    match rng.randrange(3):
        case 0:
            return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        case 1:
            return text[:at] + text[at + 1 :]
        case _:
            return text[:at] + text[at] + text[at:]
