"""What is saved comes back: at once, after a restart, from another program."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inglenook.core.conversation import Conversation, MessageState, StoredMessage, TokenCount, Tree, new_id
from inglenook.core.events import GenerationStats
from inglenook.core.messages import (
    Effort,
    Message,
    PreamblePart,
    ReasoningPart,
    Role,
    SampledTokens,
    TextPart,
    ToolCallPart,
    user,
)
from inglenook.store import repository
from inglenook.store.repository import SqliteStore


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "c.sqlite3"


@pytest.fixture
def store(file: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(file)
    yield store
    store.close()


def conversation(title: str = "t", updated: float = 1.0) -> Conversation:
    return Conversation(new_id(), title, 1.0, updated, "2026-11-22")


def said(c: Conversation, parent: StoredMessage | None, text: str = "x") -> StoredMessage:
    return StoredMessage(new_id(), c.id, parent and parent.id, user(text), created=2.0)


def reopened(store: SqliteStore, file: Path, look: Callable[[SqliteStore], object]) -> object:
    """What `look` sees in a store that shares only the file with `store`."""
    store.flush()
    other = SqliteStore(file)
    try:
        return look(other)
    finally:
        other.close()


def test_every_field_comes_back(store: SqliteStore, file: Path) -> None:
    c = Conversation(new_id(), "Título", 1.25, 2.5, "2026-11-22", "leaf", "Be brief.", Effort.HIGH, "m", "half a\nword")
    question = said(c, None, "Hello <|start|> \0 😀")
    answer = StoredMessage(
        new_id(),
        c.id,
        question.id,
        Message(
            Role.ASSISTANT,
            (ReasoningPart("hm", 1.5), PreamblePart("now"), ToolCallPart("python", "1", "id"), TextPart("Hi")),
            SampledTokens((1, 200007), "hash"),
        ),
        MessageState.FAILED,
        3.5,
        Effort.LOW,
        "demo",
        GenerationStats(9, 3, 2, 0.1, 0.2, 0.3),
        "The engine ended.",
    )
    store.save_conversation(c)
    store.save_message(question)
    store.save_message(answer)
    expected = Tree(c, (question, answer))
    assert store.tree(c.id) == expected
    assert reopened(store, file, lambda s: s.tree(c.id)) == expected


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[int | None, StoredMessage]]:
    """Messages with the place of their parent, which comes before them."""
    count = draw(st.integers(0, 12))
    words = st.text(max_size=20)
    found = []
    for i in range(count):
        parent = draw(st.none() | st.integers(0, i - 1)) if i else None
        role = draw(st.sampled_from(Role))
        part = draw(st.builds(TextPart, words) | st.builds(ReasoningPart, words, st.floats(0, 1e5)))
        sampled = draw(st.none() | st.builds(SampledTokens, st.lists(st.integers(0, 2**31 - 1)).map(tuple), words))
        message = Message(role, (part,), sampled)
        state = draw(st.sampled_from([s for s in MessageState if s is not MessageState.STREAMING]))
        found.append((parent, StoredMessage("", "", None, message, state, created=float(i))))
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees(), st.lists(st.integers(0, 11), max_size=6), st.booleans())
def test_any_tree_comes_back_in_order(
    store: SqliteStore, file: Path, shape: list, again: list[int], settle: bool
) -> None:
    c = conversation()
    store.save_conversation(c)
    messages: list[StoredMessage] = []
    for parent, m in shape:
        stored = replace(
            m, id=new_id(), conversation_id=c.id, parent_id=None if parent is None else messages[parent].id
        )
        messages.append(stored)
        store.save_message(stored)
        if settle:
            store.flush()
    for i in again:
        if i < len(messages):
            messages[i] = replace(messages[i], error=f"changed {i}")
            store.save_message(messages[i])
    if messages:
        c = replace(c, leaf_id=messages[-1].id)
        store.save_conversation(c)
    expected = Tree(c, tuple(messages))
    assert store.tree(c.id) == expected
    store.flush()
    assert store.tree(c.id) == expected
    reader = SqliteStore(file)
    assert reader.tree(c.id) == expected
    assert reader.tree(c.id).path() == expected.path()
    reader.close()


def test_a_deep_conversation(store: SqliteStore) -> None:
    """Deeper than SQLite follows triggers (1000), also when it is removed."""
    c = conversation()
    store.save_conversation(c)
    parent = None
    for _ in range(3000):
        parent = said(c, parent)
        store.save_message(parent)
    store.flush()
    assert parent is not None
    assert len(store.tree(c.id).path(parent.id)) == 3000


def test_unknown_conversation_is_a_key_error(store: SqliteStore) -> None:
    with pytest.raises(KeyError):
        store.tree("nowhere")


def test_the_list_is_in_order_of_change_and_without_the_deleted(store: SqliteStore) -> None:
    a, b, c = (conversation(t, u) for t, u in (("a", 1.0), ("b", 3.0), ("c", 2.0)))
    for x in (a, b, c):
        store.save_conversation(x)

    def titles() -> list[str]:
        return [x.title for x in store.conversations()]

    for settle in (store.flush, lambda: None):
        settle()
        assert titles() == ["b", "c", "a"]
    store.save_conversation(replace(a, updated=9.0))
    assert titles() == ["a", "b", "c"]
    store.delete_conversation(b.id)
    assert titles() == ["a", "c"]
    assert store.tree(b.id).conversation.deleted
    store.flush()
    assert titles() == ["a", "c"]
    store.restore_conversation(b.id)
    assert titles() == ["a", "b", "c"]
    store.flush()
    assert titles() == ["a", "b", "c"]


def test_saving_says_whether_it_is_deleted(store: SqliteStore) -> None:
    c = conversation()
    store.save_conversation(c)
    store.delete_conversation(c.id)
    store.save_conversation(replace(c, title="new", deleted=True))
    assert list(store.conversations()) == []
    store.flush()
    assert list(store.conversations()) == []
    store.save_conversation(c)
    store.flush()
    assert list(store.conversations()) == [c]


def test_the_deleted_are_removed_at_a_later_start(
    store: SqliteStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = conversation("kept"), conversation("gone")
    for c in (kept, gone):
        store.save_conversation(c)
        parent = None
        for _ in range(1200):
            parent = said(c, parent, "secret" + c.title)
            store.save_message(parent)
    store.delete_conversation(gone.id)
    assert reopened(store, file, lambda s: len(s.tree(gone.id).messages)) == 1200, "not yet: it could be restored"
    monkeypatch.setattr(repository, "UNDO_SECONDS", -1.0)
    assert reopened(store, file, lambda s: [c.title for c in s.conversations()]) == ["kept"]
    with pytest.raises(KeyError):
        store.tree(gone.id)
    assert len(store.tree(kept.id).messages) == 1200
    store.close()
    data = file.read_bytes()
    assert b"secretkept" in data
    assert b"secretgone" not in data, "nor can it be found in free pages"


def test_words_for_search_are_filled_when_the_answer_ends(store: SqliteStore, file: Path) -> None:
    c = conversation()
    store.save_conversation(c)
    message = Message(Role.ASSISTANT, (ReasoningPart("why"), TextPart("because")))
    streaming = StoredMessage("m", c.id, None, message, MessageState.STREAMING)

    def columns() -> tuple[str, str, str]:
        store.flush()
        connection = sqlite3.connect(file)
        row = connection.execute("SELECT content, reasoning, state FROM message").fetchone()
        connection.close()
        return row

    store.save_message(streaming)
    assert columns() == ("", "", "streaming")
    store.save_message(replace(streaming, state=MessageState.COMPLETE))
    assert columns() == ("because", "why", "complete")


def test_what_another_program_streams_is_left_alone(store: SqliteStore, file: Path) -> None:
    c = conversation()
    store.save_conversation(c)
    store.save_message(StoredMessage("m", c.id, None, user("x"), MessageState.STREAMING))
    assert reopened(store, file, lambda s: s.tree(c.id).get("m").state) is MessageState.STREAMING


def test_what_a_closed_program_left_streaming_was_interrupted(store: SqliteStore, file: Path) -> None:
    c = conversation()
    store.save_conversation(c)
    message = Message(Role.ASSISTANT, (ReasoningPart("why"), TextPart("becau")))
    store.save_message(StoredMessage("m", c.id, None, message, MessageState.STREAMING))
    store.close()
    later = SqliteStore(file)
    found = later.tree(c.id).get("m")
    assert found.state is MessageState.INTERRUPTED
    assert found.message == message
    later.close()
    connection = sqlite3.connect(file)
    assert connection.execute("SELECT content, reasoning, owner FROM message").fetchone() == ("becau", "why", "")
    connection.close()


def test_a_kept_old_file_is_read(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.executescript((Path(__file__).parent / "data" / "v2.sql").read_text("utf-8"))
    connection.close()
    store = SqliteStore(file)
    tree = store.tree("c1")
    assert [m.message.text for m in tree.path()] == ['Hello "you"', "Hi!"]
    assert tree.get("m2").message.sampled == SampledTokens((7, 8), "v")
    assert tree.get("m2").stats == GenerationStats(9, 0, 2, 0.1, 0.1, 0.2)
    assert tree.conversation.draft == "half a"
    store.close()


def test_pins_stay_whatever_is_saved(store: SqliteStore, file: Path) -> None:
    c = conversation()
    store.save_conversation(c)
    one = said(c, None)
    two = said(c, one)
    for message in (one, two):
        store.save_message(message)
    store.pin_message(one.id, True)
    store.pin_message(two.id, True)
    store.pin_message(two.id, False)

    def pinned(s: SqliteStore) -> list[bool]:
        return [m.pinned for m in s.tree(c.id).messages]

    assert pinned(store) == [True, False], "while it waits for the disk"
    store.flush()
    assert pinned(store) == [True, False]
    store.save_message(replace(one, error="x"))  # by one who does not know of it
    assert pinned(store) == [True, False]
    assert reopened(store, file, pinned) == [True, False]


def test_token_counts_by_vocabulary(store: SqliteStore, file: Path) -> None:
    c, other = conversation(), conversation()
    one, elsewhere = said(c, None), said(other, None)
    for each in (c, other):
        store.save_conversation(each)
    for message in (one, elsewhere):
        store.save_message(message)
    first, later = TokenCount(one.id, b"a" * 16, 3), TokenCount(one.id, b"b" * 16, 4)
    store.save_token_counts("v", [first, TokenCount(elsewhere.id, b"c" * 16, 9), TokenCount("nobody", b"", 1)])
    store.save_token_counts("w", [later])

    def counts(s: SqliteStore) -> list[list[TokenCount]]:
        return [[*s.token_counts(c.id, vocabulary)] for vocabulary in ("v", "w", "x")]

    store.flush()
    assert counts(store) == [[first], [later], []]
    store.save_token_counts("v", [later])
    assert reopened(store, file, counts) == [[later], [later], []]


def test_many_threads_write_and_read(store: SqliteStore) -> None:
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            c = conversation(name)
            store.save_conversation(c)
            parent = None
            for i in range(40):
                parent = said(c, parent, f"{name}{i}")
                store.save_message(parent)
                assert [m.message.text for m in store.tree(c.id).path(parent.id)] == [
                    f"{name}{j}" for j in range(i + 1)
                ]
                assert name in [x.title for x in store.conversations()]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"t{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


OTHER_PROGRAM = """
import sys
from pathlib import Path
from inglenook.core.conversation import Conversation, StoredMessage, new_id
from inglenook.core.messages import user
from inglenook.store.repository import SqliteStore

name, count = sys.argv[2], int(sys.argv[3])
store = SqliteStore(Path(sys.argv[1]))
for i in range(count):
    c = Conversation(new_id(), f"{name}{i}", 1.0, 1.0, "2026-01-01")
    store.save_conversation(c)
    store.save_message(StoredMessage(new_id(), c.id, None, user(f"{name}{i}")))
    store.flush()
store.close()
"""


def test_two_programs_write_to_one_file(file: Path) -> None:
    """Both create it, both write all the time, nothing is lost."""
    children = [subprocess.Popen([sys.executable, "-c", OTHER_PROGRAM, str(file), name, "150"]) for name in ("a", "b")]
    assert [child.wait() for child in children] == [0, 0]
    store = SqliteStore(file)
    titles = {c.title for c in store.conversations()}
    assert titles == {f"{name}{i}" for name in ("a", "b") for i in range(150)}
    assert all(len(store.tree(c.id).messages) == 1 for c in store.conversations())
    store.close()


def test_a_program_sees_what_another_wrote(store: SqliteStore, file: Path) -> None:
    other = SqliteStore(file)
    c = conversation()
    other.save_conversation(c)
    other.flush()
    assert list(store.conversations()) == [c]
    store.delete_conversation(c.id)
    store.flush()
    assert list(other.conversations()) == []
    other.close()


def test_close_twice_and_writes_after_it(file: Path) -> None:
    store = SqliteStore(file)
    store.close()
    store.close()
    with pytest.raises(RuntimeError, match="closed"):
        store.save_conversation(conversation())
