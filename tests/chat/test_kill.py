"""A program that is killed in the middle of an answer loses at most the last half second of it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from inglenook.core.conversation import MessageState
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
        shown += [line.split() for line in child.stdout.read().splitlines() if len(line.split()) == 2]
        child.stdout.close()
        child.wait()
        killed = float(shown[-1][0])
        due = max((int(n) for at, n in shown if float(at) <= killed - 0.5), default=0)
        store = SqliteStore(file)
        conversations = store.conversations()
        assert len(conversations) == round_ + 1
        question, answer = store.tree(conversations[0].id).path()
        assert question.message.text == "Go on."
        assert answer.state is MessageState.INTERRUPTED
        assert len(answer.message.text) >= due, f"{len(answer.message.text)} of {due} characters half a second old"
        assert ("word " * 5000).startswith(answer.message.text)
        assert store.notices == ()
        store.close()
