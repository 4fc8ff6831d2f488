"""Each step is tested; a file that took them one by one equals a new one; kept old files open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from inglenook.store import migrations
from inglenook.store.migrations import MIGRATIONS, migrate

OLD_FILES = Path(__file__).parent / "data"


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    yield connection
    connection.close()


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def schema(connection: sqlite3.Connection) -> list[tuple]:
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()


def test_m001_conversations(connection: sqlite3.Connection) -> None:
    migrate(connection, 1)
    assert version(connection) == 1
    connection.execute("INSERT INTO conversation VALUES ('c','t',1,2,'2026-01-01',NULL,'','low','','',0)")
    with pytest.raises(sqlite3.IntegrityError):  # STRICT: a text is no time
        connection.execute("INSERT INTO conversation VALUES ('d','t','x',2,'2026-01-01',NULL,'','low','','',0)")


def test_m002_messages(connection: sqlite3.Connection) -> None:
    migrate(connection, 1)
    connection.execute("INSERT INTO conversation VALUES ('c','t',1,2,'2026-01-01',NULL,'','low','','',0)")
    migrate(connection, 2)
    assert version(connection) == 2
    assert connection.execute("SELECT id FROM conversation").fetchall() == [("c",)]
    insert = (
        "INSERT INTO message (id, conversation_id, parent_id, role, parts, vocabulary, state, created, model, error,"
        " content, reasoning, owner) VALUES (?, ?, ?, 'user', '[]', '', 'complete', 1, '', '', '', '', '')"
    )
    connection.execute(insert, ("m", "c", None))
    connection.execute(insert, ("n", "c", "m"))
    for wrong in [("o", "nowhere", None), ("o", "c", "nobody"), ("m", "c", None)]:
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(insert, wrong)


INSERT_MESSAGE = (
    "INSERT INTO message (id, conversation_id, role, parts, vocabulary, state, created, model, error, content,"
    " reasoning, owner) VALUES ('m', 'c', 'user', '[]', '', 'complete', 1, '', '', '', '', '')"
)


def test_m003_pinned(connection: sqlite3.Connection) -> None:
    migrate(connection, 2)
    connection.execute("INSERT INTO conversation VALUES ('c','t',1,2,'2026-01-01',NULL,'','low','','',0)")
    connection.execute(INSERT_MESSAGE)
    migrate(connection, 3)
    assert connection.execute("SELECT id, pinned FROM message").fetchall() == [("m", 0)]


def test_m004_token_counts(connection: sqlite3.Connection) -> None:
    migrate(connection, 3)
    connection.execute("INSERT INTO conversation VALUES ('c','t',1,2,'2026-01-01',NULL,'','low','','',0)")
    connection.execute(INSERT_MESSAGE)
    migrate(connection, 4)
    insert = "INSERT INTO token_count VALUES (?, 'v', x'00', 3)"
    connection.execute(insert, ("m",))
    for wrong in ("m", "nobody"):
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(insert, (wrong,))
    connection.execute("DELETE FROM message")
    assert connection.execute("SELECT * FROM token_count").fetchall() == [], "they go with their message"


def test_every_migration_has_a_test() -> None:
    assert [m.__name__ for m in MIGRATIONS if f"test_{m.__name__}" not in globals()] == []


def test_step_by_step_equals_at_once(connection: sqlite3.Connection) -> None:
    for number in range(1, len(MIGRATIONS) + 1):
        migrate(connection, number)
    fresh = sqlite3.connect(":memory:", isolation_level=None)
    migrate(fresh)
    assert schema(connection) == schema(fresh)
    assert version(fresh) == len(MIGRATIONS)
    fresh.close()


@pytest.mark.parametrize("dump", sorted(OLD_FILES.glob("*.sql")), ids=lambda p: p.stem)
def test_a_kept_old_file_becomes_the_new_schema_and_keeps_its_rows(connection: sqlite3.Connection, dump: Path) -> None:
    connection.executescript(dump.read_text("utf-8"))
    assert version(connection) > 0
    migrate(connection)
    fresh = sqlite3.connect(":memory:", isolation_level=None)
    migrate(fresh)
    assert schema(connection) == schema(fresh)
    fresh.close()
    assert connection.execute("SELECT count(*) FROM conversation").fetchone()[0] > 0
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_there_is_a_kept_file_of_each_released_version() -> None:
    assert {p.stem for p in OLD_FILES.glob("*.sql")} >= {"v2", "v4"}


def test_a_failing_step_leaves_the_file_as_it_was(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(connection)
    before = schema(connection)

    def m999_broken(c: sqlite3.Connection) -> None:
        c.execute("CREATE TABLE half (x)")
        c.execute("this is not SQL")

    monkeypatch.setattr(migrations, "MIGRATIONS", [*MIGRATIONS, m999_broken])
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection)
    assert schema(connection) == before
    assert version(connection) == len(MIGRATIONS)
    assert not connection.in_transaction
