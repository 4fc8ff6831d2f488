"""`inglenook models import`, `move`, `restore` and `empty-bin`: models brought here, put elsewhere, brought back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from inglenook.cli.getting import Events, time_left
from inglenook.cli.models import looked, named
from inglenook.cli.services import Services
from inglenook.cli.terminal import INTERRUPTED, StatusLine, harmless, one_line, write
from inglenook.core.errors import UserError
from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_, tr
from inglenook.core.inference import DEMO
from inglenook.library.files.transfers import Stage, TransferStatus
from inglenook.library.progress import speed
from inglenook.library.shelf_events import Emptied, Restored, ShelfStatus, Transferred

if TYPE_CHECKING:
    from inglenook.library.shelf import Shelf


def run(services: Services, arguments: argparse.Namespace) -> int:
    """Does what `arguments.what` says; returns the exit code."""
    shelf = services.shelf
    if arguments.what == "restore":
        return _restore(shelf)
    if arguments.what == "empty-bin":
        return _empty(shelf)
    with Events(shelf) as events:
        if arguments.what == "import":
            shelf.import_model(Path(arguments.path).absolute(), load=False)
        else:
            model = named(looked(shelf), arguments.name)
            if model.name == DEMO:
                raise UserError(N_("The demo model is a part of the program and stays."))
            shelf.move(model.found, Path(arguments.folder).absolute(), load=False)
        return _follow(shelf, events)


def _follow(shelf: Shelf, events: Events) -> int:
    """Shows how it goes until it is done; Ctrl-C ends it."""
    line = StatusLine(sys.stderr)
    try:
        for event in events:
            if isinstance(event, Transferred):
                line.clear()
                print(one_line(event.status.text()), file=sys.stderr)
                if event.used:
                    title = event.status.title
                    print(one_line(tr(N_("{title} is used from now on."), title=title)), file=sys.stderr)
                write(sys.stdout, harmless(str(event.status.place)) + "\n")
                return 0
            status = event.transfer if isinstance(event, ShelfStatus) else None
            if status is not None and status.error is not None:
                raise UserError.of(status.error)
            if status is not None:
                line.show(_words(status))
    except KeyboardInterrupt:
        line.clear()
        shelf.cancel_transfer()
        for event in events:
            if isinstance(event, Transferred) or (isinstance(event, ShelfStatus) and event.transfer is None):
                break
        return INTERRUPTED
    finally:
        line.clear()
    raise AssertionError("events have no end")


def _words(status: TransferStatus) -> str:
    if status.stage is Stage.LOOKING or not status.total:
        return tr(N_("Looking at it..."))
    text = N_("{percent}%: reading back") if status.stage is Stage.CHECKING else N_("{percent}%: copying")
    words = [tr(text, percent=100 * status.done // status.total)]
    if status.rate:
        words.append(speed(status.rate))
    if status.seconds_left is not None:
        words.append(tr(N_("{time} left"), time=time_left(status.seconds_left)))
    return ", ".join(words)


def _restore(shelf: Shelf) -> int:
    with Events(shelf) as events:
        shelf.undo_delete()
        for event in events:
            if isinstance(event, Restored):
                print(one_line(tr(N_("{title} is back."), title=event.title)), file=sys.stderr)
                write(sys.stdout, harmless(str(event.path)) + "\n")
                break
    return 0


def _empty(shelf: Shelf) -> int:
    with Events(shelf) as events:
        shelf.empty_bin()
        for event in events:
            if isinstance(event, Emptied):
                print(tr(N_("The bin is empty: {size} more room."), size=gigabytes(event.freed)), file=sys.stderr)
                break
    return 0
