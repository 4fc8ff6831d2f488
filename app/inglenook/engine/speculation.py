"""Guesses the next tokens from what was said before, and decides when it pays to evaluate a guess.

Who rewrites a text or a program says much of it again. The tokens that followed the last few before are evaluated
together with the next one; those that the sampler then takes, too, came for less than one by one. Nothing is lost in
what is said: every token is sampled from the model's own logits.

How often a guess is right is counted on all tokens, also on those for which none was evaluated, so it costs nothing
to know. What an evaluation of several tokens costs is measured on those that were made. An account limits what can be
lost: of the time of plain steps a small share may be risked, and what was gained.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST = 8  # tokens in a draft
_GRAM = 3  # tokens that must have come before in this order
_BITS = 18  # of a token's id: enough for 262,144
_MASK = (1 << _GRAM * _BITS) - 1
_NEAR_BEFORE, _NEAR_AFTER = 8, 32  # tokens about where a repetition broke off, among which it is looked for again
_LONG = 16  # tokens: no match is followed back further
_MEMORY = 64  # guesses of a kind that are counted, about

_SHARE = 0.015  # of the time of plain steps that may be lost
_WORTH = 1.1  # gain from which on it is tried
_MOST_SAVED = 16  # plain steps that the account may hold
_UNKNOWN = 0.25  # plain steps for each token more, until it is measured
_PLANNED = 16  # tokens for which a plan holds
_FORGOTTEN = 512  # plain steps after which what was measured counts half


class Lookup:
    """Where the last tokens came before, with how often what followed then followed again.

    `length` tells how many tokens match there; 0: nowhere.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = list(tokens)
        self._key = 0
        self._places: dict[int, int] = {}  # after the last n-gram of that key
        self.length = 0
        self._source = 0  # the place of the token that is guessed
        self._broke = 0  # the place of the guess that was wrong after a repetition
        self._since = _NEAR_AFTER  # tokens since then
        self.right = [1.0, 1.0, 1.5, 1.7, 1.8, 1.9]  # guesses by `kind`; as if there had been two of each
        self.made = [2.0] * len(self.right)
        if len(tokens) >= _GRAM:
            ids = np.asarray(tokens, np.int64)
            count = ids.size - _GRAM + 1
            keys = np.zeros(count, np.int64)
            for i in range(_GRAM):
                keys = (keys << _BITS) | ids[i : i + count]
            listed = keys.tolist()
            self._places.update(zip(listed, range(_GRAM, ids.size + 1), strict=True))
            self._key = listed[-1]

    def add(self, token: int) -> None:
        """Notes the token that came next."""
        tokens, source, place = self._tokens, self._source, len(self._tokens)
        tokens.append(token)
        key = self._key = (self._key << _BITS | token) & _MASK
        found = self._places.get(key, 0)
        self._places[key] = place + 1
        if source:
            kind = min(self.length.bit_length(), 5)
            is_right = tokens[source] == token
            self._count(kind, is_right)
            if is_right:
                self._source = source + 1
                self.length += 1
                return
            if self.length >= _GRAM:
                self._broke, self._since = source, 0
            self._source = self.length = 0
        if found:
            self._source, self.length = found, self._matching(found)
        if self._since < _NEAR_AFTER:
            self._since += 1
            self._look_near(token)

    def draft(self, count: int) -> list[int]:
        """The guess: `count` tokens. What repeats itself at once is repeated as often as that takes."""
        tokens, source = self._tokens, self._source
        found = tokens[source : source + count]
        period = len(found)
        while len(found) < count:
            found.append(found[len(found) - period])
        return found

    def likelihood(self, length: int) -> float:
        """That the guess after so many tokens is right."""
        kind = min(length.bit_length(), 5)
        return self.right[kind] / self.made[kind]

    def _count(self, kind: int, is_right: bool) -> None:
        if self.made[kind] >= _MEMORY:
            self.made[kind] /= 2
            self.right[kind] /= 2
        self.made[kind] += 1
        self.right[kind] += is_right

    def _look_near(self, token: int) -> None:
        """After an edit the repetition goes on near where it broke off: one token may tell where."""
        tokens, last = self._tokens, len(self._tokens) - 1
        place = max(0, self._broke - _NEAR_BEFORE)
        end = min(self._broke + _NEAR_AFTER, last)
        while place < end:
            try:
                place = tokens.index(token, place, end) + 1
            except ValueError:
                return
            if (length := self._matching(place)) > self.length:
                self._source, self.length = place, length

    def _matching(self, place: int) -> int:
        """How many tokens before `place` are equal to the last ones."""
        tokens, length, end = self._tokens, 1, len(self._tokens)
        most = min(_LONG, place)
        while length < most and tokens[place - 1 - length] == tokens[end - 1 - length]:
            length += 1
        return length


class Costs:
    """What it costs to evaluate several tokens at once, in plain steps; of one model, for all its generations."""

    def __init__(self) -> None:
        self._known: dict[int, float] = {}

    def note(self, size: int, ratio: float) -> None:
        """So much did a step with `size` tokens cost. A hiccup of the machine is not taken at its word."""
        before = self._known.get(size)
        if before is None:
            self._known[size] = ratio
        else:
            self._known[size] = before + 0.2 * (min(ratio, 2 * before) - before)

    def of(self, size: int) -> float:
        """What a step with `size` tokens costs, going by the nearest size that is known."""
        if (known := self._known.get(size)) is not None:
            return known
        if not self._known:
            return 1 + _UNKNOWN * (size - 1)
        near = min(self._known, key=lambda s: abs(s - size))
        return max(1.0, 1 + (self._known[near] - 1) * (size - 1) / (near - 1))

    def risk(self, size: int) -> float:
        """Plain steps that a useless one with `size` tokens costs at most: about so many as one by one."""
        known = self._known.get(size)
        return known - 1 if known is not None else float(size)

    def forget(self) -> None:
        """Comes half-way back to what is taken for granted: the machine may have been busy then."""
        for size, ratio in self._known.items():
            self._known[size] = (ratio + 1 + _UNKNOWN * (size - 1)) / 2


class Adaptive:
    """How long drafts are in one generation: as long as pays best, and none while it does not or may lose too much."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._plain = 0.0  # seconds of a step with one token
        self._saved = 0.0  # seconds that may be lost
        self._steps = 0  # plain ones in a row
        self._is_after_draft = False
        self._plans: dict[int, tuple[int, float]] = {}  # by length: tokens to draft, what may be lost in plain steps

    def spent(self, seconds: float) -> None:
        """Time that plain decoding would not have taken."""
        self._saved -= seconds

    def measured(self, size: int, came: int, seconds: float) -> None:
        """A step that evaluated `size` tokens took so long, and of it came `came` tokens."""
        if size == 1 and self._is_after_draft:
            self._saved -= seconds - self._plain  # another size than before takes longer
        elif size == 1:
            plain = self._plain or seconds
            self._plain = plain + 0.1 * (min(seconds, 2 * plain) - plain)
            self._saved += _SHARE * seconds
            self._steps += 1
            if not self._steps % _PLANNED:
                self._plans.clear()
                if not self._steps % _FORGOTTEN:
                    self._costs.forget()
        elif self._plain:
            self._costs.note(size, seconds / self._plain)
            self._saved += came * self._plain - seconds
            self._steps = 0
            self._plans.clear()
        self._is_after_draft = size > 1
        self._saved = min(self._saved, _MOST_SAVED * self._plain)

    def length(self, lookup: Lookup) -> int:
        """How many tokens to draft now."""
        matching = min(lookup.length, _LONG)
        if not matching or self._saved <= 0.0:
            return 0
        plan = self._plans.get(matching)
        if plan is None:
            plan = self._plans[matching] = self._plan(lookup, matching)
        return plan[0] if plan[1] * self._plain <= self._saved else 0

    def _plan(self, lookup: Lookup, matching: int) -> tuple[int, float]:
        """What gains most of what may be afforded."""
        best, gain = (0, 0.0), _WORTH
        come, likelihood = 1.0, 1.0
        for count in range(1, MOST + 1):
            likelihood *= lookup.likelihood(matching + count - 1)
            come += likelihood
            cost, risk = self._costs.of(count + 1), self._costs.risk(count + 1)
            if come / cost > gain and risk * self._plain <= self._saved:
                best, gain = (count, risk), come / cost
        return best
