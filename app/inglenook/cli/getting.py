"""`inglenook models get NAME`: a download that can be stopped at any time and goes on where it was."""

from __future__ import annotations

import queue
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from inglenook.cli.services import Services
from inglenook.cli.terminal import INTERRUPTED, BadInputError, StatusLine, harmless, one_line, write
from inglenook.core.errors import UserError
from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_, tr
from inglenook.library.catalogue import Format
from inglenook.library.progress import Step, speed
from inglenook.library.remote.downloads import DownloadStatus, State
from inglenook.library.shelf_events import Arrived, Offered, ShelfEvent, ShelfFailed, ShelfStatus

if TYPE_CHECKING:
    from inglenook.library.shelf import Shelf

_POLL_SECONDS = 0.5  # a wait without a limit cannot be interrupted by Ctrl-C on Windows


class Events:
    """`with Events(shelf) as events:` - what the shelf tells from then on, on this thread, without end.

    What it could not do is raised.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._heard: queue.SimpleQueue[ShelfEvent] = queue.SimpleQueue()
        self._end = shelf.subscribe(self._heard.put)

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def __iter__(self) -> Iterator[ShelfEvent]:
        while True:
            with suppress(queue.Empty):
                event = self._heard.get(timeout=_POLL_SECONDS)
                if isinstance(event, ShelfFailed):
                    raise UserError.of(event.error)
                yield event


def get(services: Services, name: str) -> int:
    """Fetches a model of the catalogue or at an address, or goes on with it; prints where it is. Ctrl-C pauses."""
    shelf = services.shelf
    known = any(offer.entry.key == name for offer in shelf.status().offers)
    key = _found(services, name) if "/" in name and not known else name if known else name.lower()
    try:
        entry = shelf.status().offer(key).entry
    except KeyError:
        names = ", ".join(offer.entry.key for offer in shelf.status().offers)
        raise BadInputError(N_("The catalogue has no model {name}. It has: {names}"), name=name, names=names) from None
    services.network.check()  # or the download would be kept, and begin when the network is allowed one day
    with Events(shelf) as events:
        shelf.get(key, load=False)
        line = _Line()
        try:
            end = _follow(events, key, line)
        except KeyboardInterrupt:
            line.clear()
            return _pause(shelf, events, key)
        finally:
            line.clear()
    if isinstance(end, DownloadStatus):
        _say_paused(end, key)
        return INTERRUPTED
    if end.used:
        print(one_line(tr(N_("{title} is used from now on."), title=end.title)), file=sys.stderr)
    path = shelf.status().offer(key).path or end.path
    if entry.format is Format.SAFETENSORS:
        text = tr(N_("A checkpoint. Make a GGUF file of it: inglenook-convert {folder} -o FILE"), folder=path)
        print(one_line(text), file=sys.stderr)
    write(sys.stdout, harmless(str(path)) + "\n")
    return 0


def _found(services: Services, address: str) -> str:
    """The key of the one model at an address."""
    line = StatusLine(sys.stderr)
    with Events(services.shelf) as events:
        services.shelf.find(address)
        line.show(tr(N_("Asking the server of models...")))
        try:
            keys = next(event.keys for event in events if isinstance(event, Offered))
        finally:
            line.clear()
    if len(keys) > 1:
        text = N_("There are {count} models at {address}. Name one of them: {names}")
        raise BadInputError(text, count=len(keys), address=address, names=", ".join(keys))
    return keys[0]


def _follow(events: Events, key: str, line: _Line) -> Arrived | DownloadStatus:
    """Shows how it goes until it is here, or another program has paused it. `UserError` if that has cancelled it."""
    runs = False
    for event in events:
        if isinstance(event, Arrived):
            return event
        if not isinstance(event, ShelfStatus):
            continue
        status = event.offer(key).download
        if status is None:
            if runs:
                raise UserError(N_("Another window or program of Inglenook has cancelled it."))
            continue
        if status.state is State.FAILED and status.reason is not None:
            raise UserError.of(status.reason)
        if runs and status.state is State.PAUSED:
            return status
        # It may have been paused, until it is asked for here; when it has come, it is gone for a moment.
        runs = (runs or status.state is not State.PAUSED) and status.state is not State.FINISHED
        line.show(status)
    raise AssertionError("events have no end")


def _pause(shelf: Shelf, events: Events, key: str) -> int:
    """Stops it until it is asked for again, here or in the window. One that another program fetches is left to that."""
    download = shelf.status().offer(key).download
    if download is not None and download.state is State.ELSEWHERE:
        print(tr(N_("Another window or program of Inglenook goes on with it.")), file=sys.stderr)
        return INTERRUPTED
    shelf.pause(key)
    for event in events:
        if isinstance(event, Arrived):
            break
        if isinstance(event, ShelfStatus):
            download = event.offer(key).download
            if download is not None and download.state is State.PAUSED:
                _say_paused(download, key)
                break
    return INTERRUPTED


def _say_paused(download: DownloadStatus, key: str) -> None:
    text = N_("Paused at {amount}. Go on: inglenook models get {name}")
    print(tr(text, amount=_amount(download), name=key), file=sys.stderr)


class _Line:
    """How a download goes, in one line of a terminal; elsewhere, each reason why it waits, once."""

    def __init__(self) -> None:
        self._status = StatusLine(sys.stderr)
        self._told = ""

    def show(self, status: DownloadStatus) -> None:
        """Replaces the line."""
        words = _words(status)
        self._status.show(words)
        waits = status.state in (State.WAITING, State.NO_ROOM, State.ELSEWHERE)
        if waits and not sys.stderr.isatty() and words != self._told:
            self._told = words
            print(words, file=sys.stderr)

    def clear(self) -> None:
        """Empties the line."""
        self._status.clear()


def _words(status: DownloadStatus) -> str:
    """Bytes, rate and time left; or why it does not go on."""
    amount = _amount(status)
    if status.state is State.ELSEWHERE:
        return tr(N_("Another window or program of Inglenook is fetching it."))
    if status.state in (State.WAITING, State.NO_ROOM) and status.reason is not None:
        return one_line(status.reason.text())
    if status.step is Step.CHECKING:
        return tr(N_("{amount}, checking what is here..."), amount=amount)
    if status.step is Step.FETCHING_AGAIN:
        return tr(N_("{amount}, some bytes were wrong and come again"), amount=amount)
    if not status.rate:
        return tr(N_("{amount}, connecting..."), amount=amount)
    words = [amount, speed(status.rate)]
    if status.seconds_left is not None:
        words.append(tr(N_("{time} left"), time=time_left(status.seconds_left)))
    return ", ".join(words)


def _amount(status: DownloadStatus) -> str:
    percent = 100 * status.done // status.total if status.total else 100
    values = {"done": gigabytes(status.done), "total": gigabytes(status.total), "percent": str(percent)}
    return tr(N_("{percent}%: {done} of {total}"), **values)


def time_left(seconds: float) -> str:
    """Hours, minutes and seconds as clocks show them."""
    whole = round(seconds)
    clock = f"{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 3600}:{clock}" if whole >= 3600 else clock
