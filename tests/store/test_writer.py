"""Coalescing, order, errors that are kept, told and mended, and what a kill leaves."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.lag import due

from inglenook.core.conversation import Conversation, MessageState, StoredMessage
from inglenook.core.errors import UserError
from inglenook.core.messages import user
from inglenook.store import database
from inglenook.store.repository import SqliteStore
from inglenook.store.writer import Change, ConversationChange, Writer

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("INGLENOOK_KILLS", "6"))
"""How often a program is killed; `make soak` asks for hundreds."""

C = Conversation("c", "t", 1.0, 1.0, "2026-01-01")


def message(text: str, message_id: str = "m", parent: str | None = None) -> StoredMessage:
    return StoredMessage(message_id, "c", parent, user(text), MessageState.COMPLETE)


def test_replacements_that_wait_become_one_write_in_the_place_of_the_first(tmp_path: Path) -> None:
    written: list[tuple[str, Change]] = []
    connection = database.connect(tmp_path / "w.sqlite3")
    writer = Writer(connection, lambda _, i, change: written.append((i, change)), lambda _: None)
    writer.put("first", message("0"))
    writer.flush()  # now the writer pauses
    for i in range(100):
        writer.put("m", message(str(i)))
        writer.put("n", message(str(i), "n"))
    writer.flush()
    writer.close()
    connection.close()
    assert len(written) < 20
    assert [i for i, _ in written[:2]] == ["first", "m"]
    assert dict(written) == {"first": message("0"), "m": message("99"), "n": message("99", "n")}


def test_a_mark_of_deletion_joins_the_form_that_waits(tmp_path: Path) -> None:
    at_apply, go_on = threading.Event(), threading.Event()

    def apply(_: sqlite3.Connection, change_id: str, __: Change) -> None:
        if change_id == "first":
            at_apply.set()
            go_on.wait()

    connection = database.connect(tmp_path / "w.sqlite3")
    writer = Writer(connection, apply, lambda _: None)
    writer.put("first", message("0"))
    at_apply.wait()
    writer.put("c", ConversationChange(C, deleted=False))
    writer.put("c", ConversationChange(deleted=True))
    assert writer.pending() == {"first": message("0"), "c": ConversationChange(C, deleted=True)}
    writer.put("c", ConversationChange(C, deleted=False))
    assert writer.pending()["c"] == ConversationChange(C, deleted=False)
    go_on.set()
    writer.close()
    assert writer.pending() == {}
    connection.close()


def test_a_change_against_the_schema_is_our_bug_and_costs_no_other_change(tmp_path: Path) -> None:
    told: list[Exception] = []
    store = SqliteStore(tmp_path / "c.sqlite3", told.append)
    store.save_conversation(C)
    store.save_message(message("kept", "a"))
    store.save_message(message("orphan", "b", parent="nobody"))
    store.save_message(message("kept too", "d", parent="a"))
    with pytest.raises(sqlite3.IntegrityError):
        store.flush()
    store.flush()
    assert [m.id for m in store.tree("c").messages] == ["a", "d"]
    assert [type(e) for e in told] == [sqlite3.IntegrityError]
    store.close()


def test_a_full_disk_is_told_and_when_there_is_room_nothing_is_missing(tmp_path: Path) -> None:
    """SQLite's own limit of pages stands for the disk."""
    file = tmp_path / "c.sqlite3"
    told: list[Exception] = []
    store = SqliteStore(file, told.append)
    store.save_conversation(C)
    store.save_message(message("before", "a"))
    store.flush()
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    big = message("x" * 100_000, "b", parent="a")
    store.save_message(big)
    for _ in range(2):
        with pytest.raises(UserError, match="disk is full"):
            store.flush()
    assert store.tree("c").get("b") == big, "still readable here"
    assert [str(e) for e in told if "disk is full" not in str(e)] == []
    assert len(told) == 1, "the same thing is told once"
    other = SqliteStore(file)
    assert [m.id for m in other.tree("c").messages] == ["a"], "what was stored is there"
    other.close()
    longer = replace(big, message=user("y" * 120_000))
    store.save_message(longer)
    store._connection.execute("PRAGMA max_page_count = 1000000")
    store.flush()
    assert len(told) == 1
    store.close()
    later = SqliteStore(file)
    assert [m.message.text for m in later.tree("c").messages] == ["before", "y" * 120_000]
    later.close()


FILL_A_DISK = """
import sys, json
from pathlib import Path
from inglenook.core.conversation import Conversation, StoredMessage
from inglenook.core.errors import UserError
from inglenook.core.messages import user
from inglenook.store.repository import SqliteStore

folder = Path(sys.argv[1])
store = SqliteStore(folder / "c.sqlite3")
store.save_conversation(Conversation("c", "t", 1.0, 1.0, "2026-01-01"))
ballast = folder / "ballast"
ballast.write_bytes(bytes(300_000))
stored, error = 0, ""
for i in range(200):
    store.save_message(StoredMessage(f"m{i}", "c", None, user("x" * 20_000)))
    try:
        store.flush()
    except UserError as e:
        error = str(e)
        break
    stored = i + 1
ballast.unlink()
store.flush()
store.close()
store = SqliteStore(folder / "c.sqlite3")
print(json.dumps({"stored": stored, "error": error, "found": len(store.tree("c").messages)}))
store.close()
"""


def test_a_really_full_disk(tmp_path: Path) -> None:
    """A file system of 3 MB, in a name space of its own."""
    unshare = shutil.which("unshare")
    probe = [unshare or "unshare", "-Urm", "mount", "-t", "tmpfs", "-o", "size=3m", "none", str(tmp_path)]
    if unshare is None or subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip("this system lets us mount nothing")
    script = 'mount -t tmpfs -o size=3m none "$1" && exec "$2" -c "$3" "$1"'
    command = [unshare, "-Urm", "sh", "-c", script, "sh", str(tmp_path), sys.executable, FILL_A_DISK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert "Free some space" in result["error"], result
    assert result["stored"] > 10
    assert result["found"] == result["stored"] + 1, "with the one that did not fit at first"


def test_a_lock_that_another_program_holds_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    file = tmp_path / "c.sqlite3"
    store = SqliteStore(file)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.save_conversation(C)
    with pytest.raises(UserError, match="Another program"):
        store.flush()
    assert list(store.conversations()) == [C]
    other.execute("ROLLBACK")
    store.flush()
    other.close()
    store.close()


def test_after_an_error_the_writer_tries_again_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr("inglenook.store.writer.RETRY_SECONDS", 0.01)
    file = tmp_path / "c.sqlite3"
    told: list[Exception] = []
    store = SqliteStore(file, told.append)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.save_conversation(C)
    until(lambda: bool(told))
    other.execute("ROLLBACK")
    until(lambda: other.execute("SELECT count(*) FROM conversation").fetchone()[0] == 1)
    other.close()
    store.close()


def test_memory_that_runs_out_costs_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inglenook.store.writer.RETRY_SECONDS", 100.0)  # only `flush` makes it try again
    file = tmp_path / "c.sqlite3"
    connection, _ = database.open_database(file)
    written: list[str] = []
    memory = False

    def apply(_: sqlite3.Connection, change_id: str, change: Change) -> None:
        if not memory:
            raise MemoryError
        written.append(change_id)

    told: list[Exception] = []
    writer = Writer(connection, apply, lambda e: database.user_error(e, file), told.append)
    writer.put("a", message("a"))
    with pytest.raises(UserError, match="Memory ran out"):
        writer.flush()
    memory = True
    writer.flush()
    assert written == ["a"]
    assert [type(e) for e in told] == [UserError]
    writer.close()
    connection.close()


def test_close_ends_the_thread_also_if_it_cannot_write(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "c.sqlite3")
    store.save_conversation(C)
    store.flush()
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    store.save_message(message("x" * 100_000))
    with pytest.raises(UserError, match="disk is full"):
        store.close()
    assert not store._writer._thread.is_alive()


# A child that streams an answer: it prints the time, the number of words and the lag whenever it "shows" a word.
STREAM = """
import sys, time
from pathlib import Path
from tests.lag import Lag
from inglenook.core.conversation import Conversation, MessageState, StoredMessage
from inglenook.core.messages import Message, Role, SampledTokens, TextPart, user
from inglenook.store.repository import SqliteStore

lag = Lag(Path(sys.argv[1]).parent)
store = SqliteStore(Path(sys.argv[1]))
c = Conversation(sys.argv[2], "t", 1.0, 1.0, "2026-01-01")
store.save_conversation(c)
store.save_message(StoredMessage("q" + c.id, c.id, None, user("Count.")))
store.flush()
last = 0.0
for n in range(1, 100_000):
    message = Message(Role.ASSISTANT, (TextPart("word " * n),), SampledTokens(tuple(range(n)), "v"))
    now = time.monotonic()
    if now - last >= 0.2:  # as chat does
        last = now
        store.save_message(StoredMessage("a" + c.id, c.id, "q" + c.id, message, MessageState.STREAMING))
    print(now, n, lag.seconds(), flush=True)
    time.sleep(0.01)
"""


def test_kill_in_mid_stream_loses_at_most_half_a_second(tmp_path: Path) -> None:
    file = tmp_path / "c.sqlite3"
    chance = random.Random(2)
    for round_ in range(KILLS):
        name = f"c{round_}"
        command = [sys.executable, "-c", STREAM, str(file), name]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert child.stdout is not None
        shown = [child.stdout.readline().split() for _ in range(chance.randint(30, 120))]
        os.kill(child.pid, signal.SIGKILL)
        shown += [line.split() for line in child.stdout.read().splitlines() if len(line.split()) == 3]
        child.stdout.close()
        child.wait()
        least = due(shown)
        store = SqliteStore(file)
        answer = store.tree(name).get(f"a{name}")
        words = answer.message.text.split()
        assert len(words) >= least, f"{len(words)} of {least} words that were half a second old"
        assert answer.message.sampled is not None
        assert len(answer.message.sampled.ids) == len(words)
        assert answer.state is MessageState.INTERRUPTED
        assert store.notices == ()
        assert len(store.conversations()) == round_ + 1
        store.close()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["c.sqlite3"], "the dead programs' lock files are gone"


def until(condition: Callable[[], bool]) -> None:
    """Waits for it; pytest's time limit ends a wait in vain."""
    while not condition():
        time.sleep(0.01)
