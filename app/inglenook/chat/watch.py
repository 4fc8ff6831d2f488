"""What is to be done about an answer while it is written: reasoning without end is made to answer, a loop is ended."""

from __future__ import annotations

from enum import Enum, auto

from inglenook.chat.answer import Answer
from inglenook.chat.loops import ANSWER, THOUGHT, LoopGuard
from inglenook.chat.near_loops import NearGuard


class Act(Enum):
    """What to do now."""

    ANSWER_NOW = auto()
    END = auto()


class Watch:
    """Over one generation of `answer`, with a budget of reasoning tokens for all of the answer (0: none)."""

    def __init__(self, answer: Answer, budget: int = 0) -> None:
        self._answer = answer
        self._budget = budget
        self._guard = LoopGuard()
        self._near = NearGuard()
        self._hurried: int | None = None  # the reasoning that has been told to end
        self.thought_in_circles = False
        """Whether that was for going round in circles."""

    def feed(self, token_id: int, piece: bytes) -> Act | None:
        """After `Answer.feed`. Says each thing once, where the same reasoning is concerned."""
        self._guard.feed(token_id)
        thinking = self._answer.thinking
        if thinking is None:
            return Act.END if self._guard.finds_loop(ANSWER) else None
        if thinking == self._hurried:
            return None
        if 0 < self._budget <= self._answer.thought_tokens:
            self._hurried = thinking
        elif self._near.feed(piece) or self._guard.finds_loop(THOUGHT):
            self._hurried = thinking
            self.thought_in_circles = True
        return Act.ANSWER_NOW if self._hurried == thinking else None
