"""A program to kill: it answers without end and prints the time, the length of all that it has shown, and the lag."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.chat.replay import Chosen, Gate, Replay, opening
from tests.lag import Lag

from inglenook.chat.events import AnswerDelta, ChatEvent
from inglenook.chat.service import ChatService
from inglenook.core.settings import Settings
from inglenook.store.repository import SqliteStore

file = Path(sys.argv[1])
lag = Lag(file.parent)
engine = Replay()
gates = [Gate() for _ in range(5000)]
engine.will_say(*opening(*[item for i, gate in enumerate(gates) for item in (f"{i:04} ", gate)]))
service = ChatService(SqliteStore(file), engine, Chosen(), Settings(file.with_name("settings.json")))
shown = 0


def show(event: ChatEvent) -> None:
    global shown
    if isinstance(event, AnswerDelta):
        shown += len(event.text)
        print(time.monotonic(), shown, lag.seconds(), flush=True)


service.subscribe(show)
service.send(service.new_chat(), "Go on.")
for gate in gates:
    gate.reached.wait()
    time.sleep(0.01)
    gate.open.set()
