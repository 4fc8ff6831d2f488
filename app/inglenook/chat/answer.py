"""An answer that grows: the sampled tokens, their parser, and the parts' clock and meter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from inglenook.core.errors import UserError
from inglenook.core.events import Channel, HarmonyEvent, PartEnded, PartStarted
from inglenook.core.i18n import N_
from inglenook.core.inference import ModelInfo
from inglenook.core.messages import Message, Part, PreamblePart, ReasoningPart, Role, SampledTokens, ToolCallPart
from inglenook.harmony.parse import Parser
from inglenook.harmony.resume import Point, resume_point


class Answer:
    """Of one message, from its first token or from where an earlier attempt at it was cut off."""

    def __init__(self, info: ModelInfo, message_id: str, earlier: Message, recipients: tuple[str, ...] = ()) -> None:
        """`earlier`: what there is of it. Raises `UserError` if the model cannot go on from there."""
        self._info = info
        self._specials = dict(info.specials)
        self._control = frozenset(self._specials.values())
        self._message_id = message_id
        self._recipients = recipients
        self._from = self._point(earlier)
        self._open: int | None = None  # the part that is being written
        self._thoughts: set[int] = set()  # the parts that are reasoning
        self._counts: dict[int, int] = {}  # tokens of the parts
        self._unsaid = 0  # tokens since the last control token, while no part is open: perhaps half a character of one
        self._begin()
        self._tokens: list[tuple[int, bytes]] = []  # since then
        self._whole = 0  # so many of them end with a whole character
        self._good = 0  # so many were sampled before anything was malformed
        self._started: dict[int, float] = {}
        self._ended: dict[int, float] = {}
        self._earlier_s = {i: p.seconds for i, p in enumerate(self._from.parts) if isinstance(p, ReasoningPart)}
        self.grown = False
        """Whether there is more than at the last call of `message`."""

    @property
    def ids(self) -> tuple[int, ...]:
        """After these the model is to go on."""
        return self._from.ids + tuple(token_id for token_id, _ in self._tokens)

    @property
    def good_ids(self) -> tuple[int, ...]:
        """What is kept of `ids` by `go_back`."""
        return self._from.ids + tuple(token_id for token_id, _ in self._tokens[: self._good])

    @property
    def is_unanswered(self) -> bool:
        """Whether there is neither a final answer nor a call. Ask before `finish`."""
        return not self._parser.answered

    @property
    def is_broken(self) -> bool:
        """Whether, now that the model has stopped, it had better try again: nothing was said, or it is malformed."""
        said = any(isinstance(part, PreamblePart) for part in self._parser.parts)
        return self.is_unanswered and (self._parser.malformed > 0 or not said)

    @property
    def thinking(self) -> int | None:
        """The index of the reasoning that is being written."""
        return self._open if self._open in self._thoughts else None

    @property
    def thought_tokens(self) -> int:
        """Of all its reasoning."""
        return sum(self.tokens(i) for i in self._thoughts)

    @property
    def calls(self) -> tuple[ToolCallPart, ...]:
        """The calls to be answered: all, unless a final answer came after them."""
        return calls_of(self._said())

    def feed(self, token_id: int, piece: bytes) -> Sequence[HarmonyEvent]:
        """Takes a token in."""
        if not self._tokens and self._from.inside:
            self._started[len(self._from.parts) - 1] = time.monotonic()
        self._tokens.append((token_id, piece))
        self.grown = True
        events = self._parse(token_id, piece)
        self._time(events)
        if self._parser.is_whole:
            self._whole = len(self._tokens)
        if self._parser.is_good:
            self._good = len(self._tokens)
        return events

    def finish(self) -> Sequence[HarmonyEvent]:
        """No more tokens come. What ends within a character is told, but not kept: one could not go on from there."""
        events = self._parser.finish()
        self._time(events)
        if self._whole < len(self._tokens):
            self._keep(self._whole)
            self._parser.finish()
        self._open = None
        return events

    def go_back(self) -> tuple[Part, ...]:
        """Forgets what came after the last good token; returns the parts that are left."""
        self._keep(self._good)
        left = len(self._parser.parts)
        self._started = {i: at for i, at in self._started.items() if i < left}
        still_open = left - 1 if self._parser.is_inside else left
        self._ended = {i: at for i, at in self._ended.items() if i < still_open}
        parts = self.message().parts
        self.grown = True
        return parts

    def seconds(self, index: int) -> float:
        """How long part `index` took, or has taken."""
        now = time.monotonic()
        return self._earlier_s.get(index, 0.0) + self._ended.get(index, now) - self._started.get(index, now)

    def tokens(self, index: int) -> int:
        """How many tokens part `index` has; 0 if it is of an earlier attempt, and not known."""
        return self._counts.get(index, 0)

    def message(self) -> Message:
        """All that there is. Ids of a character that is not whole are left out, so that one can go on from there."""
        self.grown = False
        return self._said()

    def _said(self) -> Message:
        parts = tuple(self._completed(i, part) for i, part in enumerate(self._parser.parts))
        ids = self.ids[: len(self._from.ids) + self._whole]
        return Message(Role.ASSISTANT, parts, SampledTokens(ids, self._info.vocabulary) if ids else None)

    def _point(self, earlier: Message) -> Point:
        if not earlier.parts:
            return Point()
        sampled = earlier.sampled
        if sampled is not None and sampled.vocabulary != self._info.vocabulary:
            raise UserError(
                N_("Another model wrote this answer, so this one cannot continue it. Choose that model, or try again.")
            )
        point = None if sampled is None else resume_point(sampled.ids, earlier.parts, self._specials)
        if point is None:
            raise UserError(N_("This answer is not well-formed and cannot be continued. Try again instead."))
        return point

    def _keep(self, count: int) -> None:
        del self._tokens[count:]
        self._whole = count
        self._begin()
        for token_id, piece in self._tokens:
            self._parse(token_id, piece)

    def _begin(self) -> None:
        """As it was before the first token."""
        earlier, inside = self._from.parts, self._from.inside
        self._parser = Parser(self._specials, self._recipients)
        self._parser.resume(earlier, inside=inside)
        thoughts = {i: part for i, part in enumerate(earlier) if isinstance(part, ReasoningPart)}
        self._thoughts = set(thoughts)
        self._counts = {i: part.tokens for i, part in thoughts.items()}
        self._open = len(earlier) - 1 if inside else None
        self._unsaid = 0

    def _parse(self, token_id: int, piece: bytes) -> Sequence[HarmonyEvent]:
        events = self._parser.feed(token_id, piece)
        is_text = token_id not in self._control
        if not is_text:
            self._unsaid = 0
        for event in events:
            if isinstance(event, PartStarted):
                self._open = event.index
                self._counts[event.index], self._unsaid = self._unsaid, 0
                if event.channel is Channel.REASONING:
                    self._thoughts.add(event.index)
            elif isinstance(event, PartEnded):
                self._open = None
        if self._open is not None:
            self._counts[self._open] = self._counts.get(self._open, 0) + is_text
        else:
            self._unsaid += is_text
        return events

    def _completed(self, index: int, part: Part) -> Part:
        if isinstance(part, ReasoningPart):
            return replace(part, seconds=self.seconds(index), tokens=self.tokens(index))
        return replace(part, call_id=f"{self._message_id}-{index}") if isinstance(part, ToolCallPart) else part

    def _time(self, events: Sequence[HarmonyEvent]) -> None:
        for event in events:
            if isinstance(event, PartStarted):
                self._started[event.index] = time.monotonic()
            elif isinstance(event, PartEnded):
                self._ended[event.index] = time.monotonic()


def calls_of(message: Message) -> tuple[ToolCallPart, ...]:
    """The calls of an answer that ends in one; none if words for the user came last."""
    if not message.parts or not isinstance(message.parts[-1], ToolCallPart):
        return ()
    return tuple(part for part in message.parts if isinstance(part, ToolCallPart))


class Estimate:
    """The time that is left of something, from how fast its fraction grew so far."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None  # time, fraction

    def seconds_left(self, fraction: float) -> float | None:
        """As of now; None while it cannot be known."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, fraction
            return None
        start, first = self._first
        grown = fraction - first
        return (now - start) / grown * (1.0 - fraction) if grown > 0 else None
