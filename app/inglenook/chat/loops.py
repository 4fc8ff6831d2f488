"""Notices when what is written goes round in circles: the same tokens in the same order, again and again.

Only exact repetition counts. A list with its numbers, the rows of a table, or code with its names differ somewhere in
each round; and what repeats itself exactly for a while (a ruler, a row of zeros) is shorter than a `Rule` allows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 2048
"""So many of the last tokens are looked at."""

STEP = 64
"""They are looked at each time that so many more have come: about as many steps for each token as `WINDOW / STEP`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What counts as going round in circles: so many tokens at the end, in so many rounds or more."""

    tokens: int
    rounds: int


THOUGHT = Rule(400, 4)
"""For reasoning: nobody asked for its exact words."""

ANSWER = Rule(768, 8)
"""For all else: somebody may have asked for a line a hundred times."""


def period(ids: Sequence[int], rule: Rule) -> int:
    """The least number of tokens after which the end of `ids` repeats itself, by `rule`; 0 if it does not.

    Takes time in proportion to `ids`: this is the Z function of the reversed sequence, as far as it is needed.
    """
    back = ids[::-1]
    n = len(back)
    if n < rule.tokens:
        return 0
    same = [0] * (n // rule.rounds + 1)  # [p]: so many tokens from the end are as those p before them
    left = right = 0
    for p in range(1, len(same)):
        length = min(right - p, same[p - left]) if p < right else 0
        while p + length < n and back[length] == back[p + length]:
            length += 1
        same[p] = length
        if p + length > right:
            left, right = p, p + length
        if p + length >= max(rule.tokens, rule.rounds * p):
            return p
    return 0


class LoopGuard:
    """Looks at one stream of tokens from time to time."""

    def __init__(self) -> None:
        self._last: deque[int] = deque(maxlen=WINDOW)
        self._unseen = 0

    def feed(self, token_id: int) -> None:
        """Takes a token in."""
        self._last.append(token_id)
        self._unseen += 1

    def finds_loop(self, rule: Rule) -> bool:
        """Whether it goes round in circles; looked at after every `STEP` tokens, else False."""
        if self._unseen < STEP:
            return False
        self._unseen = 0
        return period(tuple(self._last), rule) > 0
