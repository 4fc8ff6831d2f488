"""Models on offer and models that are here, for people: get, pause, use, delete; and what the network was used for.

All methods only queue: one worker thread does what takes time, downloads and questions to the Hub have threads of
their own, and the listeners hear of every change as a value.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_, tr
from inglenook.core.inference import DEMO
from inglenook.core.memory import Plan
from inglenook.core.settings import ALLOW_NETWORK, HUB_ADDRESS, MODEL_FILE, Setting, Settings
from inglenook.library.catalogue import ENTRIES, Entry, Format
from inglenook.library.files.bin import Bin, Deleted
from inglenook.library.files.found import HUGGING_FACE, Found, Place
from inglenook.library.files.listed import models_here, path_of
from inglenook.library.files.moved import Kept, Moved
from inglenook.library.files.transfers import Stage as TransferStage
from inglenook.library.files.transfers import Transfers, TransferStatus, What
from inglenook.library.files.usage import usage_of
from inglenook.library.making.conversions import Conversions, ConversionStatus, Stage
from inglenook.library.remote.downloads import Downloads, DownloadStatus
from inglenook.library.remote.hub import HUB
from inglenook.library.remote.traffic import Traffic
from inglenook.library.service import ModelService
from inglenook.library.shelf_board import Board
from inglenook.library.shelf_events import (
    OWN,
    Arrived,
    Emptied,
    Fit,
    Removed,
    Restored,
    ShelfEvent,
    ShelfStatus,
    TrafficRead,
    Transferred,
)
from inglenook.library.shelf_offers import Offers, id_of


class Shelf:
    """See the module. `estimate` tells what an entry takes of this machine; `places` where other programs keep models.

    `estimate` raises `UserError` where there is not enough memory.
    """

    def __init__(
        self,
        models: ModelService,
        downloads: Downloads,
        traffic: Traffic,
        settings: Settings,
        folder: Path,
        estimate: Callable[[Entry], Plan],
        places: Callable[[], list[Place]],
        entries: Sequence[Entry] = ENTRIES,
        moved: Moved | None = None,
    ) -> None:
        self._models = models
        self._downloads = downloads
        self._traffic = traffic
        self._settings = settings
        self._folder = folder
        self._estimate = estimate
        self._places = places
        self._bin = Bin(folder)
        self._board = Board(
            ShelfStatus(chosen=settings.get(MODEL_FILE), folder=folder, source=self._source()), self._end
        )
        self._offers = Offers(
            self._board, downloads, settings, folder, entries, self._look_at_disk, self._estimate_one, self._on_arrived
        )
        self._moved = moved or Moved(folder)
        self._forgotten: Kept | None = None  # a moved model that is listed no more
        self._transfers = Transfers(folder, self._moved, self._offers.entries, self._on_transfer)
        self._conversions = Conversions(folder, self._hubs, self._on_conversion)
        self._remembered: frozenset[str] = frozenset()
        self._load = True  # the model that is chosen since it is the first
        settings.subscribe(self._on_setting)
        settings.subscribe_elsewhere(self._on_setting)

    # -- for people --

    def start(self) -> None:
        """Goes on with downloads that are not paused; for who has only the demo, finds out what a first page says."""
        self._do(self._tidy)
        self._do(self._transfers.recover)
        self._do(self._offers.start_downloads)
        self._do(self._look_at_disk)
        self._do(self._offers.forget_added)
        if not self._settings.get(MODEL_FILE):
            self._do(self._look_around)
            self._do(lambda: self._estimate_one(self._board.status.recommended.entry))

    def refresh(self) -> None:
        """Looks at the disk, at other programs' folders and at this machine's memory."""
        self._board.update(looking=True)
        self._settings.look()
        self._do(self._look_at_disk)
        for offer in self._board.status.offers:
            self._do(lambda entry=offer.entry: self._estimate_one(entry))  # type: ignore[misc]  # bound at once
        self._do(self._look_around)

    def look_now(self) -> ShelfStatus:
        """Looks at the disk and at other programs' folders, on this thread: for who has no window. OSError."""
        self._look_at_disk()
        self._look_around()
        return self._board.status

    def remember(self, names: frozenset[str]) -> None:
        """The models of all conversations (`ModelSource`), to be listed too, also where their drive is away."""
        if names != self._remembered:
            self._remembered = names
            self._do(self._look_around)

    def get(self, key: str, *, load: bool = True) -> None:
        """Fetches a model of the catalogue, or goes on with it.

        The first one to arrive is chosen; without `load` it is not loaded then.
        """
        self._load = load
        self._offers.get(key)

    def find(self, text: str) -> None:
        """Asks the Hub for the models at an address (see `address.parse`); `Offered` or `ShelfFailed` follows.

        One that is asked for while the Hub is silent about another takes its place.
        """
        self._offers.find(text)

    def stop_finding(self) -> None:
        """Ends what is being asked: nothing follows."""
        self._offers.stop_finding()

    def pause(self, key: str) -> None:
        """Stops its download; what has arrived stays."""
        self._offers.pause(key)

    def cancel(self, key: str) -> None:
        """Stops its download and removes what has arrived."""
        self._offers.cancel(key)

    def delete(self, model: Found, *, keep: bool = False) -> None:
        """Deletes a model of our own; `Removed` follows. With `keep` it can be brought back for a day."""
        self._do(lambda: self._delete(model, keep))

    def undo_delete(self, id_: str = "") -> None:
        """Brings back what was deleted last, or what has that id in the bin; `Restored` follows."""
        self._do(lambda: self._undo_delete(id_))

    def empty_bin(self) -> None:
        """Really removes what was deleted, save what another program can still bring back; `Emptied` follows."""
        self._do(self._empty_bin)

    def import_model(self, source: Path, *, load: bool = True) -> None:
        """Copies the model in a file or folder into our own folder; see `ShelfStatus.transfer`. `load` as in `get`."""
        self._load = load
        self._do(self._transfers.recover)
        title = next((one.title for one in self._board.status.here if one.path == source), "")
        self._do(lambda: self._transfers.start_import(source, title))

    def move(self, model: Found, folder: Path, *, load: bool = True) -> None:
        """Moves a model of ours, or one that the user chose, to a folder; see `ShelfStatus.transfer`."""
        self._load = load
        self._do(self._transfers.recover)
        self._do(lambda: self._move(model, folder))

    def cancel_transfer(self) -> None:
        """Ends copying or moving, or forgets one that has ended."""
        self._do(self._transfers.cancel)

    def convert(self, source: Path, base: Path | None = None) -> None:
        """Makes a model of a checkpoint's or an adapter's folder; see `ShelfStatus.conversion`."""
        self._do(lambda: self._conversions.start(source, base))

    def cancel_conversion(self) -> None:
        """Ends it, or forgets one that has ended."""
        self._do(self._conversions.cancel)

    def read_traffic(self) -> None:
        """A `TrafficRead` follows."""
        self._do(lambda: self._board.tell(TrafficRead(tuple(self._traffic.requests()))))

    def status(self) -> ShelfStatus:
        """As it is now."""
        return self._board.status

    def subscribe(self, listener: Callable[[ShelfEvent], None]) -> Callable[[], None]:
        """Calls `listener` at each change, on a worker thread; returns the function that ends it."""
        return self._board.subscribe(listener)

    def close(self) -> None:
        """Stops all; downloads go on at the next start."""
        self._offers.close()
        self._conversions.close()
        self._transfers.close()
        self._board.close()

    # -- the worker --

    def _do(self, job: Callable[[], None]) -> None:
        self._board.do(job)

    def _end(self) -> None:
        with suppress(OSError):  # the next start does it
            self._bin.let_go()

    def _delete(self, model: Found, keep: bool) -> None:
        if str(model.path) == self._moved.now(self._settings.get(MODEL_FILE)):
            raise UserError(N_("{title} is in use. Choose another model first."), title=model.title)
        ours = {one.files[0]: one for one in self._moved.models()}
        below = [file.is_relative_to(self._folder) for file in model.files]
        if str(model.path) not in ours and not (below and all(below)):
            raise UserError(
                N_("{title} belongs to another program. Delete it there, and it is gone here too."), title=model.title
            )
        self._forgotten = None
        if model.files:
            self._bin.put(Deleted(model.title, model.files, model.size), keep=keep)
            self._bin.tidy()
        else:  # its drive is away: nothing is deleted, it is listed no more
            self._forgotten = ours[str(model.path)]
        if str(model.path) in ours:
            self._moved.drop(model.path)
        self._look_at_disk()
        self._look_around()
        self._board.tell(Removed(model.title))

    def _undo_delete(self, id_: str) -> None:
        back, self._forgotten = (None, self._forgotten) if id_ else (self._forgotten, None)
        if back is None:
            model = self._bin.restore(id_)
            if model is None:
                raise UserError(N_("The bin holds nothing to bring back."))
            back = Kept(model.title, tuple(map(str, model.files)), model.size)
        self._moved.keep(back)
        self._look_at_disk()
        self._look_around()
        self._board.tell(Restored(back.title, Path(back.files[0])))

    def _tidy(self) -> None:
        self._bin.tidy()

    def _empty_bin(self) -> None:
        self._bin.empty()
        freed = self._bin.tidy(at_once=True)
        self._look_at_disk()
        self._board.tell(Emptied(freed))

    def _move(self, model: Found, folder: Path) -> None:
        if model.owner not in (OWN, ""):
            text = N_("{title} belongs to {owner}, which would miss it. Copy it into Inglenook's own folder instead.")
            raise UserError(text, title=model.title, owner=model.owner)
        self._transfers.start_move(model, folder)

    # -- looking --

    def _look_at_disk(self) -> None:
        folder = next(f for f in (self._folder, *self._folder.parents) if f.exists())
        usage = usage_of(self._folder, self._bin.contents())
        paths = {entry: path_of(entry, self._folder, self._moved) for entry in self._offers.entries()}
        free = shutil.disk_usage(folder).free

        def change(status: ShelfStatus) -> dict[str, Any]:
            offers = tuple(replace(offer, path=paths.get(offer.entry)) for offer in status.offers)
            return {"free": free, "offers": offers, "usage": usage}

        self._board.change(change)

    def _estimate_one(self, entry: Entry) -> None:
        try:
            fit = Fit(plan=self._estimate(entry))
        except UserError as error:
            fit = Fit(refusal=error.info)
        self._board.change_offer(entry.key, fit=fit)

    def _look_around(self) -> None:
        self._moved.refresh()
        paths = [(path_of(entry, self._folder, self._moved), entry) for entry in self._offers.entries()]
        titles = {path: tr(entry.title) for path, entry in paths}
        places = [Place(OWN, self._folder), *self._places()]
        found = models_here(places, self._moved, {self._settings.get(MODEL_FILE), *self._remembered} - {"", DEMO})
        found = [replace(one, title=titles.get(one.place, one.title)) for one in found]
        models = tuple(one for one in found if not one.is_checkpoint)
        self._board.update(here=models, checkpoints=tuple(one for one in found if one.is_checkpoint), looking=False)

    def _hubs(self) -> list[Path]:
        return [place.folder for place in self._places() if place.owner == HUGGING_FACE]

    # -- what happens --

    def _on_conversion(self, status: ConversionStatus | None) -> None:
        if status is None or status.stage is not Stage.FINISHED or status.path is None:
            self._board.update(conversion=status)
            return
        title, path = status.title, status.path

        def arrived() -> None:
            self._look_at_disk()
            self._look_around()
            self._board.update(conversion=None)
            self._board.tell(Arrived(title, path, used=False))

        self._do(arrived)

    def _on_transfer(self, status: TransferStatus | None) -> None:
        if status is None or status.stage is not TransferStage.FINISHED:
            self._board.update(transfer=status)
            return
        self._do(lambda: self._transferred(status))

    def _transferred(self, status: TransferStatus) -> None:
        assert status.path is not None
        if status.entry:
            self._downloads.cancel(id_of(self._board.status.offer(status.entry).entry))
        source = self._settings.get(MODEL_FILE) == str(status.source)
        first = status.what is What.IMPORT and not status.is_checkpoint and self._models.answering("") == DEMO
        used = source or first
        if used and self._load:
            self._models.use_file(status.path)
        elif used:
            self._settings.set(MODEL_FILE, str(status.path.absolute()))
        self._look_at_disk()
        self._look_around()
        self._board.update(transfer=None)
        self._board.tell(Transferred(status, used))

    def _on_arrived(self, entry: Entry, status: DownloadStatus) -> None:
        self._do(lambda: self._arrived(entry, status))

    def _arrived(self, entry: Entry, status: DownloadStatus) -> None:
        self._moved.arrived(status.paths[0])
        use = entry.format is Format.GGUF and self._models.answering("") == DEMO
        if use and self._load:
            self._models.use_file(status.paths[0])
        elif use:
            self._settings.set(MODEL_FILE, str(status.paths[0].absolute()))
        self._board.change_offer(entry.key, download=None)
        self._look_at_disk()
        self._look_around()
        self._board.tell(Arrived(tr(entry.title), status.paths[0], use))

    def _on_setting(self, setting: Setting[Any]) -> None:
        if setting is MODEL_FILE:
            self._board.update(chosen=self._settings.get(MODEL_FILE))
        elif setting is HUB_ADDRESS:
            self._board.update(source=self._source())
        elif setting is ALLOW_NETWORK and self._settings.get(ALLOW_NETWORK):
            self._do(self._offers.start_downloads)

    def _source(self) -> str:
        address = self._settings.get(HUB_ADDRESS) or HUB
        with suppress(ValueError):
            return urlsplit(address).hostname or address
        return address
