"""Order and joining of what crosses from worker threads into the GUI thread."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from types import UnionType
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QThread
from pytestqt.qtbot import QtBot
from tests.ui.doubles import MemoryChats, MemoryModels
from tests.ui.shelf import MemoryShelf

from inglenook.chat.events import AnswerDelta, AnswerPartEnded, AnswerPartStarted, ChatEvent
from inglenook.core.events import Channel
from inglenook.library.events import ModelState, ModelStatus
from inglenook.library.shelf_events import Removed, ShelfEvent, ShelfStatus
from inglenook.ui.bridge import Bridge

Event = ChatEvent | ModelStatus


@pytest.fixture
def bridge(qtbot: QtBot, chats: MemoryChats, models: MemoryModels, shelf: MemoryShelf) -> Iterator[Bridge]:
    made = Bridge(chats, models, shelf)
    yield made
    made.close()


def received(bridge: Bridge) -> list[Event]:
    """Collects what the bridge emits, from now on."""
    got: list[Event] = []
    bridge.chat_event.connect(got.append)
    bridge.model_status.connect(got.append)
    return got


def unjoined(events: list[Event]) -> list[object]:
    """Events in which each letter of a delta stands for itself."""
    flat: list[object] = []
    for event in events:
        if isinstance(event, AnswerDelta):
            flat.extend((event.conversation_id, event.message_id, event.index, letter) for letter in event.text)
        else:
            flat.append(event)
    return flat


def delta(text: str, index: int = 0, message: str = "m") -> AnswerDelta:
    return AnswerDelta("c", message, index, text)


def test_of_two_states_of_the_shelf_the_later_is_told_and_nothing_overtakes(bridge: Bridge, shelf: MemoryShelf) -> None:
    got: list[ShelfEvent] = []
    bridge.shelf_event.connect(got.append)
    removed = Removed("m")
    for free in (1, 2):
        shelf.change(free=free)
    shelf.emit(removed)
    shelf.change(free=3)
    bridge.flush()
    assert [event.free if isinstance(event, ShelfStatus) else event for event in got] == [2, removed, 3]


@pytest.mark.parametrize(("union", "signal"), [(ShelfEvent, "shelf_event"), (ChatEvent, "chat_event")])
def test_every_kind_of_event_arrives_where_it_is_awaited(bridge: Bridge, union: UnionType, signal: str) -> None:
    """Also a kind that is added later, and nowhere else than there."""
    heard: dict[str, list[object]] = {name: [] for name in ("chat_event", "model_status", "shelf_event")}
    for name, got in heard.items():
        getattr(bridge, name).connect(got.append)
    events = [object.__new__(kind) for kind in get_args(union) if kind is not AnswerDelta]
    for event in events:
        bridge.put(event)
    bridge.flush()
    assert list(map(id, heard.pop(signal))) == list(map(id, events))
    assert not any(heard.values())


def test_deltas_of_a_part_are_joined(bridge: Bridge, chats: MemoryChats) -> None:
    got = received(bridge)
    for letter in "hello":
        chats.emit(delta(letter))
    bridge.flush()
    assert got == [delta("hello")]


def test_joined_deltas_know_the_count_of_the_last(bridge: Bridge, chats: MemoryChats) -> None:
    got = received(bridge)
    for count, letter in enumerate("hello", 1):
        chats.emit(AnswerDelta("c", "m", 0, letter, count))
    bridge.flush()
    assert got == [AnswerDelta("c", "m", 0, "hello", 5)]


def test_nothing_else_is_joined_or_overtaken(bridge: Bridge, chats: MemoryChats) -> None:
    got = received(bridge)
    sent: list[ChatEvent] = [
        AnswerPartStarted("c", "m", 0, Channel.REASONING),
        delta("a"),
        delta("b", index=1),
        delta("c", message="n"),
        AnswerPartEnded("c", "m", 0, 1.0),
        delta("d", message="n"),
    ]
    for event in sent:
        chats.emit(event)
    bridge.flush()
    assert got == sent


def test_only_the_last_of_neighbouring_model_states_is_told(
    bridge: Bridge, models: MemoryModels, chats: MemoryChats
) -> None:
    got = received(bridge)
    loading = [ModelStatus(ModelState.LOADING, "m", fraction) for fraction in (0.1, 0.2, 0.3)]
    models.tell(loading[0])
    models.tell(loading[1])
    chats.emit(delta("x"))
    models.tell(loading[2])
    bridge.flush()
    assert got == [loading[1], delta("x"), loading[2]]


_events = st.one_of(
    st.builds(delta, st.sampled_from(["a", "bc"]), st.integers(0, 1), st.sampled_from(["m", "n"])),
    st.builds(AnswerPartEnded, st.just("c"), st.just("m"), st.integers(0, 1), st.just(1.0)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(batches=st.lists(st.lists(_events, max_size=8), max_size=4))
def test_order_and_text_are_kept(bridge: Bridge, chats: MemoryChats, batches: list[list[ChatEvent]]) -> None:
    got = received(bridge)
    for batch in batches:
        for event in batch:
            chats.emit(event)
        bridge.flush()
    bridge.chat_event.disconnect()
    bridge.model_status.disconnect()
    assert unjoined(got) == unjoined(list(itertools.chain(*batches)))


def test_events_of_a_thread_arrive_in_the_gui_thread_in_order(bridge: Bridge, chats: MemoryChats, qtbot: QtBot) -> None:
    got = received(bridge)
    threads: list[QThread] = []
    bridge.chat_event.connect(lambda _: threads.append(QThread.currentThread()))
    end = AnswerPartEnded("c", "m", 0, 1.0)

    def work() -> None:
        for number in range(3000):
            chats.emit(delta(chr(ord("a") + number % 26)))
        chats.emit(end)

    worker = threading.Thread(target=work)
    worker.start()
    qtbot.waitUntil(lambda: bool(got) and got[-1] == end, timeout=10_000)
    worker.join()
    text = "".join(e.text for e in got if isinstance(e, AnswerDelta))
    assert text == "".join(chr(ord("a") + number % 26) for number in range(3000))
    assert set(threads) == {bridge.thread()}
    assert len(got) < 1000  # joined


def test_a_closed_bridge_is_silent(bridge: Bridge, chats: MemoryChats, models: MemoryModels) -> None:
    got = received(bridge)
    chats.emit(delta("before"))
    bridge.close()
    assert chats.listeners == []
    assert models.listeners == []
    bridge.put(delta("after"))
    bridge.flush()
    assert got == []
