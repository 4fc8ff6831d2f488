"""What `ChatService` tells its listeners (a window, a terminal): values. Listeners are called on worker threads."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from inglenook.core.conversation import Conversation, StoredMessage, Tree
from inglenook.core.errors import ErrorInfo
from inglenook.core.events import Channel
from inglenook.core.messages import Part


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
class AnswerRetried:
    """What was told of an answer is replaced by `parts`: the rest was malformed, and the model writes it anew.

    It goes on within the last part, or with another.
    """

    conversation_id: str
    message_id: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class ApprovalAsked:
    """The model wants to call a tool and waits for `ChatService.answer_call`; told again to whoever opens the chat.

    `name` is the tool's as the model calls it (`functions.add_note`), `arguments` is JSON, or nearly. Nothing is to be
    answered any more once `AnswerEnded` comes.
    """

    conversation_id: str
    message_id: str
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class AnswerEnded:
    """The one end event of an answer, however many tools it called.

    `message` is the final form of its last message (see state and stats), already queued for disk; those before it
    come with `TreeChanged`. If it has an `error` text though `error` here is None, that is a remark for the user.
    """

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
    | AnswerRetried
    | ApprovalAsked
    | AnswerEnded
    | ChatFailed
)
