"""A listener that can be waited for, and a chat service with what it works on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from inglenook.chat.events import AnswerDelta, AnswerEnded, AnswerPartStarted, ChatEvent, TreeChanged
from inglenook.chat.rows import Rows
from inglenook.chat.service import ChatService
from inglenook.chat.turn import Limits
from inglenook.core.conversation import Tree
from inglenook.core.events import EngineEvent, Finished, StopReason, Tokens
from inglenook.core.inference import InferenceService, ModelSource
from inglenook.core.settings import Settings
from inglenook.core.tools import Tool
from inglenook.harmony.parse import Parser
from inglenook.store.repository import SqliteStore

E = TypeVar("E")


class Listener:
    """Collects events; `wait` returns the first (from `start` on) of a kind that fulfils a condition."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.events: list[ChatEvent] = []

    def __call__(self, event: ChatEvent) -> None:
        with self._condition:
            self.events.append(event)
            self._condition.notify_all()

    def wait(
        self, kind: type[E] | tuple[type[E], ...], which: Callable[[E], bool] = lambda _: True, start: int = 0
    ) -> E:
        def found() -> E | None:
            return next((e for e in self.events[start:] if isinstance(e, kind) and which(e)), None)

        with self._condition:
            event = self._condition.wait_for(found, timeout=120)
        assert event is not None, self.events[-20:]
        return event

    def mark(self) -> int:
        """Where to start, for events that come from now on."""
        return len(self.events)

    def ended(self, conversation_id: str, start: int = 0) -> AnswerEnded:
        return self.wait(AnswerEnded, lambda e: e.conversation_id == conversation_id, start)

    def tree(self, conversation_id: str, start: int = 0) -> Tree:
        return self.wait(TreeChanged, lambda e: e.tree.conversation.id == conversation_id, start).tree

    def of(self, kind: type[E]) -> list[E]:
        return [e for e in self.events if isinstance(e, kind)]

    def text(self, message_id: str, index: int) -> str:
        """What was told of one part."""
        return "".join(e.text for e in self.of(AnswerDelta) if (e.message_id, e.index) == (message_id, index))

    def parts(self, message_id: str) -> list[tuple[str, str]]:
        """Channel and text of each part, as they were told."""
        started = [e for e in self.of(AnswerPartStarted) if e.message_id == message_id]
        return [(e.channel.value, self.text(message_id, e.index)) for e in started]


@dataclass
class Bench:
    """A service with what it works on."""

    service: ChatService
    store: SqliteStore
    inference: InferenceService
    model: ModelSource
    settings: Settings
    heard: Listener
    file: Path

    def ask(self, text: str, conversation_id: str = "") -> str:
        """Sends and waits for the end of the answer; returns the conversation's id."""
        conversation_id = conversation_id or self.service.new_chat()
        start = self.heard.mark()
        self.service.send(conversation_id, text)
        self.heard.ended(conversation_id, start)
        return conversation_id

    def stored(self, conversation_id: str) -> Tree:
        """What another program shows of the file once the writer has caught up: an event comes before its commit."""
        self.store.flush()
        other = SqliteStore(self.file)
        try:
            return Rows(other).tree(conversation_id)
        finally:
            other.close()


class MakeBench(Protocol):
    """Makes one; it is closed at the end of the test."""

    def __call__(
        self, inference: InferenceService, model: ModelSource, tools: Sequence[Tool] = (), limits: Limits = ...
    ) -> Bench: ...


def parsed(events: Iterable[EngineEvent], parser: Parser) -> StopReason:
    """Has `parser` read a whole generation; returns why that ended."""
    for event in events:
        if isinstance(event, Tokens):
            for token, piece in zip(event.ids, event.pieces, strict=True):
                parser.feed(token, piece)
        elif isinstance(event, Finished):
            assert event.error is None, event.error
            parser.finish()
            return event.reason
    raise AssertionError("a generation ended without Finished")
