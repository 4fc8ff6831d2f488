"""Models on offer and models that are here, for people: get, pause, use, delete; and what the network was used for.

All methods only queue: one worker thread does what takes time, downloads have threads of their own, and the listeners
hear of every change as a value.
"""

from __future__ import annotations

import logging
import queue
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_, tr
from inglenook.core.inference import DEMO
from inglenook.core.memory import Plan
from inglenook.core.settings import ALLOW_NETWORK, HUB_ADDRESS, MODEL_FILE, Setting, Settings
from inglenook.library.bin import Bin, Deleted
from inglenook.library.catalogue import ENTRIES, Entry, Format
from inglenook.library.conversions import Conversions, ConversionStatus, Stage
from inglenook.library.downloads import Downloads, DownloadStatus, State
from inglenook.library.found import HUGGING_FACE, Found, Place, look
from inglenook.library.hub import HUB
from inglenook.library.jobs import Job, target_of
from inglenook.library.service import ModelService
from inglenook.library.traffic import Request, Traffic

log = logging.getLogger(__name__)

OWN = "Inglenook"
"""The owner of files that this program fetched or made."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What a model would take of this computer: a `plan`, or why it does not `fit`. Neither: not known yet."""

    plan: Plan | None = None
    refusal: ErrorInfo | None = None

    def text(self) -> str:
        """In words; empty while it is not known."""
        if self.refusal is not None:
            return self.refusal.text()
        if self.plan is None:
            return ""
        if self.plan.paged and self.plan.warning is not None:
            return self.plan.warning.text()
        size, tokens = gigabytes(self.plan.total), f"{self.plan.choice.n_ctx:,}"
        return tr(N_("Fits: takes about {size} and sees {tokens} tokens at once."), size=size, tokens=tokens)


@dataclass(frozen=True, slots=True)
class Offer:
    """A model of the catalogue. `download` is None if nobody asked for it; `path` is None until it is here."""

    entry: Entry
    fit: Fit = Fit()
    download: DownloadStatus | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class ShelfStatus:
    """All there is to show. `free` is bytes of disk where models go, or -1; `chosen` is "" for the demo.

    `source` is the host that models come from.
    """

    offers: tuple[Offer, ...] = ()
    here: tuple[Found, ...] = ()
    free: int = -1
    chosen: str = ""
    looking: bool = False
    conversion: ConversionStatus | None = None
    folder: Path = Path()
    source: str = ""

    def offer(self, key: str) -> Offer:
        """The offer of that key; KeyError if there is none."""
        return {offer.entry.key: offer for offer in self.offers}[key]

    @property
    def recommended(self) -> Offer:
        """The one to begin with."""
        return next(offer for offer in self.offers if offer.entry.recommended)


@dataclass(frozen=True, slots=True)
class ShelfFailed:
    """What was asked for could not be done."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Arrived:
    """A download is complete. `used`: the model was chosen at once, since there was only the demo."""

    title: str
    path: Path
    used: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """A model was deleted; `undo_delete` brings it back until the next one is deleted or the program ends."""

    title: str


@dataclass(frozen=True, slots=True)
class TrafficRead:
    """Every request ever made, oldest first."""

    requests: tuple[Request, ...]


ShelfEvent = ShelfStatus | ShelfFailed | Arrived | Removed | TrafficRead


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
    ) -> None:
        self._models = models
        self._downloads = downloads
        self._traffic = traffic
        self._settings = settings
        self._folder = folder
        self._estimate = estimate
        self._places = places
        self._bin = Bin(folder)
        self._conversions = Conversions(folder, self._hubs, self._on_conversion)
        self._lock = threading.RLock()
        self._listeners: list[Callable[[ShelfEvent], None]] = []
        self._ids = {Job("", entry.remote()).id: entry for entry in entries}
        self._status = ShelfStatus(
            tuple(Offer(entry) for entry in entries),
            chosen=settings.get(MODEL_FILE),
            folder=folder,
            source=self._source(),
        )
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._remembered: frozenset[str] = frozenset()
        self._load = True  # the model that is chosen since it is the first
        self._closing = False  # what is queued is dropped
        self._unsubscribe = downloads.subscribe(self._on_download)
        settings.subscribe(self._on_setting)

    # -- for people --

    def start(self) -> None:
        """Goes on with downloads that are not paused; for who has only the demo, finds out what a first page says."""
        self._do(self._bin.empty)
        self._do(self._downloads.start)
        self._do(self._look_at_disk)
        if not self._settings.get(MODEL_FILE):
            self._do(self._look_around)
            self._do(lambda: self._estimate_one(self._status.recommended.entry))

    def refresh(self) -> None:
        """Looks at the disk, at other programs' folders and at this machine's memory."""
        self._update(looking=True)
        self._do(self._look_at_disk)
        for offer in self._status.offers:
            self._do(lambda entry=offer.entry: self._estimate_one(entry))  # type: ignore[misc]  # bound at once
        self._do(self._look_around)

    def look_now(self) -> ShelfStatus:
        """Looks at the disk and at other programs' folders, on this thread: for who has no window. OSError."""
        self._look_at_disk()
        self._look_around()
        return self._status

    def remember(self, names: frozenset[str]) -> None:
        """The models of all conversations (`ModelSource`), to be listed too, also where their drive is away."""
        if names != self._remembered:
            self._remembered = names
            self._do(self._look_around)

    def get(self, key: str, *, load: bool = True) -> None:
        """Fetches a model of the catalogue, or goes on with it.

        The first one to arrive is chosen; without `load` it is not loaded then.
        """
        entry = self._status.offer(key).entry
        self._load = load
        self._do(lambda: self._get(entry))

    def pause(self, key: str) -> None:
        """Stops its download; what has arrived stays."""
        self._with_download(key, self._downloads.pause)

    def cancel(self, key: str) -> None:
        """Stops its download and removes what has arrived."""
        self._with_download(key, self._downloads.cancel)

    def delete(self, model: Found) -> None:
        """Deletes a model of our own; `Removed` follows."""
        self._do(lambda: self._delete(model))

    def undo_delete(self) -> None:
        """Brings back what was deleted last."""
        self._do(self._undo_delete)

    def convert(self, source: Path, base: Path | None = None) -> None:
        """Makes a model of a checkpoint's or an adapter's folder; see `ShelfStatus.conversion`."""
        self._do(lambda: self._conversions.start(source, base))

    def cancel_conversion(self) -> None:
        """Ends it, or forgets one that has ended."""
        self._do(self._conversions.cancel)

    def read_traffic(self) -> None:
        """A `TrafficRead` follows."""
        self._do(lambda: self._tell(TrafficRead(tuple(self._traffic.requests()))))

    def status(self) -> ShelfStatus:
        """As it is now."""
        return self._status

    def subscribe(self, listener: Callable[[ShelfEvent], None]) -> Callable[[], None]:
        """Calls `listener` at each change, on a worker thread; returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def close(self) -> None:
        """Stops all; downloads go on at the next start."""
        self._unsubscribe()
        self._downloads.close()
        self._conversions.close()
        self._closing = True
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(10)

    # -- the worker --

    def _do(self, job: Callable[[], None]) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="shelf", daemon=True)
                self._thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._closing:
            try:
                job()
            except UserError as error:
                self._tell(ShelfFailed(error.info))
            except OSError as error:
                words = (("folder", str(self._folder)), ("reason", error.strerror or str(error)))
                text = N_("The folder {folder} cannot be used: {reason}. Check its disk and permissions.")
                self._tell(ShelfFailed(ErrorInfo(text, words)))
            except Exception:  # the thread lives on; the log has it
                log.exception("the shelf failed")
                self._tell(ShelfFailed(ErrorInfo(N_("That did not work by a fault of Inglenook. Its log says more."))))
        if self._bin.holds:  # not what a window has put there, which may yet bring it back
            with suppress(OSError):
                self._bin.empty()

    def _with_download(self, key: str, act: Callable[[str], None]) -> None:
        entry = self._status.offer(key).entry
        self._do(lambda: act(Job("", entry.remote()).id))

    def _get(self, entry: Entry) -> None:
        id_ = Job("", entry.remote()).id
        known = next((s for s in self._downloads.statuses() if s.id == id_), None)
        if known is not None and known.state in (State.PAUSED, State.FAILED):
            self._downloads.resume(id_)
        else:
            self._downloads.add(tr(entry.title), entry.remote())

    def _delete(self, model: Found) -> None:
        if str(model.path) == self._settings.get(MODEL_FILE):
            raise UserError(N_("{title} is in use. Choose another model first."), title=model.title)
        self._bin.put(Deleted(model.title, model.files))
        self._look_at_disk()
        self._look_around()
        self._tell(Removed(model.title))

    def _undo_delete(self) -> None:
        self._bin.restore()
        self._look_at_disk()
        self._look_around()

    # -- looking --

    def _look_at_disk(self) -> None:
        folder = next(f for f in (self._folder, *self._folder.parents) if f.exists())
        paths = {entry.key: self._path_of(entry) for entry in self._ids.values()}
        free = shutil.disk_usage(folder).free
        with self._lock:
            offers = tuple(replace(o, path=paths[o.entry.key]) for o in self._status.offers)
            self._update(free=free, offers=offers)

    def _path_of(self, entry: Entry) -> Path | None:
        """The first file of a model all of whose files are here; the folder of a checkpoint."""
        targets = [target_of(self._folder, file) for file in entry.remote()]
        if not all(target.is_file() for target in targets):
            return None
        return targets[0] if entry.format is Format.GGUF else targets[0].parent

    def _estimate_one(self, entry: Entry) -> None:
        try:
            fit = Fit(plan=self._estimate(entry))
        except UserError as error:
            fit = Fit(refusal=error.info)
        self._change_offer(entry.key, fit=fit)

    def _look_around(self) -> None:
        titles = {path: tr(entry.title) for entry in self._ids.values() if (path := self._path_of(entry))}
        found = look([Place(OWN, self._folder), *self._places()])
        listed = {str(one.path) for one in found}
        known = {self._settings.get(MODEL_FILE), *self._remembered} - {"", DEMO} - listed
        found[:0] = [_chosen(Path(name)) for name in sorted(known)]
        self._update(here=tuple(replace(one, title=titles.get(one.path, one.title)) for one in found), looking=False)

    def _hubs(self) -> list[Path]:
        return [place.folder for place in self._places() if place.owner == HUGGING_FACE]

    # -- what happens --

    def _on_conversion(self, status: ConversionStatus | None) -> None:
        if status is None or status.stage is not Stage.FINISHED or status.path is None:
            self._update(conversion=status)
            return
        title, path = status.title, status.path

        def arrived() -> None:
            self._look_at_disk()
            self._look_around()
            self._update(conversion=None)
            self._tell(Arrived(title, path, used=False))

        self._do(arrived)

    def _on_download(self, status: DownloadStatus) -> None:
        entry = self._ids.get(status.id)
        if entry is None:
            return
        self._change_offer(entry.key, download=None if status.state is State.CANCELLED else status)
        if status.state is State.FINISHED:
            self._do(lambda: self._arrived(entry, status))

    def _arrived(self, entry: Entry, status: DownloadStatus) -> None:
        use = entry.format is Format.GGUF and self._models.answering("") == DEMO
        if use and self._load:
            self._models.use_file(status.paths[0])
        elif use:
            self._settings.set(MODEL_FILE, str(status.paths[0].absolute()))
        self._change_offer(entry.key, download=None)
        self._look_at_disk()
        self._look_around()
        self._tell(Arrived(tr(entry.title), status.paths[0], use))

    def _on_setting(self, setting: Setting[Any]) -> None:
        if setting is MODEL_FILE:
            self._update(chosen=self._settings.get(MODEL_FILE))
        elif setting is HUB_ADDRESS:
            self._update(source=self._source())
        elif setting is ALLOW_NETWORK and self._settings.get(ALLOW_NETWORK):
            self._do(self._downloads.start)

    def _source(self) -> str:
        address = self._settings.get(HUB_ADDRESS) or HUB
        with suppress(ValueError):
            return urlsplit(address).hostname or address
        return address

    def _change_offer(self, key: str, **changes: Any) -> None:
        with self._lock:
            offers = (replace(o, **changes) if o.entry.key == key else o for o in self._status.offers)
            self._update(offers=tuple(offers))

    def _update(self, **changes: Any) -> None:
        with self._lock:
            self._status = replace(self._status, **changes)
            self._tell(self._status)

    def _tell(self, event: ShelfEvent) -> None:
        with self._lock:
            for listener in tuple(self._listeners):
                listener(event)


def _chosen(path: Path) -> Found:
    """The file that the user chose somewhere."""
    try:
        return Found(path, "", path.stem, path.stat().st_size, (path,))
    except OSError:
        text = N_("This file is not there now. If it is on another drive, connect that; or choose another model.")
        return Found(path, "", path.stem, problem=ErrorInfo(text))
