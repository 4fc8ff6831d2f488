"""The conversations as the service's first worker sees them: with those that are new, and what is typed."""

from __future__ import annotations

import time
from dataclasses import replace

from inglenook.core.conversation import Conversation, ConversationStore, Tree
from inglenook.core.errors import UserError
from inglenook.core.i18n import N_

DRAFT_SECONDS = 0.4
"""What is typed is handed to the store this late at most."""


class Rows:
    """Of one thread, but for `tree`, `row` and `draft`.

    A new conversation is on disk from its first message or draft on.
    """

    def __init__(self, store: ConversationStore) -> None:
        self._store = store
        self._unsaved: dict[str, Conversation] = {}
        self._drafts: dict[str, str] = {}  # typed and not yet handed to the store
        self._drafts_due = 0.0

    def tree(self, conversation_id: str) -> Tree:
        """The conversation with its messages, showing a leaf. Raises `UserError` if there is none."""
        if (unsaved := self._unsaved.get(conversation_id)) is not None:
            return Tree(unsaved)
        try:
            tree = self._store.tree(conversation_id)
        except KeyError:
            raise UserError(N_("This chat no longer exists. Choose another one, or start a new one.")) from None
        if (leaf := tree.conversation.leaf_id) is None:
            return tree
        # A turn adds messages before its conversation's row is changed; a kill may come in between.
        return Tree(replace(tree.conversation, leaf_id=tree.latest_leaf(leaf)), tree.messages)

    def row(self, conversation_id: str) -> Conversation:
        """The conversation."""
        return self.tree(conversation_id).conversation

    def begin(self, conversation: Conversation) -> None:
        """A new one, kept in memory."""
        self._unsaved[conversation.id] = conversation

    def change(self, conversation: Conversation) -> bool:
        """Takes a new form; returns whether the store was given it (not where nothing was said or typed yet)."""
        if conversation.id in self._unsaved:
            self._unsaved[conversation.id] = conversation
            return False
        self._store.save_conversation(conversation)
        return True

    def save(self, conversation: Conversation) -> bool:
        """Stores a form of it that is worth it; returns whether it is the first."""
        self._store.save_conversation(conversation)
        return self._unsaved.pop(conversation.id, None) is not None

    def delete(self, conversation_id: str) -> None:
        """Forgets a new one, marks another as deleted."""
        if self._unsaved.pop(conversation_id, None) is None:
            self._store.delete_conversation(conversation_id)

    def draft(self, conversation_id: str) -> str:
        """What is typed by now."""
        typed = self._drafts.get(conversation_id)
        return typed if typed is not None else self.row(conversation_id).draft

    @property
    def drafts_due(self) -> float | None:
        """When (`time.monotonic`) the drafts are to be stored; None if there are none."""
        return self._drafts_due if self._drafts else None

    def keep_draft(self, conversation_id: str, text: str) -> None:
        """Remembers what is typed."""
        if not self._drafts:
            self._drafts_due = time.monotonic() + DRAFT_SECONDS
        self._drafts[conversation_id] = text

    def take_drafts(self) -> dict[str, str]:
        """All that is to be stored, by conversation; they are no longer kept here."""
        drafts, self._drafts = self._drafts, {}
        return drafts
