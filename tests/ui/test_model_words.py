"""How downloads, memory and disks are put into words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inglenook.core import fitting
from inglenook.core.errors import ErrorInfo
from inglenook.core.memory import Device, Machine, published
from inglenook.library.catalogue import GPT_OSS_20B
from inglenook.library.progress import Step
from inglenook.library.remote.downloads import DownloadStatus, State
from inglenook.library.shelf_events import Fit, Offer
from inglenook.ui import model_words

GB = 1_000_000_000
RUNNING = DownloadStatus("id", "gpt-oss-20b", State.RUNNING, 3 * GB, 12 * GB, (), 24e6, 375.0, Step.FETCHING)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute"),
        (29, "less than a minute"),
        (60, "about a minute"),
        (375, "about 6 minutes"),
        (3570, "about 1 h 0 min"),
        (7500, "about 2 h 5 min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert model_words.duration(seconds) == words


def test_progress_has_rate_and_time_left() -> None:
    assert model_words.progress(RUNNING) == "3.0 GB of 12.0 GB · 24 MB a second · about 6 minutes left"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate": 0.0, "seconds_left": None}, "Connecting"),
        ({"state": State.PAUSED}, "Paused at 3.0 GB of 12.0 GB"),
        ({"state": State.ELSEWHERE}, "Another window"),
        ({"state": State.FAILED, "reason": ErrorInfo("Do this.")}, "Do this."),
        ({"state": State.NO_ROOM, "reason": ErrorInfo("Make room.")}, "Make room."),
        ({"state": State.WAITING, "reason": ErrorInfo("No connection.")}, "No connection."),
        ({"step": Step.CHECKING}, "Checking"),
        ({"step": Step.FETCHING_AGAIN}, "wrong"),
    ],
)
def test_every_state_of_a_download_says_what_it_is(changes: dict[str, object], words: str) -> None:
    assert words in model_words.progress(replace(RUNNING, **changes))  # type: ignore[arg-type]  # fields of the class


def test_disk_before_and_after_or_what_is_missing() -> None:
    offer = Offer(GPT_OSS_20B)
    assert model_words.disk(offer, 50 * GB) == "50.0 GB are free now, 37.9 GB afterwards."
    assert model_words.disk(offer, 10 * GB) == "10.0 GB are free, and 2.1 GB more are needed. Make room first."
    assert "Looking" in model_words.disk(offer, -1)
    half = Offer(GPT_OSS_20B, download=replace(RUNNING, done=6 * GB))
    assert model_words.disk(half, 10 * GB) == "10.0 GB are free now, 3.9 GB afterwards."


def test_memory_and_what_computes() -> None:
    header = published(24, 32)
    small = fitting.estimate(header, Machine(24 * GB, 32 * GB, 8))
    assert model_words.fit(Fit(small)).startswith("Fits: takes about ")
    assert model_words.device(Fit(small), 24).startswith("The processor.")
    gpu = Device("CUDA0", "A big one", "gpu", 40 * GB, 40 * GB)
    whole = fitting.estimate(header, Machine(24 * GB, 32 * GB, 8, (gpu,)))
    assert model_words.device(Fit(whole), 24) == "The graphics processor (CUDA0)."
    part = fitting.estimate(header, Machine(24 * GB, 32 * GB, 8, (replace(gpu, free=8 * GB, total=8 * GB),)))
    assert model_words.device(Fit(part), 24) == "The graphics processor (CUDA0) and the processor together."
    assert model_words.fit(Fit(refusal=ErrorInfo("Too big."))) == "Too big."
    assert "Looking" in model_words.fit(Fit())
    assert model_words.device(Fit(), 24) == ""


def test_a_model_that_fits_only_in_part_says_so() -> None:
    plan = fitting.estimate(published(24, 32), Machine(9 * GB, 16 * GB, 8))
    assert plan.paged
    assert "slow" in model_words.fit(Fit(plan))
