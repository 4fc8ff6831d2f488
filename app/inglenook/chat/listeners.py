"""Those who hear of what happens in conversations."""

from __future__ import annotations

import threading
from collections.abc import Callable

from inglenook.chat.events import ChatEvent


def report_bug(bug: Exception) -> None:
    """Hands it to the hook for threads' errors (the log, the crash dialog) and lets the thread go on."""
    threading.excepthook(threading.ExceptHookArgs((type(bug), bug, bug.__traceback__, threading.current_thread())))


class Listeners:
    """Called on the thread that has news, one event at a time; `lock` is held meanwhile."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._changing = threading.Lock()
        self._listeners: tuple[Callable[[ChatEvent], None], ...] = ()

    def add(self, listener: Callable[[ChatEvent], None]) -> Callable[[], None]:
        """Calls `listener` with each event from now on; returns the function that ends it."""
        with self._changing:
            self._listeners += (listener,)

        def remove() -> None:
            with self._changing:
                self._listeners = tuple(x for x in self._listeners if x is not listener)

        return remove

    def emit(self, event: ChatEvent) -> None:
        """Tells all. What one of them raises is a bug, and none of the others'."""
        with self.lock:
            for listener in self._listeners:
                try:
                    listener(event)
                except Exception as bug:
                    report_bug(bug)
