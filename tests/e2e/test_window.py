"""The whole program with the demo model: what a person asks, sees, stops, loses in a crash, and finds again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

DRIVER = Path(__file__).with_name("drive.py")


@contextmanager
def driven(scenario: str, home: Path) -> Iterator[subprocess.Popen[str]]:
    """The window, driven; killed with its engine when the test is over."""
    environment = {**os.environ, "INGLENOOK_HOME": str(home), "QT_QPA_PLATFORM": "offscreen", "LANG": "C.UTF-8"}
    with (
        (home.parent / f"{scenario}.stderr").open("w") as errors,
        subprocess.Popen(
            [sys.executable, str(DRIVER), scenario], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as program,
    ):
        try:
            yield program
        finally:
            program.kill()


def steps(program: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """What the driver tells, as it tells it."""
    assert program.stdout is not None
    for line in program.stdout:
        step = json.loads(line)
        assert step["step"] != "timeout", step
        yield step


def run(scenario: str, home: Path) -> dict[str, dict[str, Any]]:
    """A scenario to its end: step -> facts."""
    with driven(scenario, home) as program:
        told = {step["step"]: step for step in steps(program)}
        assert program.wait(30) == 0
    return told


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's folders, empty."""
    return tmp_path / "home"


def words(text: str) -> list[str]:
    """Runs of visible characters."""
    return text.split()


def test_answers_stops_and_finds_both_after_a_restart(home: Path) -> None:
    told = run("ask_and_stop", home)
    assert "Hello!" in told["answered"]["shown"]
    assert "Thought for" in told["answered"]["shown"]
    assert "Inglenook" in told["answered"]["shown"]
    assert "Stopped" in told["stopped"]["shown"]
    again = run("look", home)["looked"]["shown"]
    assert words(again) == words(told["stopped"]["shown"])


def test_killed_in_mid_stream_the_next_start_shows_the_rest(home: Path) -> None:
    shown: list[tuple[float, str]] = []
    with driven("stream", home) as program:
        for step in steps(program):
            if step["step"] == "streaming":
                shown.append((step["seconds"], step["shown"]))
                if len(step["shown"]) > 1500:
                    engine = psutil.Process(step["engine"])
                    program.send_signal(signal.SIGKILL)
                    break
        program.wait(10)
    engine.wait(10)  # psutil: returns when the process is gone, raises if it stays
    looked = run("look", home)["looked"]["shown"]
    last = shown[-1][0]
    half_a_second_ago = next(text for seconds, text in reversed(shown) if seconds <= last - 0.5)
    kept = words(half_a_second_ago.split("long story")[1])[3:-3]  # without the live line and the actions
    assert len(kept) > 50
    missing = [word for word in kept if word not in set(words(looked))]
    assert not missing


def test_engine_killed_in_mid_stream_is_said_and_the_next_message_works(home: Path) -> None:
    killed = 0
    told: dict[str, dict[str, Any]] = {}
    with driven("stream", home) as program:
        for step in steps(program):
            told[step["step"]] = step
            if step["step"] == "streaming" and not killed and len(step["shown"]) > 1000:
                killed = step["engine"]
                os.kill(killed, signal.SIGKILL)
        assert program.wait(30) == 0
    assert killed
    assert "ended the engine" in told["ended"]["shown"]
    assert told["answered"]["engine"] not in (0, killed)
    assert len(told["answered"]["shown"]) > len(told["ended"]["shown"])
