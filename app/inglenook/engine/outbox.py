"""Sends messages on a connection from a thread of its own, so that nobody waits for a peer that does not read."""

from __future__ import annotations

import threading
import time
from multiprocessing.connection import Connection

from inglenook.core.events import Tokens
from inglenook.engine.protocol import Command, Happened, Report, pack

JOIN_SECONDS = 0.01  # tokens are joined so that a fast model costs a client 100 messages a second, not thousands


class _Joined:
    """Tokens of one generation that wait to be sent."""

    __slots__ = ("id", "ids", "pieces")

    def __init__(self, generation: int) -> None:
        self.id = generation
        self.ids: list[int] = []
        self.pieces: list[bytes] = []

    def report(self) -> Happened:
        """What is sent."""
        return Happened(self.id, Tokens(tuple(self.ids), tuple(self.pieces)))


class Outbox:
    """A queue of messages and the thread that sends them. A broken connection swallows what is put."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._waiting: list[Command | Report | _Joined] = []
        self._changed = threading.Condition()
        self._urgent = False
        self._closed = False
        self._sent = 0.0
        self._thread = threading.Thread(target=self._send_all, name=name, daemon=True)
        self._thread.start()

    def put(self, message: Command | Report) -> None:
        """Sends `message` after all before it, at once."""
        with self._changed:
            self._waiting.append(message)
            self._urgent = True
            self._changed.notify()

    def put_token(self, generation: int, token: int, piece: bytes) -> None:
        """Sends a sampled token, perhaps with those that follow within `JOIN_SECONDS`."""
        with self._changed:
            last = self._waiting[-1] if self._waiting else None
            if not isinstance(last, _Joined) or last.id != generation:
                last = _Joined(generation)
                self._waiting.append(last)
                if len(self._waiting) == 1:
                    self._changed.notify()
            last.ids.append(token)
            last.pieces.append(piece)

    def close(self, timeout: float) -> None:
        """Sends what waits, within `timeout` seconds, and ends the thread."""
        with self._changed:
            self._closed = self._urgent = True
            self._changed.notify()
        self._thread.join(timeout)

    def _send_all(self) -> None:
        while (batch := self._take()) is not None:
            try:
                for item in batch:
                    self._connection.send_bytes(pack(item.report() if isinstance(item, _Joined) else item))
            except OSError:
                break  # the reader of this connection sees its end
            self._sent = time.monotonic()

    def _take(self) -> list[Command | Report | _Joined] | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            wait = self._sent + JOIN_SECONDS - time.monotonic()
            if wait > 0:
                self._changed.wait_for(lambda: self._urgent, wait)
            if not self._waiting:
                return None
            batch, self._waiting, self._urgent = self._waiting, [], self._closed
            return batch
