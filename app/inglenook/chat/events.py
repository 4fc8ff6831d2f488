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
    """What an answer waits for before its first token, or before the next result of a tool."""

    QUEUED = "queued"  # another answer is running
    STARTING = "starting"  # the engine process
    LOADING = "loading"  # the model; fraction is known
    READING = "reading"  # prefill; fraction is known
    TOOL = "tool"  # one is running


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
    """Text to append to part `index`, which has `tokens` by now."""

    conversation_id: str
    message_id: str
    index: int
    text: str
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class AnswerPartEnded:
    """Part `index` is complete; it took `seconds` and `tokens`."""

    conversation_id: str
    message_id: str
    index: int
    seconds: float
    tokens: int = 0


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

    `name` is the tool's as the model calls it (`functions.add_note`), `arguments` is the JSON object that it would get.
    Nothing is to be answered any more once another event about the message, or `AnswerEnded`, comes.
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


@dataclass(frozen=True, slots=True)
class ContextUse:
    """Tokens of the context window by what they are for.

    `n_ctx` is 0 where it is not known. `instructions` has all that the model is told before the conversation but its
    tools, `history` what was said and is still told, `answer` what is being written, `room` what is kept free for an
    answer. `unseen` are the ids of messages that have left.
    """

    n_ctx: int
    instructions: int = 0
    tools: int = 0
    history: int = 0
    draft: int = 0
    answer: int = 0
    room: int = 0
    unseen: tuple[str, ...] = ()

    @property
    def used(self) -> int:
        """All but what is kept free."""
        return self.instructions + self.tools + self.history + self.draft + self.answer


@dataclass(frozen=True, slots=True)
class ContextChanged:
    """How full the context of the watched conversation is; None where it cannot be known (there is no model)."""

    conversation_id: str
    use: ContextUse | None


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
    | ContextChanged
    | ChatFailed
)
