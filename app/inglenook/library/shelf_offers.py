"""The models that can be got: those of the catalogue and those that an address has; their downloads.

Nothing is fetched that is not among the offers. All that begins with an underscore runs on the board's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_, tr
from inglenook.core.settings import HUB_ADDRESS, Settings
from inglenook.library.added import Added
from inglenook.library.catalogue import Entry
from inglenook.library.earlier import EarlierDownloads
from inglenook.library.lookups import Lookup, Lookups, Then
from inglenook.library.remote.address import parse
from inglenook.library.remote.downloads import Downloads, DownloadStatus, State
from inglenook.library.remote.jobs import Job
from inglenook.library.remote.repository import check_remote, models_at
from inglenook.library.shelf_board import Board
from inglenook.library.shelf_events import Offer, Offered, ShelfStatus


class Offers:
    """See the module. `look` looks at the disk, `estimate` at what an entry takes of this machine.

    `arrived` hears of each download that is complete, on its thread.
    """

    def __init__(
        self,
        board: Board,
        downloads: Downloads,
        settings: Settings,
        folder: Path,
        entries: Sequence[Entry],
        look: Callable[[], None],
        estimate: Callable[[Entry], None],
        arrived: Callable[[Entry, DownloadStatus], None],
    ) -> None:
        self._board = board
        self._downloads = downloads
        self._settings = settings
        self._look = look
        self._estimate = estimate
        self._arrived = arrived
        self._added = Added(folder)
        self._earlier = EarlierDownloads(folder, self._is_here)
        self._lookups = Lookups(board.do, self._show)
        self._unchecked: set[str] = set()  # keys of what an address has: their headers were not looked at yet
        entries = (*self._added.read(), *entries)
        self._ids = {id_of(entry): entry for entry in entries}
        board.update(offers=tuple(Offer(entry) for entry in entries))
        self._unsubscribe = downloads.subscribe(self._on_download)

    def entries(self) -> tuple[Entry, ...]:
        """All that are known, also those of older commits that are on their way."""
        return tuple(self._ids.values())

    def start_downloads(self) -> None:
        """Goes on with those that are not paused, each under what is offered."""
        try:
            for entry in self._added.read():  # another window or command may have begun one
                self._offer_kept(id_of(entry), entry)
            self._look()
            for id_, entry in self._earlier.deal_with(self._ids).items():
                self._offer_kept(id_, entry)
        finally:
            self._downloads.start()

    def get(self, key: str) -> None:
        """Fetches a model, or goes on with it; looks at its header first if an address brought it."""
        entry = self._board.status.offer(key).entry
        self._board.do(lambda: self._get(entry))

    def find(self, text: str) -> None:
        """Asks the Hub for the models at an address; only the last one that was asked for is told of."""

        def look_up(lookup: Lookup) -> Then:
            address = parse(text, self._settings.get(HUB_ADDRESS))
            found = models_at(lookup.asks(self._downloads.hub()), address)
            return lambda: self._found(found)

        self._lookups.ask(text, look_up, newest=True)

    def stop_finding(self) -> None:
        """Ends what the status shows as asked."""
        self._lookups.cancel(self._lookups.newest)

    def pause(self, key: str) -> None:
        """Stops its download."""
        offer = self._board.status.offer(key)
        self._board.do(lambda: self._pause(offer.entry))

    def cancel(self, key: str) -> None:
        """Stops its download and removes what has arrived."""
        offer = self._board.status.offer(key)
        self._board.do(lambda: self._cancel(offer.entry))

    def forget_added(self) -> None:
        """Those that are neither here nor on their way."""
        coming = {status.id for status in self._downloads.statuses()}
        here = {offer.entry.key for offer in self._board.status.offers if offer.path is not None}
        self._added.keep(lambda entry: entry.key in here or id_of(entry) in coming)

    def close(self) -> None:
        """Stops all; downloads go on at the next start."""
        self._unsubscribe()
        self._lookups.close()
        self._downloads.close()

    # -- the thread --

    def _found(self, found: list[Entry]) -> None:
        keys = []
        coming = {o.entry.key for o in self._board.status.offers if o.download is not None}
        for entry in found:
            if entry.key in coming:  # of another commit, perhaps: what has begun goes on
                keys.append(entry.key)
                continue
            known = self._ids.setdefault(id_of(entry), entry)
            keys.append(known.key)
            if known is entry:
                self._unchecked.add(entry.key)
                self._offer(entry)
        self._look()
        for key in keys:
            self._estimate(self._board.status.offer(key).entry)
        self._board.tell(Offered(tuple(keys)))

    def _offer_kept(self, id_: str, entry: Entry) -> None:
        """Has a download that is kept shown under `entry`, or under what is offered in its place."""
        self._ids.setdefault(id_, entry)
        if all(offer.entry.key != entry.key for offer in self._board.status.offers):
            self._offer(entry)

    def _is_here(self, entry: Entry) -> bool:
        return self._board.status.offer(entry.key).path is not None

    def _offer(self, entry: Entry) -> None:
        """Among those to get, in place of another one of its key."""

        def change(status: ShelfStatus) -> dict[str, Any]:
            others = (offer for offer in status.offers if offer.entry.key != entry.key)
            return {"offers": (Offer(entry), *others)}

        self._board.change(change)

    def _get(self, entry: Entry) -> None:
        if entry.key in self._unchecked:
            self._lookups.ask(entry.key, lambda lookup: self._check(lookup, entry))
            return
        id_ = id_of(entry)
        for other in self._ids_of(entry) - {id_}:  # of an older version
            self._downloads.cancel(other)
        known = next((s for s in self._downloads.statuses() if s.id == id_), None)
        if known is not None and known.state in (State.PAUSED, State.FAILED):
            self._downloads.resume(id_)
        else:
            self._downloads.add(tr(entry.title), entry.remote())

    def _check(self, lookup: Lookup, entry: Entry) -> Then:
        """Looks at the header of one that an address has (on the thread of look-ups)."""
        checked = check_remote(lookup.asks(self._downloads.hub()), entry)
        return lambda: self._checked(checked)

    def _checked(self, entry: Entry) -> None:
        """It is a gpt-oss: kept, so that its download goes on by name, and fetched."""
        self._added.add(entry)
        self._unchecked.discard(entry.key)
        self._ids[id_of(entry)] = entry
        self._board.change_offer(entry.key, entry=entry)
        self._estimate(entry)
        self._get(entry)

    def _pause(self, entry: Entry) -> None:
        if self._lookups.cancel(entry.key):
            raise UserError(N_("{title} was not begun yet. Get it again to fetch it."), title=tr(entry.title))
        for id_ in self._ids_of(entry):
            self._downloads.pause(id_)

    def _cancel(self, entry: Entry) -> None:
        self._lookups.cancel(entry.key)
        for id_ in self._ids_of(entry):
            self._downloads.cancel(id_)

    def _ids_of(self, entry: Entry) -> set[str]:
        """Of its download, and of those of older versions that are shown in its place."""
        return {id_of(entry), *(id_ for id_, one in self._ids.items() if one.key == entry.key)}

    # -- what happens --

    def _on_download(self, status: DownloadStatus) -> None:
        entry = self._ids.get(status.id)
        if entry is None:
            return
        self._board.change_offer(entry.key, download=None if status.state is State.CANCELLED else status)
        if status.state is State.FINISHED:
            self._arrived(entry, status)

    def _show(self) -> None:
        self._board.change(lambda _: {"finding": self._lookups.newest})


def id_of(entry: Entry) -> str:
    """Of its download."""
    return Job("", entry.remote()).id
