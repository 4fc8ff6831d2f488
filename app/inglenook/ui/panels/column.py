"""The messages of the transcript below each other: where each is, how high it may be, what is to stay in its place."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inglenook.ui.models.transcript import Entry
from inglenook.ui.theme import SPACE
from inglenook.ui.widgets.message_view import MessageView


@dataclass(slots=True, eq=False)
class Item:
    """A message in the column. `height` is an estimate until `known`."""

    entry: Entry
    height: float = 0.0
    gap: float = 0.0  # to the message before
    known: bool = False
    y: float = 0.0
    view: MessageView | None = None


@dataclass(frozen=True, slots=True)
class Anchor:
    """A message whose top (or bottom) is to be at `y` in the view."""

    item: Item
    y: float
    at_bottom: bool = False

    def value(self) -> float:
        """What the scroll bar must say for that."""
        return self.item.y + (self.item.height if self.at_bottom else 0.0) - self.y


def between(items: Sequence[Item], top: float, bottom: float) -> list[Item]:
    """Those that lie in this part of the column."""
    found = []
    for i in range(max(0, bisect_right(items, top, key=lambda item: item.y) - 1), len(items)):
        if items[i].y >= bottom:
            break
        if items[i].y + items[i].height > top:
            found.append(items[i])
    return found


def staying(
    items: Sequence[Item], entries: Sequence[Entry], top: float, high: float
) -> Callable[[Sequence[Item]], Anchor] | None:
    """What is to stay in place when `entries` come: what is in sight and remains, else the actions of a version.

    The view begins at `top` and is so `high`. The answer is a function of the new items, since another version of a
    message is an item that is yet to come.
    """
    kept = {entry.id for entry in entries}
    seen = between(items, top, top + high)
    stays = next((item for item in seen if item.entry.id in kept), None)
    gone = next((i for i, item in enumerate(items) if item.entry.id not in kept), None)
    if gone is not None and gone < len(entries) and items[gone] in seen:
        bottom = items[gone].y + items[gone].height - top
        if bottom <= high:
            return lambda new: Anchor(new[gone], bottom, at_bottom=True)
    if stays is not None:
        place = Anchor(stays, stays.y - top)
        return lambda _new: place
    return None


def estimate(entry: Entry, em: float, width: int) -> float:
    """About how high a message will be in a column of that width."""
    text = entry.message.message.text
    line = em * 1.32
    per_line = max(20.0, width / (em * 0.38))
    lines = text.count("\n") + len(text) / per_line
    if entry.mine:
        return min(lines + 1, 30) * line + 60
    return (lines + 1) * line + 50


def gap(above: Entry | None, entry: Entry) -> float:
    """Pixels between a message and the one above it."""
    if above is None:
        return 0.0
    return float(SPACE.s if entry.continues else SPACE.xs if above.mine else SPACE.l)
