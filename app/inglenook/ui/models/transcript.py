"""What the transcript shows, as values: the path through the tree, and answers as they stream. No Qt here.

`LiveAnswers` keeps the streamed text of every running answer whether or not its conversation is in view, so that going
to another conversation and back loses nothing that the store has not written yet.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from inglenook.chat.events import (
    AnswerDelta,
    AnswerEnded,
    AnswerPartEnded,
    AnswerPartStarted,
    AnswerRetried,
    AnswerWaiting,
    ApprovalAsked,
)
from inglenook.core.conversation import MessageState, StoredMessage, Tree
from inglenook.core.events import Channel
from inglenook.core.messages import Part, PreamblePart, ReasoningPart, Role, TextPart, ToolCallPart

AnswerEvent = (
    AnswerWaiting | AnswerPartStarted | AnswerDelta | AnswerPartEnded | AnswerRetried | ApprovalAsked | AnswerEnded
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of the shown path.

    `siblings` are the ids of all versions, itself included, oldest first. `ends_turn` is true of the last message
    before the next one of the user's: it carries the actions. `continues` is true where the one before belongs to the
    same turn.
    """

    message: StoredMessage
    siblings: tuple[str, ...]
    ends_turn: bool = True
    continues: bool = False

    @property
    def id(self) -> str:
        """The message's."""
        return self.message.id

    @property
    def mine(self) -> bool:
        """Whether the user wrote it."""
        return self.message.message.role is Role.USER


def entries_of(tree: Tree) -> list[Entry]:
    """The shown path."""
    families: dict[tuple[str | None, Role], list[str]] = {}
    for stored in tree.messages:
        families.setdefault((stored.parent_id, stored.message.role), []).append(stored.id)
    path = tree.path()
    roles = [stored.message.role for stored in path]
    return [
        Entry(
            stored,
            tuple(families[(stored.parent_id, stored.message.role)]),
            ends_turn=i + 1 == len(path) or roles[i + 1] is Role.USER,
            continues=i > 0 and roles[i] is not Role.USER and roles[i - 1] is not Role.USER,
        )
        for i, stored in enumerate(path)
    ]


@dataclass(slots=True)
class ShownPart:
    """A part as it is drawn. `channel` is None for a tool's result; `seconds` is None while it is being written.

    `tokens` is 0 where it is not known.
    """

    channel: Channel | None
    text: str = ""
    name: str = ""
    seconds: float | None = None
    tokens: int = 0
    started: float = field(default_factory=time.monotonic)

    def go_on(self) -> None:
        """It is being written again, from where it was."""
        if self.seconds is not None:
            self.started, self.seconds = time.monotonic() - self.seconds, None


@dataclass(slots=True)
class LiveAnswer:
    """An answer that is being written. `asked` is the call of a tool that waits for the user's word."""

    waiting: AnswerWaiting | None = None
    asked: ApprovalAsked | None = None
    parts: list[ShownPart] = field(default_factory=list)

    @property
    def thinking(self) -> bool:
        """Whether its reasoning is being written."""
        last = self.parts[-1] if self.parts and self.waiting is None else None
        return last is not None and last.channel is Channel.REASONING and last.seconds is None


def shown_part(part: Part) -> ShownPart:
    """A stored part as it is drawn."""
    if isinstance(part, TextPart):
        return ShownPart(Channel.FINAL, part.text, seconds=0.0)
    if isinstance(part, ReasoningPart):
        return ShownPart(Channel.REASONING, part.text, seconds=part.seconds, tokens=part.tokens)
    if isinstance(part, PreamblePart):
        return ShownPart(Channel.PREAMBLE, part.text, seconds=0.0)
    if isinstance(part, ToolCallPart):
        return ShownPart(Channel.TOOL_CALL, part.arguments, part.name, 0.0)
    return ShownPart(None, part.content, part.name, 0.0)


def parts_of(entry: Entry, live: LiveAnswer | None) -> Sequence[ShownPart]:
    """What is drawn of a message: the streamed parts if they know more than the stored ones."""
    stored = [shown_part(part) for part in entry.message.message.parts]
    if live is None or entry.message.state is not MessageState.STREAMING:
        return stored
    return live.parts if _size(live.parts) >= _size(stored) else stored


def _size(parts: Sequence[ShownPart]) -> int:
    return sum(len(part.text) for part in parts)


class LiveAnswers:
    """The answers that are being written, by message id."""

    def __init__(self) -> None:
        self._answers: dict[str, LiveAnswer] = {}

    def get(self, message_id: str) -> LiveAnswer | None:
        """The answer of that message if it is being written."""
        return self._answers.get(message_id)

    def adopt(self, message: StoredMessage) -> None:
        """A streaming message from the store: what it knows more than was heard here counts."""
        stored = [shown_part(part) for part in message.message.parts]
        known = self._answers.get(message.id)
        if message.state is MessageState.STREAMING and stored and _size(stored) > _size(known.parts if known else ()):
            stored[-1].go_on()
            self._answers[message.id] = LiveAnswer(parts=stored)

    def handle(self, event: AnswerEvent) -> str:
        """Takes an event in; returns the id of the message it is about."""
        if isinstance(event, AnswerEnded):
            self._answers.pop(event.message.id, None)
            return event.message.id
        answer = self._answers.setdefault(event.message_id, LiveAnswer())
        answer.asked = event if isinstance(event, ApprovalAsked) else None
        if isinstance(event, ApprovalAsked):
            return event.message_id
        if isinstance(event, AnswerWaiting):
            answer.waiting = event
            return event.message_id
        answer.waiting = None
        if isinstance(event, AnswerRetried):
            answer.parts = [shown_part(part) for part in event.parts]
            return event.message_id
        while len(answer.parts) <= event.index:
            answer.parts.append(ShownPart(Channel.FINAL))
        part = answer.parts[event.index]
        if isinstance(event, AnswerPartStarted):
            answer.parts[event.index] = ShownPart(event.channel, part.text, event.name)
        elif isinstance(event, AnswerDelta):
            part.go_on()
            part.text += event.text
            part.tokens = event.tokens
        else:
            part.seconds, part.tokens = event.seconds, event.tokens
        return event.message_id
