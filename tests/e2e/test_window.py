"""The whole program with the demo model: what a person asks, sees, stops, loses in a crash, and finds again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.lag import Lag

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
        assert program.wait(60) == 0
    return told


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's folders; the likeliest answer is set, so that the story is always the long one."""
    folder = tmp_path / "home"
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "settings.json").write_text('{"temperature": 0.0}')
    return folder


LONG = 400
"""Characters of an answer after which something happens to it."""


def answer_in(shown: str) -> str:
    """What is shown of the answer after its folded reasoning; empty before that."""
    return shown.split(", folded\n")[-1].strip() if ", folded\n" in shown else ""


def test_answers_stops_and_finds_both_after_a_restart(home: Path) -> None:
    told = run("ask_and_stop", home)
    assert "Hello!" in told["answered"]["shown"]
    assert "Thought for" in told["answered"]["shown"]
    assert "Inglenook" in told["answered"]["shown"]
    assert "You stopped this answer" in told["stopped"]["shown"]
    again = run("look", home)["looked"]["shown"]
    assert again.split() == told["stopped"]["shown"].split()


def test_killed_in_mid_stream_the_next_start_shows_the_rest(home: Path) -> None:
    """The engine is halted in mid-answer; half a second later all that is shown must be on disk."""
    engine: psutil.Process | None = None
    halted, shown = 0.0, ""
    with driven("stream", home) as program, closing(Lag(home)) as lag:
        for step in steps(program):
            shown = answer_in(step["shown"])
            if engine is None and len(shown) > LONG:
                engine, halted = psutil.Process(step["engine"]), step["seconds"]
                engine.suspend()
            if engine is not None and step["seconds"] > halted + 0.6 + 2 * lag.seconds():
                break
        program.send_signal(signal.SIGKILL)
        program.wait(60)
    assert engine is not None, "the answer was too short"
    engine.resume()
    engine.wait(60)  # returns when the process is gone, raises if it stays
    looked = run("look", home)["looked"]["shown"]
    assert len(shown) > LONG
    assert answer_in(looked).startswith(shown.rstrip())
    assert "interrupted" in looked.lower()


def test_engine_killed_in_mid_stream_is_said_and_the_next_message_works(home: Path) -> None:
    killed = 0
    told: dict[str, dict[str, Any]] = {}
    with driven("stream", home) as program:
        for step in steps(program):
            told[step["step"]] = step
            if step["step"] == "streaming" and not killed and len(answer_in(step["shown"])) > LONG:
                killed = step["engine"]
                os.kill(killed, signal.SIGKILL)
        assert program.wait(60) == 0
    assert killed, "the answer was too short"
    assert "ended the engine" in told["ended"]["shown"]
    assert len(answer_in(told["ended"]["shown"])) > LONG
    assert told["answered"]["engine"] not in (0, killed)
    assert len(told["answered"]["shown"]) > len(told["ended"]["shown"])
