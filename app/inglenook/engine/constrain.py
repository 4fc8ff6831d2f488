"""Holds a generation to a `Constraint`: which token may come next, one asked for or all of them.

A token that was sampled is checked by itself, which costs some microseconds. Only when it is refused does the sampler
ask about the likeliest ones, and at last about all: then most of the vocabulary is refused by its first bytes, and
llama.cpp's grammar, which takes 28 ms and more for 201,088 tokens, reads the rest.

llama.cpp's grammar is not trusted with three things: control tokens, whose names it would take for text; bytes that
are no UTF-8, of which it makes characters; and pieces with control characters, of which it reads those before a NUL.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from inglenook.core.constraint import Constraint, Form
from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.core.prompt import Segment, Special, Text

Ids = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

_NONE = 256  # in place of a byte that is not there
_MANY = 1000  # tokens with the same first byte: worth a look at their second
_FEW = 8  # first bytes for which that is done
_TEXT = bytes(range(0x20, 0x100)) + b"\n\t"  # JSON has no other bytes, in or between its strings
_decoder = codecs.getincrementaldecoder("utf-8")


class Matcher(Protocol):
    """Where a text is in a grammar: `llama.Grammar`."""

    def allows(self, token: int) -> bool:
        """Whether it can come next; a stop token if the text may end here."""

    def allowed(self, tokens: Ids) -> Mask:
        """`allows` of each."""

    def take(self, token: int) -> None:
        """It comes next."""

    def copy(self) -> Matcher:
        """Another one at the same place."""

    def close(self) -> None:
        """Frees it."""


Compiler = Callable[[str], Matcher]  # raises ValueError if it is no grammar


class Pieces(Protocol):
    """What is needed of a vocabulary: `llama.Model`."""

    n_vocab: int

    @property
    def specials(self) -> dict[str, int]:
        """Control tokens by text."""
        ...

    def piece(self, token: int) -> bytes:
        """The token's bytes."""
        ...


class Lexicon:
    """What of a vocabulary is asked again and again, found once: a fifth of a second for 201,088 tokens."""

    def __init__(self, model: Pieces) -> None:
        self.specials = model.specials
        self.control = frozenset(self.specials.values())
        self.all = np.arange(model.n_vocab)
        self.piece = model.piece
        self.is_control = np.zeros(model.n_vocab, np.bool_)
        self.is_control[list(self.control)] = True
        self.first = np.full(model.n_vocab, _NONE, np.int16)  # the first byte of what may stand in a grammar's text
        self.second = np.full(model.n_vocab, _NONE, np.int16)  # the byte after that, if there is one
        self.begins = np.zeros(model.n_vocab, np.bool_)  # of these, those that may come where a character begins
        self.of_byte = np.full(256, -1, np.int64)  # the token that is this byte alone
        for token in range(model.n_vocab):
            data = model.piece(token)
            if self.is_control[token] or not data or data.translate(None, _TEXT):
                continue
            self.first[token] = data[0]
            self.begins[token] = data.isascii() or _rest_of_character(b"", data) is not None
            if len(data) == 1:
                self.of_byte[data[0]] = token
            else:
                self.second[token] = data[1]
        self.of_first = np.bincount(self.first, minlength=_NONE + 1)  # how many begin with each byte


def _rest_of_character(pending: bytes, data: bytes) -> bytes | None:
    """The start of a character that `pending` and `data` end in; None if they are not UTF-8."""
    decoder = _decoder()
    try:
        decoder.decode(pending + data)
    except UnicodeDecodeError:
        return None
    rest = decoder.getstate()[0]
    return None if rest[:1] == b"\xed" and rest[1:2] >= b"\xa0" else rest  # a surrogate: Python sees it a byte later


class _Path:
    """A form whose opening is being written: what is left of it, in bytes, and control tokens from 256 on."""

    def __init__(self, form: Form, left: tuple[int, ...]) -> None:
        self.form = form
        self.left = left

    def after(self, said: tuple[int, ...]) -> _Path | None:
        """After a token; None if it does not follow."""
        n = len(said)
        return _Path(self.form, self.left[n:]) if self.left[:n] == said else None


class Guard:
    """One generation's constraint. Not for use by two threads; `close` it."""

    def __init__(self, constraint: Constraint, lexicon: Lexicon, compiler: Compiler) -> None:
        """Raises `UserError` if the model cannot be held to it."""
        self._lexicon = lexicon
        self._compiler = compiler
        begin = self._symbols(constraint.begin)
        self._starts = tuple(_Path(form, begin + self._symbols(form.opening)) for form in constraint.forms)
        self._stops = {form.closing: self._control(form.closing) for form in constraint.forms}
        self._begin = begin[0] - 256
        self._paths: tuple[_Path, ...] = self._starts
        self._form: Form | None = None  # whose content is being written
        self._matcher: Matcher | None = None
        self._pending = b""  # of a character
        for grammar in {form.grammar for form in constraint.forms if form.grammar}:
            self._compile(grammar).close()  # now, not when thousands of tokens have been thought

    def close(self) -> None:
        """Frees the grammar."""
        if self._matcher is not None:
            self._matcher.close()
            self._matcher = None

    def resume(self, prompt: list[int]) -> None:
        """Goes on where the prompt ends: in its last message. Raises `UserError` if that is not by the constraint."""
        start = len(prompt) - 1 - prompt[::-1].index(self._begin) if self._begin in prompt else len(prompt)
        if start == len(prompt) or not self.takes(prompt[start:]):
            raise UserError(
                N_("This answer does not begin as its schema wants it, so it cannot be continued. Try again.")
            )

    def allows(self, token: int) -> bool:
        """Whether it can come next."""
        lexicon, form = self._lexicon, self._form
        if form is None:
            said = self._said(token)
            return bool(said) and any(path.after(said) for path in self._paths)
        if token in lexicon.control:
            return token == self._stops[form.closing] and self._may_end()
        if self._matcher is None:
            return True
        if lexicon.first[token] == _NONE or not self._keeps_utf8(token):
            return False
        return self._matcher.allows(token)

    def allowed(self, tokens: Ids) -> Mask:
        """`allows` of each of them."""
        lexicon, form = self._lexicon, self._form
        if form is None:
            near = np.isin(lexicon.first[tokens], [path.left[0] for path in self._paths])
            return self._each(tokens, near | lexicon.is_control[tokens])
        if self._matcher is None:
            found: Mask = ~lexicon.is_control[tokens]
        else:
            found = self._of_grammar(tokens)
        if self._may_end():
            found |= tokens == self._stops[form.closing]
        return found

    def take(self, token: int) -> None:
        """It comes next. Only one that is allowed."""
        form = self._form
        if form is None:
            said = self._said(token)
            self._paths = tuple(after for path in self._paths if (after := path.after(said)))
            if done := [path for path in self._paths if not path.left]:
                self._enter(done[0].form)
        elif token in self._lexicon.control:
            self.close()
            self._form, self._paths = None, self._starts
        elif self._matcher is not None:
            self._matcher.take(token)
            self._pending = _rest_of_character(self._pending, self._lexicon.piece(token)) or b""

    def takes(self, tokens: Iterable[int]) -> bool:
        """Takes tokens that were not sampled, if they all follow; whether they do. Not within a grammar's text."""
        if self._matcher is not None:
            return False
        before = self._form, self._paths
        for token in tokens:
            if not self.allows(token):
                self.close()
                self._form, self._paths = before
                return False
            self.take(token)
        return True

    def _enter(self, form: Form) -> None:
        self._form, self._paths, self._pending = form, (), b""
        self._matcher = self._compile(form.grammar) if form.grammar else None

    def _compile(self, grammar: str) -> Matcher:
        try:
            return self._compiler(grammar)
        except ValueError:
            raise UserError(N_("This JSON schema is too much for the engine. Make it simpler.")) from None

    def _may_end(self) -> bool:
        assert self._form is not None
        return self._matcher is None or self._matcher.allows(self._stops[self._form.closing])

    def _of_grammar(self, tokens: Ids) -> Mask:
        """Which of them are text that the grammar allows."""
        assert self._matcher is not None
        lexicon = self._lexicon
        if self._pending:
            return self._each(tokens, (lexicon.first[tokens] >= 0x80) & (lexicon.first[tokens] < 0xC0))
        follows = self._bytes(self._matcher)
        found = lexicon.begins[tokens] & follows[lexicon.first[tokens]]
        many = np.flatnonzero(follows[:_NONE] & (lexicon.of_first[:_NONE] > _MANY) & (lexicon.of_byte >= 0))
        if tokens.size > _MANY and many.size <= _FEW:  # white space, say: half the vocabulary begins with a blank
            for byte in many:
                after = self._matcher.copy()
                after.take(int(lexicon.of_byte[byte]))
                found &= (lexicon.first[tokens] != byte) | self._bytes(after)[lexicon.second[tokens]]
                after.close()
        found[found] = self._matcher.allowed(tokens[found])
        return found

    def _bytes(self, matcher: Matcher) -> Mask:
        """The bytes with which a token that is allowed may begin, and that there may be none."""
        known = self._lexicon.of_byte >= 0
        found = np.ones(_NONE + 1, np.bool_)
        found[:_NONE][known] = matcher.allowed(self._lexicon.of_byte[known])
        return found

    def _each(self, tokens: Ids, likely: Mask) -> Mask:
        """`allows` of the likely ones; none else is allowed."""
        found = likely.copy()
        found[likely] = [self.allows(int(token)) for token in tokens[likely]]
        return found

    def _keeps_utf8(self, token: int) -> bool:
        if not self._pending:
            return bool(self._lexicon.begins[token])
        return _rest_of_character(self._pending, self._lexicon.piece(token)) is not None

    def _said(self, token: int) -> tuple[int, ...]:
        return (256 + token,) if token in self._lexicon.control else tuple(self._lexicon.piece(token))

    def _symbols(self, segments: tuple[Segment, ...]) -> tuple[int, ...]:
        found: list[int] = []
        for segment in segments:
            if isinstance(segment, Special):
                found.append(256 + self._control(segment.name))
            elif isinstance(segment, Text):
                found += segment.text.encode()
        return tuple(found)

    def _control(self, name: str) -> int:
        if name not in self._lexicon.specials:
            raise UserError(
                N_("This model has no token {name}. Choose a gpt-oss model: Inglenook runs no others."), name=name
            )
        return self._lexicon.specials[name]
