"""Which jobs keep the machine awake."""

from __future__ import annotations

import pytest

from inglenook import long_jobs
from inglenook.chat.events import AnswerEnded, AnswerWaiting, ApprovalAsked, ChatEvent, ChatsChanged, Waiting
from inglenook.core.awake import Awake
from inglenook.core.conversation import StoredMessage
from inglenook.core.messages import Message, Role
from inglenook.library.events import ModelState, ModelStatus
from inglenook.library.remote.downloads import DownloadStatus, State

WAITS = AnswerWaiting("a", "m", Waiting.READING)
ENDS = AnswerEnded("a", StoredMessage("m", "a", None, Message(Role.ASSISTANT, ())))
ASKS = ApprovalAsked("a", "m", "c", "functions.add_note", "{}")


class Held:
    """The machine, as far as the jobs go."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Held:
        self.count += 1
        return self

    def end(self) -> None:
        self.count -= 1


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def awake(held: Held) -> Awake:
    """It begins when the test says so, by `settle`."""
    return Awake(lambda: True, held, delay=0.0)


def settle(awake: Awake) -> None:
    if awake._timer is not None:
        awake._timer.join()


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([ChatsChanged(())], 0),
        ([WAITS], 1),
        ([WAITS, WAITS], 1),
        ([WAITS, ENDS], 0),
        ([WAITS, ASKS], 0),
        ([WAITS, ASKS, WAITS], 1),
        ([WAITS, AnswerWaiting("b", "n", Waiting.QUEUED), ENDS], 1),
    ],
)
def test_answers(events: list[ChatEvent], expected: int, awake: Awake, held: Held):
    listen = long_jobs.of_chat(awake)
    for event in events:
        listen(event)
        settle(awake)
    assert held.count == expected
    awake.close()
    assert held.count == 0


@pytest.mark.parametrize("state", State)
def test_downloads(state: State, awake: Awake, held: Held):
    listen = long_jobs.of_downloads(awake)
    for now in (State.RUNNING, state):
        listen(DownloadStatus("d", "", now, 0, 1, ()))
        settle(awake)
    assert held.count == (state is State.RUNNING)
    awake.close()


@pytest.mark.parametrize("state", ModelState)
def test_models(state: ModelState, awake: Awake, held: Held):
    listen = long_jobs.of_model(awake)
    for now in (ModelState.PREPARING, state):
        listen(ModelStatus(now))
        settle(awake)
    assert held.count == (state is ModelState.PREPARING)
    awake.close()
