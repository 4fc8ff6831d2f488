"""A program that is killed in mid-answer loses at most the last half second of it, and no result of a tool."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.chat.replay import Chosen, Replay, answer
from tests.chat.support import MakeBench
from tests.lag import due

from inglenook.core.conversation import MessageState
from inglenook.core.messages import Role, ToolResultPart
from inglenook.core.tools import Tool
from inglenook.store.repository import SqliteStore

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("INGLENOOK_KILLS", "5"))
"""How often; `make soak` asks for hundreds."""


def test_kill_in_mid_answer(tmp_path: Path) -> None:
    file = tmp_path / "c.sqlite3"
    chance = random.Random(7)
    for round_ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.chat.kill_child", str(file)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert child.stdout is not None
        shown = [child.stdout.readline().split() for _ in range(chance.randint(50, 250))]
        child.send_signal(signal.SIGKILL)
        shown += [line.split() for line in child.stdout.read().splitlines() if len(line.split()) == 3]
        child.stdout.close()
        child.wait()
        least = due(shown)
        store = SqliteStore(file)
        conversations = store.conversations()
        assert len(conversations) == round_ + 1
        question, answer = store.tree(conversations[0].id).path()
        assert question.message.text == "Go on."
        assert answer.state is MessageState.INTERRUPTED
        assert len(answer.message.text) >= least, f"{len(answer.message.text)} of {least} characters half a second old"
        assert "".join(f"{i:04} " for i in range(5000)).startswith(answer.message.text)
        assert store.notices == ()
        store.close()


@pytest.mark.parametrize("go_on", [True, False], ids=["continue", "try again"])
def test_kill_while_a_tool_runs(
    tmp_path: Path, make_bench: MakeBench, replay: Replay, chosen: Chosen, go_on: bool
) -> None:
    """At the next start what came is there, and the turn can be taken up or its calls made anew."""
    file = tmp_path / "c.sqlite3"
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.chat.kill_tool_child", str(file)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "running\n"
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    child.wait()
    called: list[str] = []

    def look_up(arguments: Mapping[str, Any], cancelled: Callable[[], bool]) -> str:
        called.append(arguments["place"])
        return "found again"

    bench = make_bench(replay, chosen, [Tool("look_up", "Looks up.", None, look_up, needs_approval=False)])
    chat = bench.store.conversations()[0].id
    bench.service.open(chat)
    question, calls, results = bench.heard.tree(chat).path()
    assert question.message.text == "Go on."
    assert calls.state is MessageState.COMPLETE
    assert (results.state, results.message.role) == (MessageState.INTERRUPTED, Role.TOOL)
    assert [p.content for p in results.message.parts if isinstance(p, ToolResultPart)] == ["found a"]
    replay.will_say(*answer("Here."))
    (bench.service.continue_answer if go_on else bench.service.regenerate)(chat, results.id)
    assert bench.heard.ended(chat).message.message.text == "Here."
    assert called == (["b", "c"] if go_on else ["a", "b", "c"])
    path = bench.stored(chat).path()
    assert len(path[2].message.parts) == 3
    assert (path[2].id == results.id) == go_on
    assert {m.state for m in path} == {MessageState.COMPLETE}
