"""The schema, as the list of steps that lead to it: a new file takes them all, an old one those it lacks.

Never change a step that was released: add one. `PRAGMA user_version` is the number of steps taken.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

Migration = Callable[[sqlite3.Connection], None]

MIGRATIONS: list[Migration] = []


def migration(step: Migration) -> Migration:
    """Appends `step` to the list."""
    MIGRATIONS.append(step)
    return step


def migrate(connection: sqlite3.Connection, until: int | None = None) -> None:
    """Takes the steps that are missing (up to version `until`), all in one transaction or none."""
    connection.execute("BEGIN IMMEDIATE")  # the version is read under the lock: two programs may start at once
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        for number, step in enumerate(MIGRATIONS[version:until], version + 1):
            step(connection)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@migration
def m001_conversations(connection: sqlite3.Connection) -> None:
    """Conversations. `deleted` is the time of deletion, or 0; times are Unix seconds."""
    connection.execute(
        """CREATE TABLE conversation (
            id TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            created REAL NOT NULL,
            updated REAL NOT NULL,
            date TEXT NOT NULL,
            leaf_id TEXT,
            instructions TEXT NOT NULL,
            effort TEXT NOT NULL,
            model TEXT NOT NULL,
            draft TEXT NOT NULL,
            deleted REAL NOT NULL
        ) STRICT"""
    )
    connection.execute("CREATE INDEX conversation_updated ON conversation (updated)")


@migration
def m002_messages(connection: sqlite3.Connection) -> None:
    """Messages, a tree by `parent_id`; `number` is the order of creation, so a parent comes before its children.

    `parts` and `stats` are JSON (see `codec`), `tokens` little-endian int32. `content` and `reasoning` are the words
    for search, filled when the message is no longer streaming. `owner` is the program that streams it (see `owners`).
    """
    connection.execute(
        """CREATE TABLE message (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            conversation_id TEXT NOT NULL REFERENCES conversation (id),
            parent_id TEXT REFERENCES message (id),
            role TEXT NOT NULL,
            parts TEXT NOT NULL,
            tokens BLOB,
            vocabulary TEXT NOT NULL,
            state TEXT NOT NULL,
            created REAL NOT NULL,
            effort TEXT,
            model TEXT NOT NULL,
            stats TEXT,
            error TEXT NOT NULL,
            content TEXT NOT NULL,
            reasoning TEXT NOT NULL,
            owner TEXT NOT NULL
        ) STRICT"""
    )
    connection.execute("CREATE INDEX message_conversation ON message (conversation_id, number)")
    connection.execute("CREATE INDEX message_parent ON message (parent_id)")
    connection.execute("CREATE INDEX message_streaming ON message (owner) WHERE state = 'streaming'")


@migration
def m003_pinned(connection: sqlite3.Connection) -> None:
    """`pinned` messages stay in the model's context when older ones leave it."""
    connection.execute("ALTER TABLE message ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0")


@migration
def m004_token_counts(connection: sqlite3.Connection) -> None:
    """How many tokens a message takes under the vocabulary of that hash; `digest` is of the text that was counted."""
    connection.execute(
        """CREATE TABLE token_count (
            message_id TEXT NOT NULL REFERENCES message (id) ON DELETE CASCADE,
            vocabulary TEXT NOT NULL,
            digest BLOB NOT NULL,
            tokens INTEGER NOT NULL,
            PRIMARY KEY (message_id, vocabulary)
        ) STRICT, WITHOUT ROWID"""
    )
