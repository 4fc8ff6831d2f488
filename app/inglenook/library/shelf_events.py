"""What the shelf tells: models on offer and here as values, and what has happened to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from inglenook.core.errors import ErrorInfo
from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_, tr
from inglenook.core.memory import Plan
from inglenook.library.catalogue import Entry
from inglenook.library.files.found import Found
from inglenook.library.files.transfers import TransferStatus
from inglenook.library.files.usage import Usage
from inglenook.library.making.conversions import ConversionStatus
from inglenook.library.remote.downloads import DownloadStatus
from inglenook.library.remote.traffic import Request

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

    `source` is the host that models come from, `usage` what our own `folder` takes,
    `finding` the address that is being asked. `checkpoints` are those to be converted.
    """

    offers: tuple[Offer, ...] = ()
    here: tuple[Found, ...] = ()
    checkpoints: tuple[Found, ...] = ()
    free: int = -1
    chosen: str = ""
    looking: bool = False
    conversion: ConversionStatus | None = None
    folder: Path = Path()
    source: str = ""
    transfer: TransferStatus | None = None
    finding: str = ""
    usage: Usage = field(default_factory=Usage)

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
class Offered:
    """An address has these models: their keys among the offers."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A download is complete. `used`: the model was chosen at once, since there was only the demo."""

    title: str
    path: Path
    used: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """A model was deleted; `undo_delete` brings it back until the next one is deleted or the program ends.

    One that is kept can be brought back for a day, by any program.
    """

    title: str


@dataclass(frozen=True, slots=True)
class Restored:
    """A model that was deleted is back."""

    title: str
    path: Path


@dataclass(frozen=True, slots=True)
class Emptied:
    """The bin is empty, save what another program can still bring back; `freed` bytes."""

    freed: int


@dataclass(frozen=True, slots=True)
class Transferred:
    """A model was copied here or moved. `used`: it is the chosen one now, since there was only the demo, or the old."""

    status: TransferStatus
    used: bool


@dataclass(frozen=True, slots=True)
class TrafficRead:
    """Every request ever made, oldest first."""

    requests: tuple[Request, ...]


ShelfEvent = ShelfStatus | ShelfFailed | Offered | Arrived | Removed | Restored | Emptied | Transferred | TrafficRead
