"""A long job on a thread of its own, one at a time: the frame of whatever copies, moves or converts a model."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.control import Control, Stopped

log = logging.getLogger(__name__)

Status = TypeVar("Status")


class OneJob(ABC, Generic[Status]):
    """Methods return at once, but for `close`, which waits for as long as `patience` (seconds).

    `tell` is called with each change, on a thread; with None at the end of what was cancelled or dismissed.
    """

    def __init__(self, tell: Callable[[Status | None], None], patience: float) -> None:
        self._tell = tell
        self._patience = patience
        self._lock = threading.Lock()
        self._control: Control | None = None
        self._thread: threading.Thread | None = None

    def cancel(self) -> None:
        """Ends it, with nothing left of it; or takes away what is shown of one that has ended."""
        if not self._stop():
            self._tell(None)

    def close(self) -> None:
        """Ends it and waits until it has cleaned up."""
        self._stop()
        if self._thread is not None:
            self._thread.join(self._patience)

    def _start(self, first: Status, work: Callable[[Status, Control], Status]) -> None:
        """Tells `first`, and at the end what `work`, which may raise `Stopped`, makes of it. `UserError`: one runs."""
        with self._lock:
            if self._control is not None:
                raise self._busy()
            self._control = control = Control()
        self._tell(first)
        self._thread = threading.Thread(target=self._run, args=(first, control, work), daemon=True)
        self._thread.name = type(self).__name__.lower()
        self._thread.start()

    def _stop(self) -> bool:
        with self._lock:
            control = self._control
        if control is not None:
            control.stop()
        return control is not None

    def _run(self, first: Status, control: Control, work: Callable[[Status, Control], Status]) -> None:
        status: Status | None = None
        try:
            status = work(first, control)
        except Stopped:
            status = None
        except UserError as error:
            status = self._failed(first, error)
        except OSError as error:
            status = self._failed(first, self._trouble(error))
        except Exception:  # our bug: logged and told
            log.exception("%s failed", type(self).__name__)
            status = self._failed(first, UserError(N_("That did not work by a fault of Inglenook. Its log says more.")))
        finally:
            with self._lock:
                self._control = None
        self._tell(status)

    @abstractmethod
    def _busy(self) -> UserError:
        """That one is running."""

    @abstractmethod
    def _trouble(self, error: OSError) -> UserError:
        """What to say of a fault of the disk that `work` did not explain."""

    @abstractmethod
    def _failed(self, first: Status, error: UserError) -> Status:
        """The last status of a job that could not be done."""
