"""`SqliteStore`: the conversations, kept in SQLite. The queries; the writing itself is the writer's."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inglenook.core.conversation import Conversation, MessageState, StoredMessage, TokenCount, Tree
from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.messages import Effort, Message, Role, SampledTokens
from inglenook.store import codec, database
from inglenook.store.owners import Owner
from inglenook.store.writer import Change, ConversationChange, CountChange, Pin, Writer

UNDO_SECONDS = 3600.0
"""A deleted conversation is removed at the first start that is at least this much later."""

_Row = tuple[Any, ...]  # as SQLite gives it


class SqliteStore:
    """A `core.conversation.ConversationStore` in the file `file`. Any thread may call.

    Several programs may have one file open. `notices` tells what the user should know about opening it (a damaged file
    was put aside). `on_error` is called, on the writer's thread, with each error as it happens; `flush` raises it too.
    Until an error is mended, what was saved is kept in memory and readable. The constructor raises `UserError`.
    """

    def __init__(self, file: Path, on_error: Callable[[Exception], None] | None = None) -> None:
        self._file = file
        connection, notices = database.open_database(file)
        self.notices: tuple[ErrorInfo, ...] = tuple(notices)
        try:
            self._owner = Owner(file)
            try:
                _tidy(connection, self._owner)
                self._reader = database.connect(file)
            except BaseException:
                self._owner.release()
                raise
        except sqlite3.Error as error:
            connection.close()
            raise database.user_error(error, file) or error from error
        except OSError as error:
            connection.close()
            raise database.cannot_open(error, file) from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._read_lock = threading.Lock()
        self._writer = Writer(connection, self._apply, lambda e: database.user_error(e, file), on_error)
        self._closed = False

    def conversations(self) -> Sequence[Conversation]:
        """All that are not deleted, the one changed last first."""
        pending = self._writer.pending()
        found = {c.id: c for c in map(_conversation, self._read(_SELECT_CONVERSATIONS))}
        for change_id, change in pending.items():
            if isinstance(change, ConversationChange):
                _overlay(found, change_id, change)
        return sorted((c for c in found.values() if not c.deleted), key=lambda c: (c.updated, c.id), reverse=True)

    def tree(self, conversation_id: str) -> Tree:
        """One conversation; KeyError if there is none of that id."""
        pending = self._writer.pending()
        rows, message_rows = self._read_tree(conversation_id)
        found = {c.id: c for c in map(_conversation, rows)}
        change = pending.get(conversation_id)
        if isinstance(change, ConversationChange):
            _overlay(found, conversation_id, change)
        messages = {m.id: m for m in map(_message, message_rows)}
        for waiting in pending.values():
            if isinstance(waiting, StoredMessage) and waiting.conversation_id == conversation_id:
                is_pinned = waiting.id in messages and messages[waiting.id].pinned
                messages[waiting.id] = replace(waiting, pinned=is_pinned)
        for waiting in pending.values():
            if isinstance(waiting, Pin) and waiting.message_id in messages:
                messages[waiting.message_id] = replace(messages[waiting.message_id], pinned=waiting.pinned)
        return Tree(found[conversation_id], tuple(messages.values()))

    def save_conversation(self, conversation: Conversation) -> None:
        """Inserts or replaces."""
        self._writer.put(conversation.id, ConversationChange(conversation, conversation.deleted))

    def save_message(self, message: StoredMessage) -> None:
        """Inserts or replaces; several replacements of one message that wait for the disk become one."""
        self._writer.put(message.id, message)

    def pin_message(self, message_id: str, pinned: bool) -> None:
        """Pins a message that was saved before, or no longer."""
        self._writer.put(f"pin {message_id}", Pin(message_id, pinned))

    def token_counts(self, conversation_id: str, vocabulary: str) -> Sequence[TokenCount]:
        """What is kept of the conversation's messages, and what waits for the disk of any."""
        waiting = [c for c in self._writer.pending().values() if isinstance(c, CountChange)]
        found = {row[0]: TokenCount(*row) for row in self._read(_SELECT_COUNTS, (conversation_id, vocabulary))}
        found |= {c.count.message_id: c.count for c in waiting if c.vocabulary == vocabulary}
        return tuple(found.values())

    def save_token_counts(self, vocabulary: str, counts: Sequence[TokenCount]) -> None:
        """Keeps them; what belongs to no stored message is ignored."""
        for count in counts:
            self._writer.put(f"tokens {vocabulary} {count.message_id}", CountChange(vocabulary, count))

    def delete_conversation(self, conversation_id: str) -> None:
        """Marks as deleted; a start an hour later or more removes it."""
        self._writer.put(conversation_id, ConversationChange(deleted=True))

    def restore_conversation(self, conversation_id: str) -> None:
        """Undoes a deletion."""
        self._writer.put(conversation_id, ConversationChange(deleted=False))

    def flush(self) -> None:
        """Returns when all that was queued is on disk, else raises what the writer met."""
        self._writer.flush()

    def close(self) -> None:
        """Flushes and ends the writer, even if flushing raises. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._writer.close()
        finally:
            with self._read_lock:
                self._reader.close()
            self._connection.close()
            self._owner.release()

    def _read(self, query: str, arguments: Sequence[str] = ()) -> list[_Row]:
        with self._read_lock:
            try:
                return self._reader.execute(query, arguments).fetchall()
            except sqlite3.Error as error:
                raise self._meaning(error) from error

    def _read_tree(self, conversation_id: str) -> tuple[list[_Row], list[_Row]]:
        """Both queries in one transaction, so that the leaf is among the messages."""
        with self._read_lock:
            try:
                self._reader.execute("BEGIN")
                try:
                    return (
                        self._reader.execute(_SELECT_CONVERSATION, (conversation_id,)).fetchall(),
                        self._reader.execute(_SELECT_MESSAGES, (conversation_id,)).fetchall(),
                    )
                finally:
                    self._reader.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._meaning(error) from error

    def _meaning(self, error: sqlite3.Error) -> UserError | sqlite3.Error:
        return database.user_error(error, self._file) or error

    def _apply(self, connection: sqlite3.Connection, change_id: str, change: Change) -> None:
        if isinstance(change, StoredMessage):
            connection.execute(_SAVE_MESSAGE, self._message_row(change))
            return
        if isinstance(change, Pin):
            connection.execute("UPDATE message SET pinned = ? WHERE id = ?", (change.pinned, change.message_id))
            return
        if isinstance(change, CountChange):
            count = change.count
            connection.execute(_SAVE_COUNT, (change.vocabulary, count.digest, count.tokens, count.message_id))
            return
        if change.row is not None:
            connection.execute(_SAVE_CONVERSATION, _conversation_row(change.row))
        if change.deleted is not None:
            now = time.time() if change.deleted else 0.0
            # The time of the first deletion stands, however often the row is saved after it.
            connection.execute(
                "UPDATE conversation SET deleted = ? WHERE id = ? AND (deleted > 0) <> (? > 0)", (now, change_id, now)
            )

    def _message_row(self, m: StoredMessage) -> _Row:
        streaming = m.state is MessageState.STREAMING
        sampled = m.message.sampled
        return (
            m.id,
            m.conversation_id,
            m.parent_id,
            m.message.role.value,
            codec.encode_parts(m.message.parts),
            None if sampled is None else codec.encode_tokens(sampled.ids),
            "" if sampled is None else sampled.vocabulary,
            m.state.value,
            m.created,
            None if m.effort is None else m.effort.value,
            codec.storable(m.model),
            codec.encode_stats(m.stats),
            codec.storable(m.error),
            # Nobody searches what is still being written: leave half of the bytes for the end.
            "" if streaming else codec.storable(m.message.text),
            "" if streaming else codec.storable(m.message.reasoning),
            self._owner.token if streaming else "",
        )


_SELECT_CONVERSATIONS = """
    SELECT id, title, created, updated, date, leaf_id, instructions, effort, model, draft, deleted
    FROM conversation"""
_SELECT_CONVERSATION = _SELECT_CONVERSATIONS + " WHERE id = ?"
_SAVE_CONVERSATION = """
    INSERT INTO conversation (id, title, created, updated, date, leaf_id, instructions, effort, model, draft, deleted)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)
    ON CONFLICT (id) DO UPDATE SET title = excluded.title, created = excluded.created, updated = excluded.updated,
        date = excluded.date, leaf_id = excluded.leaf_id, instructions = excluded.instructions,
        effort = excluded.effort, model = excluded.model, draft = excluded.draft"""
_SELECT_MESSAGES = """
    SELECT id, conversation_id, parent_id, role, parts, tokens, vocabulary, state, created, effort, model, stats, error,
        pinned
    FROM message WHERE conversation_id = ? ORDER BY number"""
_SAVE_MESSAGE = """
    INSERT INTO message (id, conversation_id, parent_id, role, parts, tokens, vocabulary, state, created, effort, model,
        stats, error, content, reasoning, owner)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET conversation_id = excluded.conversation_id, parent_id = excluded.parent_id,
        role = excluded.role, parts = excluded.parts, tokens = excluded.tokens, vocabulary = excluded.vocabulary,
        state = excluded.state, created = excluded.created, effort = excluded.effort, model = excluded.model,
        stats = excluded.stats, error = excluded.error, content = excluded.content, reasoning = excluded.reasoning,
        owner = excluded.owner"""
_SELECT_COUNTS = """
    SELECT message_id, digest, token_count.tokens FROM token_count JOIN message ON message.id = message_id
    WHERE conversation_id = ? AND token_count.vocabulary = ?"""
_SAVE_COUNT = """
    INSERT OR REPLACE INTO token_count (message_id, vocabulary, digest, tokens)
    SELECT id, ?, ?, ? FROM message WHERE id = ?"""


def _overlay(found: dict[str, Conversation], conversation_id: str, change: ConversationChange) -> None:
    row = change.row or found.get(conversation_id)
    if row is not None:
        found[conversation_id] = row if change.deleted is None else replace(row, deleted=change.deleted)


def _conversation_row(c: Conversation) -> _Row:
    texts = (codec.storable(c.title), codec.storable(c.instructions), codec.storable(c.draft))
    return c.id, texts[0], c.created, c.updated, c.date, c.leaf_id, texts[1], c.effort.value, c.model, texts[2]


def _conversation(row: _Row) -> Conversation:
    id_, title, created, updated, date, leaf_id, instructions, effort, model, draft, deleted = row
    return Conversation(
        id_, title, created, updated, date, leaf_id, instructions, Effort(effort), model, draft, bool(deleted)
    )


def _message(row: _Row) -> StoredMessage:
    id_, conversation_id, parent_id, role, parts, tokens, vocabulary, state, created, effort, model, stats = row[:12]
    error, pinned = row[12:]
    sampled = None if tokens is None else SampledTokens(codec.decode_tokens(tokens), vocabulary)
    return StoredMessage(
        id=id_,
        conversation_id=conversation_id,
        parent_id=parent_id,
        message=Message(Role(role), codec.decode_parts(parts), sampled),
        state=MessageState(state),
        created=created,
        effort=None if effort is None else Effort(effort),
        model=model,
        stats=codec.decode_stats(stats),
        error=error,
        pinned=bool(pinned),
    )


def _tidy(connection: sqlite3.Connection, owner: Owner) -> None:
    """At start: removes what was deleted long ago, and marks answers whose program was killed as interrupted."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        before = time.time() - UNDO_SECONDS
        connection.execute(
            "DELETE FROM message WHERE conversation_id IN"
            " (SELECT id FROM conversation WHERE deleted > 0 AND deleted < ?)",
            (before,),
        )
        connection.execute("DELETE FROM conversation WHERE deleted > 0 AND deleted < ?", (before,))
        tokens = connection.execute("SELECT DISTINCT owner FROM message WHERE state = 'streaming'").fetchall()
        for (token,) in tokens:
            if owner.is_dead(token):
                _interrupt(connection, token)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    owner.sweep()


def _interrupt(connection: sqlite3.Connection, token: str) -> None:
    query = "SELECT id, role, parts FROM message WHERE state = 'streaming' AND owner = ?"
    for message_id, role, parts in connection.execute(query, (token,)).fetchall():
        message = Message(Role(role), codec.decode_parts(parts))
        connection.execute(
            "UPDATE message SET state = 'interrupted', owner = '', content = ?, reasoning = ? WHERE id = ?",
            (message.text, message.reasoning, message_id),
        )
