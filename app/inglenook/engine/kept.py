"""States of other conversations in main memory: whoever goes from chat to chat does not wait for each anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BUDGET = 1 << 30  # bytes of all of them: about 40,000 tokens of the 20b model


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The windows' state after the first `length` tokens; it holds positions from `first` on."""

    length: int
    first: int
    state: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """All that a prefix cache had of a conversation: `state` is its sequence's; the windows have it from `first` on."""

    tokens: list[int]
    first: int
    checkpoints: list[Checkpoint]
    state: memoryview

    @property
    def bytes(self) -> int:
        """What it takes of main memory."""
        return len(self.state) + sum(len(c.state) for c in self.checkpoints)


class KeptStates:
    """Those that are kept, the one used longest ago first."""

    def __init__(self) -> None:
        self._all: list[Kept] = []

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._all)

    @property
    def bytes(self) -> int:
        """What they take of main memory."""
        return sum(kept.bytes for kept in self._all)

    def add(self, kept: Kept) -> None:
        """Keeps it in place of those that it begins with."""
        self._all = [k for k in self._all if k.tokens != kept.tokens[: len(k.tokens)]]
        self._all.append(kept)

    def take(self, kept: Kept) -> Kept:
        """Removes it: it is to be in the context now."""
        self._all.remove(kept)
        return kept

    def shrink(self, budget: int) -> int:
        """Has them take no more than `budget` bytes; returns how many are free now that were not."""
        before = self.bytes
        while self._all and self.bytes > budget:
            del self._all[0]
        return before - self.bytes
