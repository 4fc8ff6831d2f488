"""Conversations as trees: messages with identity, and the Protocol of the room that keeps them.

Edits and regenerations are siblings: nothing that was said is overwritten. A conversation remembers which leaf is
shown (`Conversation.leaf_id`); the path from the root to it is what the user sees and the model is sent.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from inglenook.core.events import GenerationStats
from inglenook.core.messages import Effort, Message


class MessageState(StrEnum):
    """Where a message stands."""

    STREAMING = "streaming"  # being written; found at start, it means that the program was killed
    COMPLETE = "complete"
    STOPPED = "stopped"  # by the user
    LENGTH = "length"  # a limit was reached
    INTERRUPTED = "interrupted"  # the program or the engine ended in the middle
    FAILED = "failed"


def new_id() -> str:
    """A new identity: 26 hexadecimal digits, sortable by time of creation."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(7)}"


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message in its place in the tree. `created` is Unix time in seconds.

    What is `pinned` is told to the model for ever; `ConversationStore.pin_message` alone changes that.
    """

    id: str
    conversation_id: str
    parent_id: str | None
    message: Message
    state: MessageState = MessageState.COMPLETE
    created: float = 0.0
    effort: Effort | None = None
    model: str = ""
    stats: GenerationStats | None = None
    error: str = ""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class TokenCount:
    """How many tokens a text of a message takes; `digest` (of the text) says which, as one may be told in two ways."""

    message_id: str
    digest: bytes
    tokens: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation without its messages. `date` (YYYY-MM-DD) is what the model is told, for ever.

    `draft` is what the user has typed and not sent; `updated` is the time of the last message, not of the draft.
    `model` is the name of the one that answers it (`core.inference.ModelSource`), from its first answer on.
    """

    id: str
    title: str
    created: float
    updated: float
    date: str
    leaf_id: str | None = None
    instructions: str = ""
    effort: Effort = Effort.MEDIUM
    model: str = ""
    draft: str = ""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    """A conversation with all its messages, in order of creation (a parent always before its children)."""

    conversation: Conversation
    messages: tuple[StoredMessage, ...] = ()
    _by_id: dict[str, StoredMessage] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._by_id.update((m.id, m) for m in self.messages)

    def get(self, message_id: str) -> StoredMessage:
        """The message of that id; KeyError if it is not of this conversation."""
        return self._by_id[message_id]

    def path(self, leaf_id: str | None = None) -> tuple[StoredMessage, ...]:
        """From the root to `leaf_id` (default: the leaf that is shown)."""
        found: list[StoredMessage] = []
        at = leaf_id or self.conversation.leaf_id
        while at is not None:
            message = self._by_id[at]
            found.append(message)
            at = message.parent_id
        return tuple(reversed(found))

    def siblings(self, message_id: str) -> tuple[StoredMessage, ...]:
        """All messages with the same parent and role, the message itself included, oldest first."""
        this = self._by_id[message_id]
        return tuple(m for m in self.messages if m.parent_id == this.parent_id and m.message.role == this.message.role)

    def latest_leaf(self, message_id: str) -> str:
        """The leaf reached from `message_id` by always taking the newest child."""
        at = message_id
        while True:
            children = [m.id for m in self.messages if m.parent_id == at]
            if not children:
                return at
            at = children[-1]


class ConversationStore(Protocol):
    """Keeps conversations. Writes are queued to one writer thread and return at once; reads see earlier writes."""

    def conversations(self) -> Sequence[Conversation]:
        """All that are not deleted, the one changed last first."""
        ...

    def tree(self, conversation_id: str) -> Tree:
        """One conversation; KeyError if there is none of that id."""
        ...

    def save_conversation(self, conversation: Conversation) -> None:
        """Inserts or replaces."""
        ...

    def save_message(self, message: StoredMessage) -> None:
        """Inserts or replaces; several replacements of one message that wait for the disk become one.

        Not `pinned`: whoever writes an answer does not know it.
        """
        ...

    def pin_message(self, message_id: str, pinned: bool) -> None:
        """Sets `StoredMessage.pinned` of a message that was saved before."""
        ...

    def token_counts(self, conversation_id: str, vocabulary: str) -> Sequence[TokenCount]:
        """What `save_token_counts` was given of the conversation's messages under the vocabulary of that hash."""
        ...

    def save_token_counts(self, vocabulary: str, counts: Sequence[TokenCount]) -> None:
        """Keeps them, each in place of what was kept of the same message under the same vocabulary."""
        ...

    def delete_conversation(self, conversation_id: str) -> None:
        """Marks as deleted; `restore_conversation` undoes it. What is marked is removed at a later start."""
        ...

    def restore_conversation(self, conversation_id: str) -> None:
        """Undoes a deletion."""
        ...

    def flush(self) -> None:
        """Returns when all that was queued is on disk. Raises what the writer met (`UserError`: disk full, ...)."""
        ...

    def close(self) -> None:
        """Flushes and ends the writer."""
        ...
