"""The one thread that writes: callers queue changes and never wait for the disk.

A change replaces an earlier one of the same thing that still waits, so an answer that grows by fifty tokens a second
is written a few times a second. After an error what was queued stays queued (and visible to `pending`), and is tried
again: when the disk has room again, nothing is missing.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from inglenook.core.conversation import Conversation, StoredMessage, TokenCount
from inglenook.core.errors import UserError

COMMIT_SECONDS = 0.15
"""Commits are at least this far apart, unless somebody waits in `flush`. The first after a pause is at once."""

RETRY_SECONDS = 2.0
"""After an error (disk full, locked) the queue is tried again after this time."""


@dataclass(frozen=True, slots=True)
class ConversationChange:
    """A new form of a conversation, a change of its mark of deletion, or both (the mark then goes after the form)."""

    row: Conversation | None = None
    deleted: bool | None = None


@dataclass(frozen=True, slots=True)
class Pin:
    """A message is pinned, or no longer."""

    message_id: str
    pinned: bool


@dataclass(frozen=True, slots=True)
class CountChange:
    """A message's tokens under a vocabulary."""

    vocabulary: str
    count: TokenCount


Change = ConversationChange | StoredMessage | Pin | CountChange


class Writer:
    """Owns the writing connection. `apply` executes one change; `meaning` tells the user's errors from our bugs."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        apply: Callable[[sqlite3.Connection, str, Change], None],
        meaning: Callable[[Exception], UserError | None],
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self._connection = connection
        self._apply = apply
        self._meaning = meaning
        self._on_error = on_error
        self._condition = threading.Condition()
        self._pending: dict[str, Change] = {}
        self._writing: dict[str, Change] = {}
        self._put_count = 0  # changes queued so far, and how many of them are on disk
        self._written_count = 0
        self._attempt = 0  # number of the latest attempt to write, and of the latest that failed
        self._failed_attempt = 0
        self._failure: UserError | None = None
        self._bugs: list[Exception] = []
        self._waiting = 0  # callers in flush
        self._refusing = False  # nothing comes after what the last flush waits for
        self._closing = False
        self._next = 0.0  # time.monotonic() of the earliest next commit
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def put(self, change_id: str, change: Change) -> None:
        """Queues `change`; it replaces one of the same id that still waits."""
        with self._condition:
            if self._refusing:
                raise RuntimeError("the store is closed")
            self._pending[change_id] = _merge(self._pending.get(change_id), change)
            self._put_count += 1
            self._condition.notify_all()

    def pending(self) -> dict[str, Change]:
        """What is queued and not certainly on disk, by id, in the order in which it is to be written."""
        with self._condition:
            return _merge_all(self._writing, self._pending)

    def flush(self) -> None:
        """Returns when all that was queued is on disk, or raises the error of an attempt begun after the call."""
        with self._condition:
            wanted, attempt = self._put_count, self._attempt
            self._waiting += 1
            self._condition.notify_all()
            try:
                self._condition.wait_for(
                    lambda: (
                        self._written_count >= wanted or self._failed_attempt > attempt or not self._thread.is_alive()
                    )
                )
            finally:
                self._waiting -= 1
            if self._bugs:
                raise self._bugs.pop(0)
            if self._written_count < wanted:
                raise self._failure or RuntimeError("the writer has ended")

    def close(self) -> None:
        """Flushes and ends the thread, also if flushing raises."""
        with self._condition:
            self._refusing = True
        try:
            self.flush()
        finally:
            with self._condition:
                self._closing = True
                self._condition.notify_all()
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._closing and not self._is_due():
                    self._condition.wait(max(0.0, self._next - time.monotonic()) if self._pending else None)
                if self._closing:
                    return
                self._writing, self._pending = self._pending, {}
                covered = self._put_count
                self._attempt += 1
            bugs: list[Exception] = []
            failure: UserError | None = None
            try:
                failure = self._write(bugs)
            except Exception as error:
                bugs.append(error)
            with self._condition:
                if failure is None:
                    self._written_count = covered
                    self._next = time.monotonic() + COMMIT_SECONDS
                else:
                    self._pending = _merge_all(self._writing, self._pending)
                    self._failed_attempt = self._attempt
                    self._next = time.monotonic() + RETRY_SECONDS
                repeated = failure is not None and self._failure is not None and failure.info == self._failure.info
                self._failure = failure
                self._writing = {}
                self._bugs += bugs
                self._condition.notify_all()
            if self._on_error is not None:
                for bug in bugs:
                    self._on_error(bug)
                if failure is not None and not repeated:
                    self._on_error(failure)

    def _is_due(self) -> bool:
        if not self._pending:
            return False
        return self._waiting > 0 or time.monotonic() >= self._next

    def _write(self, bugs: list[Exception]) -> UserError | None:
        """One transaction. A change that breaks a rule of the schema is our bug: it is left out, the others stay."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for change_id, change in self._writing.items():
                try:
                    self._apply(self._connection, change_id, change)
                except Exception as error:
                    if self._meaning(error) is not None:
                        raise
                    bugs.append(error)  # a failed statement leaves nothing behind, the transaction goes on
            self._connection.execute("COMMIT")
        except (sqlite3.Error, MemoryError) as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            meaning = self._meaning(error)
            if meaning is None:
                raise
            bugs.clear()  # they come again with the next attempt
            meaning.__cause__ = error
            return meaning
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        return None


def _merge(old: Change | None, new: Change) -> Change:
    if isinstance(old, ConversationChange) and isinstance(new, ConversationChange) and new.row is None:
        return ConversationChange(old.row, new.deleted)
    return new


def _merge_all(old: dict[str, Change], new: dict[str, Change]) -> dict[str, Change]:
    merged = dict(old)
    for change_id, change in new.items():
        merged[change_id] = _merge(merged.get(change_id), change)
    return merged
