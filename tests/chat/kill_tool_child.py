"""A program to kill while a tool runs: it prints a line when the second of three calls is under way."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.chat.replay import Chosen, Replay, calling

from inglenook.chat.service import ChatService
from inglenook.core.settings import Settings
from inglenook.core.tools import Tool
from inglenook.harmony import specials
from inglenook.store.repository import SqliteStore

file = Path(sys.argv[1])
engine = Replay()
store = SqliteStore(file)


def look_up(arguments: Mapping[str, Any], cancelled: Callable[[], bool]) -> str:
    if arguments["place"] != "b":
        return f"found {arguments['place']}"
    store.flush()  # the first result was given to the store
    print("running", flush=True)
    threading.Event().wait()
    raise AssertionError


one, two, three = (calling("functions.look_up", f'{{"place": "{place}"}}') for place in "abc")
between = (specials.END, specials.START, "assistant")
engine.will_say(*one[:-1], *between, *two[:-1], *between, *three)
tool = Tool("look_up", "Looks up.", None, look_up, needs_approval=False)
service = ChatService(store, engine, Chosen(), Settings(file.with_name("settings.json")), tools=[tool])
service.send(service.new_chat(), "Go on.")
threading.Event().wait()
