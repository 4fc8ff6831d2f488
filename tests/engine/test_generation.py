"""What a consumer holds: events and answers come whenever they come."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.events import Finished, Queued, StopReason
from inglenook.engine import generation
from inglenook.engine.generation import EngineGeneration, Reply


@pytest.fixture(params=[None, 0.001], autouse=True)
def attentive(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As elsewhere, and as on Windows, many times over."""
    monkeypatch.setattr(generation, "ATTENTIVE_SECONDS", request.param)


def test_events_that_come_late():
    one = EngineGeneration(1, cast(Any, None))
    events = [Queued(), Finished(StopReason.STOP)]
    timers = [threading.Timer(0.05 * i, one.feed, [event]) for i, event in enumerate(events, 1)]
    for timer in timers:
        timer.start()
    assert list(one) == events


def test_an_answer_that_comes_late():
    reply = Reply(1)
    threading.Timer(0.05, reply.set, [3.0, None]).start()
    assert reply.wait() == 3.0


def test_an_error_that_comes_late():
    reply = Reply(1)
    threading.Timer(0.05, reply.set, [0.0, ErrorInfo("No.")]).start()
    with pytest.raises(UserError, match="No"):
        reply.wait()
