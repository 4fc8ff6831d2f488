"""Which tokens are in the KV cache, and how to go back to an earlier point without wrong output.

gpt-oss's sliding-window layers keep only the last tokens. After a rollback llama.cpp reports success but may lack what
the window needs, and its output is silently wrong. So each rollback is checked against the first position that is
still there; else a checkpoint of the window is restored, or evaluation starts over. What another conversation's prompt
would throw out is kept in main memory, whole, while there is room.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from inglenook.engine import kept
from inglenook.engine.kept import Checkpoint, Kept, KeptStates

_log = logging.getLogger(__name__)
BUDGET = 256 << 20  # bytes of checkpoints: about 80 of the 20b model
LOW = 1 << 30  # bytes of main memory: with less than this to be had, checkpoints make room
WORTH = 128  # tokens: to evaluate fewer takes no longer than to copy a state


class Window(Protocol):
    """What is needed of `llama.Context`."""

    def clear(self) -> None:
        """Empties the cache."""

    def remove_from(self, position: int) -> None:
        """Removes all positions from `position` on."""

    def first_position(self) -> int:
        """The first position that every layer still has; -1 if the cache is empty."""
        ...

    def last_position(self) -> int:
        """The last position in the cache; -1 if it is empty."""
        ...

    def save_window(self) -> bytes:
        """The sliding-window layers' part of the state."""
        ...

    def restore_window(self, state: bytes) -> bool:
        """Puts it back; False if refused."""
        ...

    def state_bytes(self) -> int:
        """How long `save` would be."""
        ...

    def save(self) -> memoryview:
        """The whole state."""
        ...

    def restore(self, state: memoryview) -> bool:
        """Puts it back in place of what is there; False if refused."""
        ...


class PrefixCache:
    """The tokens in one context's cache, in step with it."""

    def __init__(
        self,
        context: Window,
        n_swa: int,
        budget: int = BUDGET,
        available: Callable[[], int] = lambda: 2 * LOW,
        turn: Sequence[int] = (),
        kept_budget: int = kept.BUDGET,
    ) -> None:
        """`available` tells how many bytes of main memory can be had; asked once for each prompt.

        `turn` are the tokens that a user's message begins with; without them no other conversation is kept.
        """
        self._context = context
        self._n_swa = n_swa
        self._most = self._budget = budget
        self._available = available
        self._tokens: list[int] = []
        self._checkpoints: list[Checkpoint] = []  # by length
        self._turn = list(turn)
        self._kept_budget = kept_budget
        self._kept = KeptStates()

    def __len__(self) -> int:
        return len(self._tokens)

    def reuse(self, prompt: Sequence[int]) -> int:
        """Makes the cache hold the longest usable prefix of `prompt`, and returns its length.

        It is always shorter than `prompt`: the last token is to be evaluated for its logits.
        """
        self.heed_memory()
        here, (there, other) = self._reusable(prompt)[0], self._elsewhere(prompt)
        if other is not None and there >= here + WORTH:
            other = self._kept.take(other)
            self._keep_from(prompt, 0)
            self._bring(other)
        length, best = self._reusable(prompt)
        self._keep_from(prompt, length)
        if length == 0 or (best is not None and not self._context.restore_window(best.state)):
            self.clear()
            return 0
        self._cut(length)
        if best is None:
            return length
        if not self._covers(self._context.first_position(), length):
            _log.error("a checkpoint of %d tokens did not bring back the window", best.length)
            self.clear()
            return 0
        return length

    def reusable(self, prompt: Sequence[int]) -> int:
        """What `reuse` would return, within `WORTH`; changes nothing."""
        return max(self._reusable(prompt)[0], self._elsewhere(prompt)[0])

    def _reusable(self, prompt: Sequence[int]) -> tuple[int, Checkpoint | None]:
        """How much of `prompt` can be kept, and the checkpoint that it takes."""
        return self._usable(prompt, self._tokens, self._context.first_position(), self._checkpoints)

    def _usable(
        self, prompt: Sequence[int], tokens: Sequence[int], first: int, checkpoints: Sequence[Checkpoint]
    ) -> tuple[int, Checkpoint | None]:
        common = min(common_prefix(tokens, prompt), len(prompt) - 1)
        if common <= 0:
            return 0, None
        if common == len(tokens) or self._covers(first, common):
            return common, None
        best = max(checkpoints, key=lambda c: self._worth(c, common), default=None)
        return (self._worth(best, common), best) if best else (0, None)

    # -- other conversations --

    def _elsewhere(self, prompt: Sequence[int]) -> tuple[int, Kept | None]:
        """How much of `prompt` the best of the kept states has, and which that is."""
        lengths = [(self._usable(prompt, k.tokens, k.first, k.checkpoints)[0], k) for k in self._kept]
        return max(lengths, key=lambda found: found[0], default=(0, None))

    def keep_for(self, prompt: Sequence[int]) -> None:
        """Keeps what is here, if it is worth it, as a state that begins like `prompt` is about to take its place."""
        self._keep_from(prompt, 0)

    def _keep_from(self, prompt: Sequence[int], length: int) -> None:
        """Keeps what is here, if what comes after `length` tokens, and is to go, is worth it.

        It is if there is a message of the user in it that `prompt` does not have: another conversation, or another
        branch. Answers and their reasoning are not come back to.
        """
        # Where messages differ from their first token on, what they begin with is in both.
        lost = self._tokens[max(0, common_prefix(self._tokens, prompt) - len(self._turn)) :]
        if not self._turn or len(self._tokens) - length < WORTH or not _contains(lost, self._turn):
            return
        needed = self._context.state_bytes() + self.checkpoint_bytes
        budget = min(self._kept_budget, self.room() + self._kept.bytes)
        if needed > budget:
            return
        self._kept.shrink(budget - needed)
        # A state has of the windows only what is in sight of its end.
        first = max(self._context.first_position(), len(self._tokens) - self._n_swa)
        self._kept.add(Kept(self._tokens[:], first, self._checkpoints[:], self._context.save()))

    def _bring(self, other: Kept) -> None:
        """Puts a kept state in place of what is here."""
        if not self._context.restore(other.state):
            _log.error("a kept state of %d tokens was refused", len(other.tokens))
            self.clear()
            return
        self._tokens[:] = other.tokens
        self._checkpoints = other.checkpoints
        if self._context.last_position() != len(self._tokens) - 1 or self._context.first_position() > other.first:
            _log.error("a kept state of %d tokens did not come back whole", len(self._tokens))
            self.clear()

    def restored(self, tokens: Sequence[int]) -> bool:
        """Notes that the context has just been given the state after `tokens`; False, and empty, if it has not."""
        self._tokens[:] = tokens
        self._checkpoints.clear()
        good = self._context.last_position() == len(tokens) - 1
        if not good or not self._covers(self._context.first_position(), len(tokens)):
            _log.error("a saved state of %d tokens did not come back whole", len(tokens))
            self.clear()
            return False
        self.checkpoint()
        return True

    @property
    def tokens(self) -> Sequence[int]:
        """What is in the cache; not to be changed."""
        return self._tokens

    def holds(self, prompt: Sequence[int]) -> bool:
        """Whether all of `prompt` is in the cache, so that there is nothing to evaluate ahead."""
        return common_prefix(self._tokens, prompt) == len(prompt)

    def extend(self, tokens: Sequence[int]) -> None:
        """Notes that `tokens` were evaluated at the end."""
        self._tokens += tokens

    def append(self, token: int) -> None:
        """`extend` by one."""
        self._tokens.append(token)

    def after_failure(self) -> None:
        """Checks after a failed evaluation that the cache holds what is noted, else empties it."""
        if self._context.last_position() != len(self._tokens) - 1:
            _log.warning("the cache ends at %d, not %d", self._context.last_position(), len(self._tokens) - 1)
            self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self._context.clear()
        self._tokens.clear()
        self._checkpoints.clear()

    def checkpoint(self) -> None:
        """Keeps the windows' state as it is now, to come back to; the oldest goes when memory runs short."""
        length = len(self._tokens)
        if self._n_swa == 0 or length == 0 or any(c.length == length for c in self._checkpoints):
            return
        state = self._context.save_window()
        first = max(self._context.first_position(), length - self._n_swa)
        self._checkpoints.append(Checkpoint(length, first, state))
        self._keep_to_budget()

    @property
    def place(self) -> int:
        """The last place to return to: so many tokens."""
        return self._checkpoints[-1].length if self._checkpoints else 0

    @property
    def checkpoint_bytes(self) -> int:
        """What the checkpoints take of main memory."""
        return sum(len(c.state) for c in self._checkpoints)

    @property
    def kept_bytes(self) -> int:
        """What other conversations' states take of main memory."""
        return self._kept.bytes

    def room(self) -> int:
        """Bytes of main memory that can be had beyond `LOW`."""
        return self._available() - LOW

    def heed_memory(self) -> None:
        """Has kept states, then checkpoints, take no more than what is to be had beyond `LOW`."""
        room = self.room()
        room += self._kept.shrink(self._kept.bytes + min(0, room))
        to_spare = room + self.checkpoint_bytes
        self._budget = max(0, min(self._most, to_spare))
        if self._budget < self.checkpoint_bytes:
            _log.info("memory is short: checkpoints may take %d bytes", self._budget)
        self._keep_to_budget()

    def _keep_to_budget(self) -> None:
        """The latest stays whatever it takes: without it every turn would be evaluated from the start."""
        while len(self._checkpoints) > 1 and self.checkpoint_bytes > self._budget:
            del self._checkpoints[0]

    def _covers(self, first: int, length: int) -> bool:
        """Whether positions from `first` on are enough to go on after `length` tokens.

        The next token, at position `length`, sees the `n_swa` positions up to its own.
        """
        return self._n_swa == 0 or 0 <= first <= max(0, length - self._n_swa + 1)

    def _worth(self, checkpoint: Checkpoint, common: int) -> int:
        """How many of the `common` tokens are saved by going back to `checkpoint`."""
        length = min(checkpoint.length, common)
        return length if self._covers(checkpoint.first, length) else 0

    def _cut(self, length: int) -> None:
        self._context.remove_from(length)
        del self._tokens[length:]
        self._checkpoints = [c for c in self._checkpoints if c.length <= length]


def common_prefix(a: Sequence[int] | npt.NDArray[np.int32], b: Sequence[int] | npt.NDArray[np.int32]) -> int:
    """How many leading elements are equal."""
    n = min(len(a), len(b))
    if n == 0:
        return 0
    different = np.flatnonzero(np.asarray(a[:n], np.int32) != np.asarray(b[:n], np.int32))
    return int(different[0]) if different.size else n


def _contains(tokens: Sequence[int], part: Sequence[int]) -> bool:
    """Whether `part` is somewhere in `tokens`."""
    return any(tokens[at : at + len(part)] == part for at, token in enumerate(tokens) if token == part[0])
