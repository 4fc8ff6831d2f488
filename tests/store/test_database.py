"""Opening: permissions, versions, damaged and locked files, in words that say what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from inglenook.core.conversation import Conversation
from inglenook.core.errors import UserError
from inglenook.store import database, owners
from inglenook.store.migrations import MIGRATIONS
from inglenook.store.repository import SqliteStore


def filled(file: Path) -> None:
    store = SqliteStore(file)
    for i in range(200):
        store.save_conversation(Conversation(f"c{i:03}", "t" * 500, 1.0, float(i), "2026-01-01"))
    store.close()


def test_files_are_the_users_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "c.sqlite3"
    store = SqliteStore(file)
    store.save_conversation(Conversation("c", "t", 1.0, 1.0, "2026-01-01"))
    store.flush()
    modes = {f.name: f.stat().st_mode & 0o777 for f in file.parent.iterdir()}
    store.close()
    assert set(modes.values()) == {0o600}, modes
    assert len(modes) >= 3  # with -wal and -shm


def test_a_file_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    file = tmp_path / "c.sqlite3"
    filled(file)
    file.chmod(0o644)
    SqliteStore(file).close()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "c.sqlite3"
    filled(file)
    connection = sqlite3.connect(file)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    before = file.read_bytes()
    with pytest.raises(UserError, match="Update Inglenook"):
        SqliteStore(file)
    assert file.read_bytes() == before
    assert not [f for f in tmp_path.iterdir() if "damaged" in f.name]


@pytest.mark.parametrize("how", ["not a database", "header", "middle", "cut"])
def test_a_damaged_file_is_put_aside_and_the_user_is_told(tmp_path: Path, how: str) -> None:
    file = tmp_path / "c.sqlite3"
    filled(file)
    data = bytearray(file.read_bytes())
    match how:
        case "not a database":
            data = bytearray(b"Dear diary, " * 500)
        case "header":
            data[:50] = os.urandom(50)
        case "middle":
            data[4096:] = bytes(len(data) - 4096)
        case "cut":
            del data[len(data) // 2 :]
    file.write_bytes(data)
    store = SqliteStore(file)
    assert list(store.conversations()) == []
    aside = [f for f in tmp_path.iterdir() if "damaged" in f.name]
    assert [f.read_bytes() for f in aside] == [bytes(data)], "every byte is kept"
    assert [str(aside[0]) in notice.text() for notice in store.notices] == [True]
    store.save_conversation(Conversation("new", "t", 1.0, 1.0, "2026-01-01"))
    store.close()
    again = SqliteStore(file)
    assert [c.id for c in again.conversations()] == ["new"]
    assert again.notices == ()
    again.close()


def test_damage_found_later_asks_for_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "c.sqlite3"
    filled(file)
    store = SqliteStore(file)
    with file.open("r+b") as f:
        f.seek(4096)
        f.write(b"\xff" * (file.stat().st_size - 4096))
    with pytest.raises(UserError, match="Restart Inglenook"):
        store.conversations()
    store.close()


def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    file = tmp_path / "c.sqlite3"
    file.touch()
    store = SqliteStore(file)
    assert list(store.conversations()) == []
    assert store.notices == ()
    store.close()


def test_a_locked_file_says_who_could_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.sqlite3"
    filled(file)
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match="Another program"):
        SqliteStore(file)
    other.execute("ROLLBACK")
    other.close()
    store = SqliteStore(file)
    assert len(store.conversations()) == 200
    store.close()


def test_a_folder_in_the_files_place(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite3").mkdir()
    with pytest.raises(UserError, match="cannot be opened"):
        SqliteStore(tmp_path / "c.sqlite3")


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_descriptor: int) -> bool:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(owners, "try_lock", refuses)
    with pytest.raises(UserError, match="local disk"):
        SqliteStore(tmp_path / "c.sqlite3")
    assert [f.name for f in tmp_path.iterdir()] == ["c.sqlite3"]


def test_our_bugs_are_not_called_the_users_errors(tmp_path: Path) -> None:
    connection = sqlite3.connect(":memory:")
    for statement in ("this is not SQL", "SELECT * FROM nowhere"):
        with pytest.raises(sqlite3.Error) as raised:
            connection.execute(statement)
        assert database.user_error(raised.value, tmp_path) is None
    connection.close()


def test_memory_that_ran_out_is_no_bug(tmp_path: Path) -> None:
    """Python raises `MemoryError` for it (seen under `PRAGMA hard_heap_limit`, which a process cannot undo)."""
    assert "Memory ran out" in str(database.user_error(MemoryError(), tmp_path))


def test_a_file_that_another_program_creates_just_now_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself does not wait when two turn on its log at once; neither does a connection without a timeout."""
    file = tmp_path / "c.sqlite3"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    ours = sqlite3.connect(file, isolation_level=None, timeout=0)
    other.execute("BEGIN EXCLUSIVE")
    with monkeypatch.context() as patch:
        patch.setattr(database, "BUSY_SECONDS", 0.0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            database._use_wal(ours)
    end = threading.Timer(0.1, other.execute, ["COMMIT"])
    end.start()
    database._use_wal(ours)
    assert ours.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    end.join()
    other.close()
    ours.close()
