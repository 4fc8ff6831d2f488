"""The steps of a generation's decoding: a token is evaluated, perhaps with a draft of those that may follow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from inglenook.engine.cache import PrefixCache
from inglenook.engine.speculation import MOST, Lookup


class Rows(Protocol):
    """What is needed of `llama.Context`."""

    batch_size: int

    def decode_one(self, token: int, position: int) -> None:
        """Evaluates one token."""

    def decode_rows(self, tokens: Sequence[int], position: int) -> None:
        """Evaluates some, with the logits of each."""

    def logits(self, row: int = -1) -> npt.NDArray[np.float32]:
        """Those after the `row`th token."""
        ...

    def remove_from(self, position: int) -> None:
        """Removes all positions from `position` on."""


class Policy(Protocol):
    """Decides how much to draft: `speculation.Adaptive`."""

    def spent(self, seconds: float) -> None:
        """Time that plain decoding would not have taken."""

    def measured(self, size: int, came: int, seconds: float) -> None:
        """A step that evaluated `size` tokens took so long, and of it came `came` tokens."""

    def length(self, lookup: Lookup) -> int:
        """How many tokens to draft now."""
        ...


class Steps:
    """Evaluates what was sampled. The cache holds what was said; of a draft the context may hold more until `drop`."""

    def __init__(self, context: Rows, cache: PrefixCache, policy: Policy | None) -> None:
        """Without a `policy` there are no drafts."""
        self._context = context
        self._cache = cache
        self._policy = policy
        self._lookup: Lookup | None = None
        self._draft: list[int] = []
        self._row = -1  # whose logits come next; of a draft its token follows them
        self._size = 0  # tokens of the last evaluation; 0: not to be measured
        self._began = 0.0
        self._most = min(MOST, context.batch_size - 1)

    def logits(self) -> npt.NDArray[np.float32]:
        """Those of the next token; a view that `take` may overwrite."""
        return self._context.logits(self._row)

    def take(self, token: int, room: int) -> None:
        """Evaluates the token that comes next, unless that is done. At most `room` tokens more may follow."""
        row, draft = self._row, self._draft
        lookup = self._lookup
        if lookup is not None:
            lookup.add(token)
        if 0 <= row < len(draft):
            if draft[row] == token:
                self._cache.append(token)
                self._row = row + 1
                return
            self._context.remove_from(len(self._cache))
        if self._policy is None:
            self._context.decode_one(token, len(self._cache))
            self._cache.append(token)
        else:
            self._evaluate(self._policy, token, room)

    def _evaluate(self, policy: Policy, token: int, room: int) -> None:
        context, cache, lookup = self._context, self._cache, self._lookup
        now = time.perf_counter()
        if self._size:
            policy.measured(self._size, max(self._row, 0) + 1, now - self._began)
        if lookup is None:
            lookup = self._lookup = Lookup([*cache.tokens, token])
            policy.spent(time.perf_counter() - now)
        self._size, self._row, self._draft = 0, -1, []
        count = min(policy.length(lookup), room - 1, self._most)
        if count > 0:
            draft = lookup.draft(count)
            context.decode_rows([token, *draft], len(cache))
            self._row, self._draft = 0, draft
        else:
            context.decode_one(token, len(cache))
        cache.append(token)
        self._size, self._began = max(count, 0) + 1, now

    def drop(self) -> None:
        """Takes back what is drafted and was not said: another evaluation comes, or none."""
        if 0 <= self._row < len(self._draft):
            self._context.remove_from(len(self._cache))
        self._row, self._draft, self._size = -1, [], 0

    def put_in(self, tokens: Sequence[int]) -> None:
        """These were evaluated after `drop`, and their last one's logits come next."""
        if self._lookup is not None:
            for token in tokens:
                self._lookup.add(token)
