"""What the shelf shows, who listens, and the one thread that does what takes time."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.i18n import N_
from inglenook.library.shelf_events import ShelfEvent, ShelfFailed, ShelfStatus

log = logging.getLogger(__name__)


class Board:
    """The status of the moment; each change of it is told to the listeners, in the order in which they happen.

    `at_end` is done by the thread when it ends.
    """

    def __init__(self, first: ShelfStatus, at_end: Callable[[], None]) -> None:
        self.status = first
        self._at_end = at_end
        self._lock = threading.RLock()
        self._listeners: list[Callable[[ShelfEvent], None]] = []
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing = False  # what is queued is dropped

    def subscribe(self, listener: Callable[[ShelfEvent], None]) -> Callable[[], None]:
        """Calls `listener` at each change, on a worker thread; returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def update(self, **changes: Any) -> None:
        """Changes the status."""
        with self._lock:
            self.status = replace(self.status, **changes)
            self.tell(self.status)

    def change(self, change: Callable[[ShelfStatus], dict[str, Any]]) -> None:
        """Changes the status by what `change` makes of it, with no other change in between."""
        with self._lock:
            self.update(**change(self.status))

    def change_offer(self, key: str, **changes: Any) -> None:
        """Changes one of the offers; nothing happens if there is none of that key."""
        with self._lock:
            offers = (replace(o, **changes) if o.entry.key == key else o for o in self.status.offers)
            self.update(offers=tuple(offers))

    def tell(self, event: ShelfEvent) -> None:
        """Tells the listeners."""
        with self._lock:
            for listener in tuple(self._listeners):
                listener(event)

    # -- the thread --

    def do(self, job: Callable[[], None]) -> None:
        """Queues `job`; see `guard` for what it may raise."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="shelf", daemon=True)
                self._thread.start()
        self._jobs.put(job)

    def guard(self, job: Callable[[], None]) -> None:
        """Does `job` now, and tells what it could not do."""
        try:
            job()
        except UserError as error:
            self.tell(ShelfFailed(error.info))
        except OSError as error:
            words = (("folder", str(self.status.folder)), ("reason", error.strerror or str(error)))
            text = N_("The folder {folder} cannot be used: {reason}. Check its disk and permissions.")
            self.tell(ShelfFailed(ErrorInfo(text, words)))
        except Exception:  # the thread lives on; the log has it
            log.exception("the shelf failed")
            self.tell(ShelfFailed(ErrorInfo(N_("That did not work by a fault of Inglenook. Its log says more."))))

    def close(self) -> None:
        """Drops what is queued, and waits for what is being done."""
        self._closing = True
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(10)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._closing:
            self.guard(job)
        self._at_end()
