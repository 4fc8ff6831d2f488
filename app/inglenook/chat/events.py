"""What `ChatService` tells its listeners (a window, a terminal): values. Listeners are called on worker threads."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from inglenook.core.conversation import Conversation, StoredMessage, Tree
from inglenook.core.errors import ErrorInfo
from inglenook.core.events import Channel


@dataclass(frozen=True, slots=True)
class ChatsChanged:
    """The list of conversations, the one changed last first."""

    conversations: tuple[Conversation, ...]


@dataclass(frozen=True, slots=True)
class TreeChanged:
    """A conversation was opened, or its tree, path, title, effort or a message's state changed. Show this."""

    tree: Tree


class Waiting(StrEnum):
    """What an answer waits for before its first token."""

    QUEUED = "queued"  # another answer is running
    STARTING = "starting"  # the engine process
    LOADING = "loading"  # the model; fraction is known
    READING = "reading"  # prefill; fraction is known


@dataclass(frozen=True, slots=True)
class AnswerWaiting:
    """Before the first token: why it takes time. `seconds_left` is an estimate, or None."""

    conversation_id: str
    message_id: str
    waiting: Waiting
    fraction: float = 0.0
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerPartStarted:
    """Part `index` of a streaming answer begins; `name` is the tool's for a call."""

    conversation_id: str
    message_id: str
    index: int
    channel: Channel
    name: str = ""


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """Text to append to part `index`."""

    conversation_id: str
    message_id: str
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class AnswerPartEnded:
    """Part `index` is complete; it took `seconds`."""

    conversation_id: str
    message_id: str
    index: int
    seconds: float


@dataclass(frozen=True, slots=True)
class AnswerEnded:
    """The one end event of an answer. `message` is its final form (see state and stats), already queued for disk."""

    conversation_id: str
    message: StoredMessage
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class ChatFailed:
    """Something other than an answer failed (a conversation could not be read or written); says what to do."""

    error: ErrorInfo
    conversation_id: str | None = None


ChatEvent = (
    ChatsChanged
    | TreeChanged
    | AnswerWaiting
    | AnswerPartStarted
    | AnswerDelta
    | AnswerPartEnded
    | AnswerEnded
    | ChatFailed
)
