"""A shelf whose state a test sets, and which keeps what it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from inglenook.library.catalogue import ENTRIES, GPT_OSS_20B
from inglenook.library.files.found import Found
from inglenook.library.remote.downloads import DownloadStatus, State
from inglenook.library.shelf_events import Offer, ShelfEvent, ShelfStatus


class MemoryShelf:
    def __init__(self) -> None:
        self.listeners: list[Callable[[ShelfEvent], None]] = []
        self.calls: list[tuple[object, ...]] = []
        self.now = ShelfStatus(
            tuple(Offer(entry) for entry in ENTRIES), free=50_000_000_000, folder=Path("/models"), source="hub.test"
        )

    # -- as the window uses it --

    def status(self) -> ShelfStatus:
        return self.now

    def subscribe(self, listener: Callable[[ShelfEvent], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def refresh(self) -> None:
        self.calls.append(("refresh",))

    def remember(self, names: frozenset[str]) -> None:
        self.remembered = names

    def get(self, key: str) -> None:
        self.calls.append(("get", key))

    def find(self, text: str) -> None:
        self.calls.append(("find", text))

    def stop_finding(self) -> None:
        self.calls.append(("stop finding",))

    def pause(self, key: str) -> None:
        self.calls.append(("pause", key))

    def cancel(self, key: str) -> None:
        self.calls.append(("cancel", key))

    def delete(self, model: Found) -> None:
        self.calls.append(("delete", model))

    def undo_delete(self, id_: str = "") -> None:
        self.calls.append(("undo_delete", id_) if id_ else ("undo_delete",))

    def empty_bin(self) -> None:
        self.calls.append(("empty_bin",))

    def import_model(self, source: Path) -> None:
        self.calls.append(("import_model", source))

    def move(self, model: Found, folder: Path) -> None:
        self.calls.append(("move", model, folder))

    def cancel_transfer(self) -> None:
        self.calls.append(("cancel_transfer",))

    def convert(self, source: Path, base: Path | None = None) -> None:
        self.calls.append(("convert", source, base))

    def cancel_conversion(self) -> None:
        self.calls.append(("cancel_conversion",))

    def read_traffic(self) -> None:
        self.calls.append(("read_traffic",))

    # -- as a test uses it --

    def emit(self, event: ShelfEvent) -> None:
        if isinstance(event, ShelfStatus):
            self.now = event
        for listener in tuple(self.listeners):
            listener(event)

    def change(self, **changes: Any) -> None:
        self.emit(replace(self.now, **changes))

    def download(self, state: State | None, key: str = GPT_OSS_20B.key, **changes: Any) -> None:
        """The download of an entry is so; None: there is none."""
        offers = []
        for offer in self.now.offers:
            if offer.entry.key == key:
                total = offer.entry.size
                status = DownloadStatus("id", offer.entry.title, state or State.RUNNING, 3_000_000_000, total, ())
                offer = replace(offer, download=replace(status, **changes) if state is not None else None)
            offers.append(offer)
        self.change(offers=tuple(offers))
