"""Models, downloads and memory in words; sizes are in units of 1000, as disks and downloads are sold."""

from __future__ import annotations

from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_, tr
from inglenook.library.catalogue import Known
from inglenook.library.progress import Step, speed
from inglenook.library.remote.downloads import DownloadStatus, State
from inglenook.library.shelf_events import Fit, Offer

STILL = (State.PAUSED, State.FAILED)
_EXAMPLE = 100_000_000 / 8  # bytes a second, of an ordinary connection


def duration(seconds: float) -> str:
    """A time that is only about right."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return tr(N_("less than a minute"))
    if minutes == 1:
        return tr(N_("about a minute"))
    if minutes < 60:
        return tr(N_("about {minutes} minutes"), minutes=minutes)
    return tr(N_("about {hours} h {minutes} min"), hours=minutes // 60, minutes=minutes % 60)


def progress(status: DownloadStatus) -> str:
    """How a download goes: bytes, rate and time left; or why it does not."""
    amount = tr(N_("{done} of {total}"), done=gigabytes(status.done), total=gigabytes(status.total))
    if status.state is State.PAUSED:
        return tr(N_("Paused at {amount}"), amount=amount)
    if status.state is State.ELSEWHERE:
        return tr(N_("{amount} · Another window of Inglenook is fetching it"), amount=amount)
    if status.state in (State.FAILED, State.NO_ROOM, State.WAITING):
        return status.reason.text() if status.reason else amount
    if status.step is Step.CHECKING:
        return tr(N_("{amount} · Checking what is here…"), amount=amount)
    if status.step is Step.FETCHING_AGAIN:
        return tr(N_("{amount} · Some bytes were wrong and come again"), amount=amount)
    if not status.rate and status.seconds_left is None:
        return tr(N_("{amount} · Connecting…"), amount=amount)
    words = [amount]
    if status.rate:
        words.append(speed(status.rate))
    if status.seconds_left is not None:
        words.append(tr(N_("{time} left"), time=duration(status.seconds_left)))
    return " · ".join(words)


def download(size: int, host: str, rate: float = 0.0) -> str:
    """What fetching `size` bytes means; with how long it takes at `rate` bytes a second, 0 where none was measured."""
    return tr(
        N_("{size}, once, from {host}: {time} at {speed}."),
        size=gigabytes(size),
        host=host,
        time=duration(size / (rate or _EXAMPLE)),
        speed=speed(rate) if rate else tr(N_("100 Mbit/s")),
    )


def known(one: Known, found: Fit) -> str:
    """What is known of a model before it is looked up: figures of one that is built alike, which `found` fits."""
    figures = tr(
        N_("About {fetched} GB to fetch, about {made} GB when it is converted"),
        fetched=round(one.published_like.size / 1e9),
        made=round(one.like.size / 1e9),
    )
    memory = tr(N_("Memory, about as for {title}. {fit}"), title=tr(one.like.title), fit=fit(found))
    return f"{figures} · {one.licence} · {tr(one.note)}\n{memory}"


def fit(found: Fit) -> str:
    """Whether a model fits the memory of this computer, and why not."""
    return found.text() or tr(N_("Looking at this computer…"))


def device(found: Fit, layers: int) -> str:
    """What will compute; empty while that is not known."""
    if found.plan is None:
        return ""
    choice = found.plan.choice
    if not choice.device:
        return tr(N_("The processor. No graphics processor is used."))
    if choice.cpu_experts or choice.layers < layers:
        return tr(N_("The graphics processor ({device}) and the processor together."), device=choice.device)
    return tr(N_("The graphics processor ({device})."), device=choice.device)


def disk(offer: Offer, free: int) -> str:
    """Free space before and after, or how much is missing."""
    if free < 0:
        return tr(N_("Looking at this computer…"))
    missing = offer.entry.size - (offer.download.done if offer.download else 0)
    if missing > free:
        return tr(
            N_("{free} are free, and {more} more are needed. Make room first."),
            free=gigabytes(free),
            more=gigabytes(missing - free),
        )
    return tr(N_("{free} are free now, {after} afterwards."), free=gigabytes(free), after=gigabytes(free - missing))
