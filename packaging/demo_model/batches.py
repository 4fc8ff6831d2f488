"""Lessons to tensors: a family's lessons become one tree of tokens, in which a shared beginning stands once.

A token sees its ancestors in the tree; its position is its depth. So a system message of 90 tokens is computed once for
many answers, which is most of the speed of this training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lessons import Lesson
from torch import Tensor


class Tree:
    """The tokens of a family as a prefix tree, and which edges are to be learned."""

    def __init__(self, lessons: Sequence[Lesson]) -> None:
        self.ids: list[int] = []
        self.depth: list[int] = []
        self.learned: dict[tuple[int, int], None] = {}  # (token that predicts, token id to predict)
        self._children: dict[tuple[int, int], int] = {}
        self._ends: list[tuple[int, int, int]] = []  # runs of consecutive tokens: first, past the last, their parent
        for lesson in lessons:
            at = self._insert(-1, lesson.prompt)
            for token in lesson.target:
                self.learned[at, token] = None
                at = self._insert(at, (token,))

    def _insert(self, at: int, tokens: Sequence[int]) -> int:
        for token in tokens:
            known = self._children.get((at, token))
            if known is None:
                known = len(self.ids)
                self.ids.append(token)
                self.depth.append(self.depth[at] + 1 if at >= 0 else 0)
                self._children[at, token] = known
                self._grow(known, at)
            at = known
        return at

    def _grow(self, token: int, parent: int) -> None:
        if self._ends and self._ends[-1][1] == token and parent == token - 1:
            first, _, above = self._ends[-1]
            self._ends[-1] = (first, token + 1, above)
        else:
            self._ends.append((token, token + 1, parent))

    def visible(self) -> np.ndarray:
        """[T, T]: whether row may look at column: itself and its ancestors."""
        size = len(self.ids)
        seen = np.zeros((size, size), dtype=bool)
        for first, past, parent in self._ends:
            if parent >= 0:
                seen[first:past] = seen[parent]
            length = past - first
            seen[first:past, first:past] = np.tri(length, dtype=bool)
        return seen


@dataclass(frozen=True)
class Batch:
    """ids, positions [B, T]; visible [B, T, T]; `where` flat indices of the predicting tokens, `goals` what follows."""

    ids: Tensor
    positions: Tensor
    visible: Tensor
    where: Tensor
    goals: Tensor


def batch(trees: Sequence[Tree]) -> Batch:
    """Pads `trees` to the longest."""
    length = max(len(t.ids) for t in trees)
    ids = np.zeros((len(trees), length), dtype=np.int64)
    positions = np.zeros((len(trees), length), dtype=np.float32)
    visible = np.zeros((len(trees), length, length), dtype=bool)
    where: list[int] = []
    goals: list[int] = []
    for i, tree in enumerate(trees):
        n = len(tree.ids)
        ids[i, :n], positions[i, :n], visible[i, :n, :n] = tree.ids, tree.depth, tree.visible()
        for at, goal in tree.learned:
            where.append(i * length + at)
            goals.append(goal)
    return Batch(*map(torch.from_numpy, (ids, positions, visible, np.array(where), np.array(goals))))
