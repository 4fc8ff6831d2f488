"""Notices reasoning that goes round in circles without quite repeating itself: a number or a word differs each time.

"Let me try 17 once more, then. Let me try 18 once more, then." Much that is right looks like that, so only prose
counts: no lists, tables, code or JSON, which begin their lines otherwise; and only where at most one word differs in
each round, for many rounds. A proof by steps or a search through cases changes more than that. In an answer it is never
a reason to end: somebody may have asked for just that.
"""

from __future__ import annotations

import re
from collections import deque

ROUNDS = 24
"""So many in a row are a circle."""

WORDS = 400
"""So many they must have, all together."""

_PER_ROUND = 6  # words at least: what is shorter is counting, or a table in words
_SENTENCES = 5  # of a round, at most
_SHORTEST = 4  # words of a sentence in which one may differ
_LONGEST = 2000  # bytes of a sentence
_END = re.compile(rb"(?<=[.!?])\s+|\s*\n\s*|(?<=\xe3\x80\x82)")
_ITEM = re.compile(rb"\W*\d+[.)]?")  # "12." is the beginning of an item of a list
_NO_PROSE = re.compile(rb"\s*(?:\d+[.):]|[-*+|>#{}()\[\]\"'`/=<]|\xe2\x80\xa2|[\w.]+\s*[=(:\[])")
_CODE = re.compile(rb"\w[(\[]|[=!<>]=|->|::|;\s*$")


class _Circle:
    """How long each sentence has been like the one so many sentences before it."""

    def __init__(self) -> None:
        self.sentences = self.words = self.changes = 0

    def clear(self) -> None:
        """From here on."""
        self.sentences = self.words = self.changes = 0


class NearGuard:
    """Looks at one text, sentence by sentence."""

    def __init__(self) -> None:
        self._text = b""
        self._past: deque[list[bytes]] = deque(maxlen=_SENTENCES)
        self._circles = [_Circle() for _ in range(_SENTENCES)]

    def feed(self, piece: bytes) -> bool:
        """Takes the bytes of a token in. Whether it goes round in circles; asked only where a sentence ends."""
        self._text += piece
        if len(self._text) > _LONGEST:
            self._text = b""
            self._break()
            return False
        found = False
        if piece[:1].isspace() or b"\n" in piece or b"\x80\x82" in piece:
            found = self._split()
        return found

    def _split(self) -> bool:
        found, start = False, 0
        for end in _END.finditer(self._text):
            sentence = self._text[start : end.start()]
            if end[0] and b"\n" not in end[0] and _ITEM.fullmatch(sentence):
                continue
            found = self._sentence(sentence) or found
            start = end.end()
        self._text = self._text[start:]
        return found

    def _sentence(self, sentence: bytes) -> bool:
        words = sentence.split()
        if not words:
            return False
        spelled = sum(word[:1].isalpha() or word[0] > 127 for word in words)
        if _NO_PROSE.match(sentence) or _CODE.search(sentence) or 2 * spelled < len(words):
            self._break()
            return False
        found = False
        for i, circle in enumerate(self._circles):
            changes = _changes(words, self._past[-1 - i]) if i < len(self._past) else None
            if changes is None:
                circle.clear()
                continue
            circle.sentences += 1
            circle.words += len(words)
            circle.changes += changes
            rounds = circle.sentences // (i + 1)
            if circle.changes > rounds + 1:
                circle.clear()
            elif rounds >= ROUNDS and circle.words >= max(WORDS, _PER_ROUND * rounds):
                found = True
        self._past.append(words)
        return found

    def _break(self) -> None:
        self._past.clear()
        for circle in self._circles:
            circle.clear()


def _changes(words: list[bytes], before: list[bytes]) -> int | None:
    """How many of the words differ, if that is one at most."""
    if len(words) != len(before):
        return None
    changes = sum(a != b for a, b in zip(words, before, strict=True))
    return changes if changes <= (len(words) >= _SHORTEST) else None
