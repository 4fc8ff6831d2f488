"""Questions to the Hub that people wait for: one at a time, on threads beside all else, and ended at will.

A server may take half a minute to say nothing. What else is asked of the shelf is done meanwhile.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

from inglenook.library.control import Control, Stopped
from inglenook.library.remote.hub import Hub
from inglenook.library.remote.network import Network

_PATIENCE = 5.0
"""Seconds that `close` waits for a thread that was told to stop."""

Then = Callable[[], None]
"""What is done with an answer."""


class Lookup(Control):
    """One question: `work` asks it. `text` names it to people: an address, or the key of a model."""

    def __init__(self, text: str, work: Callable[[Lookup], Then], is_newest: bool) -> None:
        super().__init__()
        self.text = text
        self.work = work
        self.is_newest = is_newest
        self.thread: threading.Thread | None = None

    def asks(self, hub: Hub) -> Hub:
        """The same as `hub`, but its requests raise `Stopped` when this is told to stop."""
        hub = copy.copy(hub)
        hub.network = _Stoppable(hub.network, self.check)
        return hub


class _Stoppable(Network):
    """The same network, from which all clients come; each also asks `check` while it waits."""

    def __init__(self, network: Network, check: Callable[[], None]) -> None:
        super().__init__(network.traffic, lambda: False)  # nothing goes past `network`
        self._network = network
        self._check = check

    def client(self, purpose: str, check: Callable[[], None] = lambda: None) -> Any:
        def both() -> None:
            self._check()
            check()

        return self._network.client(purpose, both)

    def check(self) -> None:
        self._network.check()


class Lookups:
    """The questions that wait, and the one that is asked. `do` queues work for another thread; `show` is told of both.

    An answer, or why there is none, is dealt with by `do`: what is ended before that has no consequences.
    """

    def __init__(self, do: Callable[[Callable[[], None]], None], show: Callable[[], None]) -> None:
        self._do = do
        self._show = show
        self._lock = threading.Lock()  # no other one is taken under it
        self._line: tuple[Lookup, ...] = ()  # the first one is being asked

    @property
    def newest(self) -> str:
        """The text of the question that was asked last and is not answered; "" if there is none. At once."""
        line = self._line
        return line[-1].text if line else ""

    def ask(self, text: str, work: Callable[[Lookup], Then], *, newest: bool = False) -> None:
        """Asks by `work` when its turn has come, and has `do` do what that returns, or tell what that raises.

        Of those that are `newest` only the last is wanted: it ends the others. Nothing happens if the same text waits
        already, or is being asked.
        """
        with self._lock:
            if newest:
                self._end(lambda one: one.is_newest and one.text != text)
            if all(one.text != text for one in self._line):
                self._line = (*self._line, Lookup(text, work, newest))
            self._begin()
        self._show()

    def cancel(self, text: str) -> bool:
        """Ends the question of that text; whether there was one."""
        with self._lock:
            ended = self._end(lambda one: one.text == text)
            self._begin()
        if ended:
            self._show()
        return bool(ended)

    def close(self) -> None:
        """Ends all, and waits a moment for the thread."""
        with self._lock:
            ended = self._end(lambda _: True)
        for one in ended:
            if one.thread is not None and one.thread is not threading.current_thread():
                one.thread.join(_PATIENCE)

    def _end(self, which: Callable[[Lookup], bool]) -> list[Lookup]:
        """Takes them out of the line. One that hangs is left behind, and what it brings is dropped."""
        ended = [one for one in self._line if which(one)]
        self._line = tuple(one for one in self._line if one not in ended)
        for one in ended:
            one.stop()
        return ended

    def _begin(self) -> None:
        """With the first in the line, if it was not begun."""
        if self._line and self._line[0].thread is None:
            first = self._line[0]
            first.thread = threading.Thread(target=self._ask, args=(first,), name="look-up", daemon=True)
            first.thread.start()

    def _ask(self, lookup: Lookup) -> None:
        failed: Exception | None = None
        then: Then | None = None
        try:
            then = lookup.work(lookup)
        except Stopped:
            return
        except Exception as error:  # told, or logged, by whom `do` asks
            failed = error

        def answered() -> None:
            with self._lock:
                if not self._end(lambda one: one is lookup):
                    return
                self._begin()
            self._show()
            if failed is not None:
                raise failed
            if then is not None:
                then()

        self._do(answered)
