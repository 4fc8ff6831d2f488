r"""Simple TeX as text: Greek, operators, raised and lowered indices, flat fractions. The rest is not guessed at.

Rendering math properly is a later issue; until then \(x^2 \leq \alpha\) reads better as x² ≤ α, and a matrix reads
better as its own source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_GREEK = dict(
    zip(
        re.findall(
            r"\S+",
            "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi"
            " psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega varepsilon vartheta varphi",
        ),
        "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩεϑφ",
        strict=True,
    )
)
_RELATIONS = {
    "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥", "neq": "≠", "ne": "≠", "approx": "≈", "equiv": "≡", "sim": "∼",
    "propto": "∝", "in": "∈", "notin": "∉", "subset": "⊂", "subseteq": "⊆", "to": "→", "rightarrow": "→",
    "leftarrow": "←", "Rightarrow": "⇒", "implies": "⇒", "iff": "⇔", "mapsto": "↦", "mid": "∣", "perp": "⊥",
    "ll": "≪", "gg": "≫", "cong": "≅", "simeq": "≃", "parallel": "∥",
}  # fmt: skip
_OPERATORS = {
    "times": "×", "cdot": "·", "div": "÷", "pm": "±", "mp": "∓", "cup": "∪", "cap": "∩", "land": "∧", "lor": "∨",
    "wedge": "∧", "vee": "∨", "oplus": "⊕", "otimes": "⊗", "circ": "∘", "setminus": "∖", "ast": "∗",
}  # fmt: skip
_SYMBOLS = {
    "infty": "∞", "sum": "∑", "prod": "∏", "int": "∫", "partial": "∂", "nabla": "∇", "forall": "∀", "exists": "∃",
    "neg": "¬", "lnot": "¬", "ldots": "…", "dots": "…", "cdots": "⋯", "emptyset": "∅", "hbar": "ℏ", "ell": "ℓ",
    "angle": "∠", "degree": "°", "prime": "′", "quad": "  ", "qquad": "    ", "langle": "⟨", "rangle": "⟩",
    "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "vert": "|", "lvert": "|", "rvert": "|",
}  # fmt: skip
_FUNCTIONS = frozenset(
    ["lim", "log", "ln", "lg", "sin", "cos", "tan", "cot", "sec", "csc", "exp", "min", "max", "gcd", "det", "arg",
     "sup", "inf", "deg", "dim", "ker", "mod"]
)  # fmt: skip
_UPRIGHT = frozenset(["text", "mathrm", "mathbf", "textbf", "operatorname", "mathit", "textit", "mathsf"])
_SILENT = frozenset(
    ["left", "right", "displaystyle", "textstyle", "limits", "big", "Big", "bigl", "bigr", "Bigl", "Bigr"]
)
_RAISED = dict(zip("0123456789+−=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", strict=True))
_LOWERED = dict(zip("0123456789+−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎", strict=True))
_SCRIPTS = frozenset([*_RAISED.values(), *_LOWERED.values()])
_LONGEST = 2000  # characters of source; longer is not simple


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Characters of one style; `shift` is 1 if raised, -1 if lowered."""

    text: str
    italic: bool = False
    shift: int = 0


class _NotSimple(Exception):  # noqa: N818 - an answer, not an error
    pass


def math_glyphs(source: str) -> tuple[Glyphs, ...] | None:
    """The text of a formula, or None if it is not simple."""
    if len(source) > _LONGEST:
        return None
    try:
        reader = _Reader(source)
        found = reader.whole()
    except (_NotSimple, RecursionError):
        return None
    joined: list[Glyphs] = []
    for glyphs in found:
        if joined and (joined[-1].italic, joined[-1].shift) == (glyphs.italic, glyphs.shift):
            joined[-1] = Glyphs(joined[-1].text + glyphs.text, glyphs.italic, glyphs.shift)
        else:
            joined.append(glyphs)
    return tuple(joined) or None


class _Reader:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._big = False  # a sum or integral was read: its scripts come, then what it is over

    def whole(self) -> list[Glyphs]:
        """The whole source."""
        out: list[Glyphs] = []
        while character := self._next():
            out += self._atom(character, out)
        return out

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._peek()
        self._at += 1
        return character

    def row(self, end: str) -> list[Glyphs]:
        """Everything up to `end`, which is read over."""
        out: list[Glyphs] = []
        while (character := self._next()) != end:
            if not character:
                raise _NotSimple
            out += self._atom(character, out)
        return out

    def _group(self) -> list[Glyphs]:
        while self._peek().isspace():
            self._at += 1
        character = self._next()
        if character in ("", "}", "^", "_"):
            raise _NotSimple
        return self.row("}") if character == "{" else self._atom(character, [])

    def _atom(self, character: str, before: list[Glyphs]) -> list[Glyphs]:
        if character.isspace():
            return []
        if character == "{":
            return self.row("}")
        if character in "^_":
            return self._script(character, before)
        if self._big:
            self._big = False
            return [Glyphs("\u2009"), *self._atom(character, before)]
        if character == "\\":
            return self._command(before)
        if character in "}&#%$":
            raise _NotSimple
        if character in "=<>":
            return [Glyphs(f" {character} ")]
        if character in "+-*":
            return _spaced({"-": "−", "*": "∗"}.get(character, character), before)
        if character == ",":
            return [Glyphs(", ")]
        shown = {"~": " ", "'": "′"}.get(character, character)
        return [Glyphs(shown, italic=shown.isalpha() and shown.isascii())]

    def _script(self, mark: str, before: list[Glyphs]) -> list[Glyphs]:
        big, self._big = self._big, False
        inner = self._group()
        self._big = big
        if not before or any(glyphs.shift for glyphs in inner):
            raise _NotSimple
        table = _RAISED if mark == "^" else _LOWERED
        text = "".join(glyphs.text for glyphs in inner).replace(" ", "")
        if all(character in table for character in text):
            return [Glyphs("".join(table[character] for character in text))]
        if text in ("′", "∘"):
            return [Glyphs({"∘": "°"}.get(text, text))]
        shift = 1 if mark == "^" else -1
        return [Glyphs(glyphs.text.replace(" ", ""), glyphs.italic, shift) for glyphs in inner]

    def _command(self, before: list[Glyphs]) -> list[Glyphs]:
        found = re.compile(r"[A-Za-z]+|.", re.DOTALL).match(self._source, self._at)
        if found is None:
            raise _NotSimple
        self._at = found.end()
        name = found[0]
        if name in _GREEK:
            return [Glyphs(_GREEK[name], italic=name.islower())]
        if name in _RELATIONS:
            return [Glyphs(f" {_RELATIONS[name]} ")]
        if name in _OPERATORS:
            return _spaced(_OPERATORS[name], before)
        if name in _SYMBOLS:
            self._big = name in ("sum", "prod", "int")
            return [Glyphs(_SYMBOLS[name])]
        if name in _FUNCTIONS:
            touches = before and (before[-1].text[-1:].isalnum() or before[-1].shift)
            follows = self._source[self._at :].lstrip()[:1]
            return [Glyphs((" " if touches else "") + name + ("" if follows in ("(", "_", "^", "{", "") else " "))]
        if name in _SILENT:
            if self._peek() == ".":
                self._at += 1
            return []
        if name in ("frac", "dfrac", "tfrac"):
            return [*_bracketed(self._group()), Glyphs("/"), *_bracketed(self._group())]
        if name == "sqrt" and self._peek() != "[":
            return [Glyphs("√"), *_bracketed(self._group())]
        if name in _UPRIGHT:
            return self._words()
        if name in ",;: ":
            return [Glyphs(" ")]
        if name == "!":
            return []
        if name in "{}%$&#_|":
            return [Glyphs(name)]
        raise _NotSimple

    def _words(self) -> list[Glyphs]:
        found = re.compile(r"\s*\{([^{}\\$]*)\}").match(self._source, self._at)
        if found is None:
            raise _NotSimple
        self._at = found.end()
        return [Glyphs(found[1])]


def _spaced(operator: str, before: list[Glyphs]) -> list[Glyphs]:
    """With space around it if it stands between two things, not if it is a sign."""
    last = before[-1].text.rstrip()[-1:] if before else ""
    binary = bool(before) and (last.isalnum() or last in ")]}|′!∞°" or last in _SCRIPTS or bool(before[-1].shift))
    return [Glyphs(f" {operator} " if binary else operator)]


def _bracketed(inner: list[Glyphs]) -> list[Glyphs]:
    """In brackets, unless it is one thing."""
    text = "".join(glyphs.text for glyphs in inner)
    if re.fullmatch(r"\w[\w.²³]*|\w+\([^()]*\)", text):
        return inner
    return [Glyphs("("), *inner, Glyphs(")")]
