"""The turns that wait, and the thread that runs them one after the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from inglenook.chat.turn import Turn
from inglenook.core.conversation import MessageState


class Turns:
    """A queue of turns. `begins` is called before one runs, `ended` when it is gone; `run` lets nothing escape."""

    def __init__(self, begins: Callable[[], None], run: Callable[[Turn], None], ended: Callable[[Turn], None]) -> None:
        self._begins = begins
        self._run = run
        self._has_ended = ended
        self._turns: deque[Turn] = deque()  # the first is the one that runs
        self._changed = threading.Condition()  # inside it no other lock is taken
        self._no_more = False
        self._thread = threading.Thread(target=self._work, name="chat-turns", daemon=True)
        self._thread.start()

    def __bool__(self) -> bool:
        return bool(self._turns)

    @property
    def running(self) -> Turn | None:
        """The one that runs, if one does."""
        with self._changed:
            return self._turns[0] if self._turns else None

    def add(self, turn: Turn) -> None:
        """Runs it after those that wait."""
        with self._changed:
            self._turns.append(turn)
            self._changed.notify_all()

    def stop(self, conversation_id: str, state: MessageState) -> None:
        """Ends the conversation's turns, with their messages in `state`."""
        with self._changed:
            running = self._turns[0] if self._turns else None
            waiting = [t for t in self._turns if t.conversation_id == conversation_id and t is not running]
            for turn in waiting:
                self._turns.remove(turn)
        if running is not None and running.conversation_id == conversation_id:
            running.cancel(state)
        for turn in waiting:
            turn.end(state)

    def close(self, state: MessageState) -> None:
        """Asks all to end; none can be added."""
        with self._changed:
            turns = list(self._turns)
            self._no_more = True
            self._changed.notify_all()
        for turn in turns:
            turn.cancel(state)

    def join(self, timeout_s: float) -> None:
        """Waits until all have ended, but not longer."""
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._turns or self._no_more)
                if not self._turns:
                    return
                turn = self._turns[0]
            self._begins()
            self._run(turn)
            with self._changed:
                self._turns.popleft()
            self._has_ended(turn)
