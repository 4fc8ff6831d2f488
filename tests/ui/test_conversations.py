"""The list model: order, filter, groups, and changes row by row."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QPersistentModelIndex, Qt
from PySide6.QtTest import QAbstractItemModelTester
from pytestqt.qtbot import QtBot

from inglenook.core.conversation import Conversation
from inglenook.ui.models.conversations import ConversationModel, section_of, title_of


def conversation(name: str, title: str | None = None, updated: float = 0.0) -> Conversation:
    return Conversation(name, name if title is None else title, 0.0, updated, "2026-01-01")


def titles(model: ConversationModel) -> list[str]:
    return [model.data(model.index(row)) for row in range(model.rowCount())]  # type: ignore[misc]


@pytest.fixture
def model(qtbot: QtBot) -> ConversationModel:
    """A model under Qt's own tester, which fails on any inconsistent signal."""
    made = ConversationModel()
    QAbstractItemModelTester(made, QAbstractItemModelTester.FailureReportingMode.Fatal, made)
    return made


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lists=st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True), min_size=1, max_size=6))
def test_shows_each_list_whatever_was_before(model: ConversationModel, lists: list[list[str]]) -> None:
    for names in lists:
        kept = {title: QPersistentModelIndex(model.index(row)) for row, title in enumerate(titles(model))}
        model.set_conversations([conversation(name) for name in names])
        assert titles(model) == names
        for title, index in kept.items():  # a view's selection and editor go with their rows
            assert index.row() == (names.index(title) if title in names else -1)


def test_a_moved_row_keeps_its_persistent_index(model: ConversationModel) -> None:
    model.set_conversations([conversation(name) for name in "abc"])
    kept = QPersistentModelIndex(model.index(2))
    resets: list[None] = []
    model.modelReset.connect(lambda: resets.append(None))
    model.set_conversations([conversation(name) for name in "cab"])
    assert kept.row() == 0
    assert resets == []


def test_many_changes_are_one_reset(model: ConversationModel) -> None:
    resets: list[None] = []
    model.modelReset.connect(lambda: resets.append(None))
    model.set_conversations([conversation(str(number)) for number in range(500)])
    assert model.rowCount() == 500
    assert len(resets) == 1


def test_filter_takes_all_words_in_any_case(model: ConversationModel) -> None:
    model.set_conversations(
        [conversation("1", "Über den Fluss"), conversation("2", "The river"), conversation("3", "")]
    )
    for text, expected in (
        ("FLUSS über", ["Über den Fluss"]),
        ("river", ["The river"]),
        ("x", []),
        ("new", ["New chat"]),
    ):
        model.set_filter(text)
        assert titles(model) == expected
    model.set_filter(" ")
    assert model.rowCount() == 3
    assert model.row_of("2") == 1
    assert model.row_of("none") == -1


def test_rename_is_asked_for_not_done(model: ConversationModel, qtbot: QtBot) -> None:
    model.set_conversations([conversation("1", "Old")])
    with qtbot.waitSignal(model.renamed) as caught:
        assert model.setData(model.index(0), "  New \n title ")
    assert caught.args == ["1", "New title"]
    with qtbot.assertNotEmitted(model.renamed):
        assert not model.setData(model.index(0), "   ")
        assert model.setData(model.index(0), "Old")


def test_groups_begin_where_the_day_changes(model: ConversationModel) -> None:
    now = datetime.datetime.now().astimezone()
    days = [0, 0, 1, 3, 4, 20, 400]
    model.set_conversations(
        [conversation(str(n), updated=(now - datetime.timedelta(days=d)).timestamp()) for n, d in enumerate(days)]
    )
    sections = [model.data(model.index(row), ConversationModel.SECTION) for row in range(len(days))]
    year = str((now - datetime.timedelta(days=400)).year)
    assert sections == ["Today", "", "Yesterday", "Last 7 days", "", "Last 30 days", year]


@pytest.mark.parametrize(
    ("days", "section"), [(-1, "Today"), (0, "Today"), (1, "Yesterday"), (6, "Last 7 days"), (7, "Last 30 days")]
)
def test_sections(days: int, section: str) -> None:
    noon = datetime.datetime(2026, 6, 15, 12).astimezone()
    assert section_of((noon - datetime.timedelta(days=days)).timestamp(), noon.date()) == section


def test_titles_are_one_line(model: ConversationModel) -> None:
    assert title_of(conversation("1", " a\nb\t c ")) == "a b c"
    assert title_of(conversation("1", " \n")) == "New chat"


def test_a_screen_reader_hears_title_and_day(model: ConversationModel) -> None:
    now = datetime.datetime.now().astimezone()
    model.set_conversations([conversation("1", "Moons", now.timestamp())])
    assert model.data(model.index(0), Qt.ItemDataRole.AccessibleTextRole) == f"Moons, Today, {now:%H:%M}"
