"""Carries what happens on worker threads into the GUI thread: in order, and not more often than the eye can follow.

A fast model makes hundreds of deltas a second; each repaint costs the same for one character or ten. So events wait in
one queue that is emptied about 30 times a second, and neighbours that say one thing (deltas of the same part, states
of the model) become one. Nothing ever overtakes anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from PySide6.QtCore import QObject, Qt, QTimer, Signal, Slot

from inglenook.chat.events import AnswerDelta, ChatEvent
from inglenook.library.events import ModelStatus
from inglenook.library.shelf_events import ShelfEvent, ShelfStatus
from inglenook.ui.services import Chats, Models, Shelf

INTERVAL = 0.033  # seconds between two emptyings
_STATES = (ModelStatus, ShelfStatus)  # of two in a row the later one says all


class Bridge(QObject):
    """Emits `chat_event`, `model_status` and `shelf_event` on the thread that it lives in."""

    chat_event = Signal(object)  # ChatEvent
    model_status = Signal(object)  # ModelStatus
    shelf_event = Signal(object)  # ShelfEvent
    _wake = Signal()

    def __init__(self, chats: Chats, models: Models, shelf: Shelf, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lock = threading.Lock()
        self._queue: list[ChatEvent | ModelStatus | ShelfEvent] = []
        self._deltas: list[str] = []  # texts of the delta at the end of the queue, joined when it leaves
        self._woken = False
        self._closed = False
        self._emptied = 0.0  # time.monotonic() of the last emptying
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self.flush)
        self._wake.connect(self._schedule, Qt.ConnectionType.QueuedConnection)
        self._unsubscribe: tuple[Callable[[], None], ...] = tuple(
            service.subscribe(self.put) for service in (chats, models, shelf)
        )

    def put(self, event: ChatEvent | ModelStatus | ShelfEvent) -> None:
        """Queues an event; from any thread."""
        with self._lock:
            if self._closed:
                return
            last = self._queue[-1] if self._queue else None
            if isinstance(event, AnswerDelta) and isinstance(last, AnswerDelta) and _same_part(event, last):
                self._deltas.append(event.text)
                self._queue[-1] = event  # it knows how many tokens there are by now
            else:
                self._seal()
                if isinstance(event, _STATES) and type(event) is type(last):
                    self._queue.pop()
                self._queue.append(event)
                if isinstance(event, AnswerDelta):
                    self._deltas.append(event.text)
            if self._woken:
                return
            self._woken = True
        self._wake.emit()

    @Slot()
    def flush(self) -> None:
        """Emits all that waits, in order."""
        with self._lock:
            self._seal()
            queue, self._queue = self._queue, []
            self._woken = False
        for event in queue:
            if isinstance(event, ModelStatus):
                self.model_status.emit(event)
            elif isinstance(event, ShelfEvent):
                self.shelf_event.emit(event)
            else:
                self.chat_event.emit(event)
        self._emptied = time.monotonic()

    def close(self) -> None:
        """Ends the subscriptions; what waits is dropped. Closing again does nothing."""
        unsubscribe, self._unsubscribe = self._unsubscribe, ()
        for end in unsubscribe:
            end()
        with self._lock:
            self._closed = True
            self._queue.clear()
            self._deltas.clear()
        self._timer.stop()

    def _seal(self) -> None:
        """Puts the joined text into the delta at the end of the queue."""
        if len(self._deltas) > 1:
            last = self._queue[-1]
            assert isinstance(last, AnswerDelta)
            self._queue[-1] = replace(last, text="".join(self._deltas))
        self._deltas.clear()

    @Slot()
    def _schedule(self) -> None:
        wait = self._emptied + INTERVAL - time.monotonic()
        self._timer.start(max(0, round(wait * 1000)))


def _same_part(a: AnswerDelta, b: AnswerDelta) -> bool:
    return a.index == b.index and a.message_id == b.message_id and a.conversation_id == b.conversation_id
