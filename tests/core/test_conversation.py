"""The tree of messages: paths, siblings, leaves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inglenook.core.conversation import Conversation, StoredMessage, Tree, new_id
from inglenook.core.messages import Message, Role, TextPart, user


def conversation(leaf: str | None) -> Conversation:
    return Conversation("c", "title", 0.0, 0.0, "2026-11-22", leaf)


def stored(message_id: str, parent: str | None, role: Role = Role.USER) -> StoredMessage:
    return StoredMessage(message_id, "c", parent, Message(role, (TextPart(message_id),)))


def test_path_goes_from_the_root_to_the_shown_leaf() -> None:
    tree = Tree(conversation("c2"), (stored("a", None), stored("b", "a", Role.ASSISTANT), stored("c2", "b")))
    assert [m.id for m in tree.path()] == ["a", "b", "c2"]
    assert [m.id for m in tree.path("b")] == ["a", "b"]


def test_siblings_have_the_same_parent_and_role() -> None:
    a, answer, again = stored("a", None), stored("b", "a", Role.ASSISTANT), stored("c", "a", Role.ASSISTANT)
    tree = Tree(conversation("c"), (a, answer, again, stored("d", "a")))
    assert [m.id for m in tree.siblings("b")] == ["b", "c"]
    assert tree.siblings("a") == (a,)


def test_latest_leaf_takes_the_newest_child() -> None:
    tree = Tree(conversation(None), (stored("a", None), stored("b", "a"), stored("c", "a"), stored("d", "b")))
    assert tree.latest_leaf("a") == "c"
    assert tree.latest_leaf("b") == "d"


@given(st.lists(st.integers(min_value=0, max_value=30), max_size=30))
def test_every_leaf_is_reached_from_a_root(parents: list[int]) -> None:
    messages: list[StoredMessage] = []
    for i, parent in enumerate(parents):
        messages.append(stored(str(i), str(parent) if parent < i else None))
    tree = Tree(conversation(None), tuple(messages))
    for message in messages:
        path = tree.path(message.id)
        assert path[0].parent_id is None
        assert path[-1] == message
        assert tree.path(tree.latest_leaf(message.id))[: len(path)] == path


def test_ids_are_unique_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert ids[0][:12] <= ids[-1][:12]


def test_text_of_a_message_is_what_a_person_reads() -> None:
    assert user("hello").text == "hello"
