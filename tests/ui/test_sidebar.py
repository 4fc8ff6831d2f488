"""The list of conversations, by keyboard and by signals."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit, QMenu
from pytestqt.qtbot import QtBot

from inglenook.core.conversation import Conversation
from inglenook.ui.panels.sidebar import Sidebar
from inglenook.ui.theme import Theme

TITLES = {"a": "Apples", "b": "Bread and butter", "c": "שלום"}


@pytest.fixture
def sidebar(qtbot: QtBot, theme: Theme) -> Sidebar:
    made = Sidebar(theme)
    qtbot.addWidget(made)
    made.resize(260, 500)
    made.show_conversations([Conversation(i, title, 0.0, 1.8e9, "2026-01-01") for i, title in TITLES.items()])
    made.show_current("a")
    made.show()
    made.activateWindow()
    return made


def selected(sidebar: Sidebar) -> str:
    return sidebar.model.id_at(sidebar.list.currentIndex().row())


def test_showing_a_conversation_selects_it_without_asking_for_it(sidebar: Sidebar, qtbot: QtBot) -> None:
    with qtbot.assertNotEmitted(sidebar.open_requested):
        sidebar.show_current("b")
    assert selected(sidebar) == "b"
    with qtbot.assertNotEmitted(sidebar.open_requested):
        sidebar.show_current("not in the list")
    assert not sidebar.list.currentIndex().isValid()


def test_arrow_keys_open_and_enter_goes_to_write(sidebar: Sidebar, qtbot: QtBot) -> None:
    sidebar.list.setFocus()
    with qtbot.waitSignal(sidebar.open_requested) as caught:
        QTest.keyClick(sidebar.list, Qt.Key.Key_Down)
    assert caught.args == ["b"]
    with qtbot.waitSignal(sidebar.write_requested):
        QTest.keyClick(sidebar.list, Qt.Key.Key_Return)


def test_selection_and_order_survive_a_new_list(sidebar: Sidebar, qtbot: QtBot) -> None:
    sidebar.show_current("c")
    with qtbot.assertNotEmitted(sidebar.open_requested):
        sidebar.show_conversations(tuple(reversed(sidebar.model.conversations())))
    assert selected(sidebar) == "c"
    assert sidebar.list.currentIndex().row() == 0


def test_filter(sidebar: Sidebar, qtbot: QtBot) -> None:
    sidebar.focus_filter()
    with qtbot.assertNotEmitted(sidebar.open_requested):
        QTest.keyClicks(sidebar.filter, "butter")
    assert [sidebar.model.id_at(r) for r in range(sidebar.model.rowCount())] == ["b"]
    QTest.keyClicks(sidebar.filter, "xyz")
    assert sidebar.model.rowCount() == 0
    assert "No chat" in sidebar._empty.text()
    assert sidebar._empty.isVisible()
    QTest.keyClick(sidebar.filter, Qt.Key.Key_Escape)
    assert sidebar.filter.text() == ""
    assert selected(sidebar) == "a"
    assert not sidebar._empty.isVisible()


def test_down_leads_from_the_filter_to_the_list(sidebar: Sidebar, qtbot: QtBot) -> None:
    sidebar.focus_filter()
    QTest.keyClick(sidebar.filter, Qt.Key.Key_Down)
    assert QApplication.focusWidget() is sidebar.list


def test_rename_in_place(sidebar: Sidebar, qtbot: QtBot) -> None:
    sidebar.start_rename("b")
    editor = sidebar.list.viewport().findChild(QLineEdit)
    assert editor.text() == TITLES["b"]
    editor.selectAll()
    QTest.keyClicks(editor, "Toast")
    sidebar.show_conversations(tuple(reversed(sidebar.model.conversations())))  # an answer ended meanwhile
    with qtbot.waitSignal(sidebar.rename_requested) as caught:
        QTest.keyClick(editor, Qt.Key.Key_Return)
    assert caught.args == ["b", "Toast"]


def test_escape_leaves_the_title(sidebar: Sidebar, qtbot: QtBot) -> None:
    sidebar.start_rename("b")
    editor = sidebar.list.viewport().findChild(QLineEdit)
    with qtbot.assertNotEmitted(sidebar.rename_requested):
        QTest.keyClicks(editor, "zzz")
        QTest.keyClick(editor, Qt.Key.Key_Escape)


def test_rename_shows_a_chat_that_the_filter_hides(sidebar: Sidebar) -> None:
    sidebar.filter.setText("apples")
    sidebar.start_rename("c")
    assert sidebar.filter.text() == ""
    assert sidebar.list.viewport().findChild(QLineEdit) is not None


def test_delete_key_asks(sidebar: Sidebar, qtbot: QtBot) -> None:
    with qtbot.waitSignal(sidebar.delete_requested) as caught:
        QTest.keyClick(sidebar.list, Qt.Key.Key_Delete)
    assert caught.args == ["a"]


def test_context_menu_acts_on_the_row_under_the_pointer(sidebar: Sidebar, qtbot: QtBot) -> None:
    at = sidebar.list.visualRect(sidebar.model.index(1)).center()
    sidebar.list.customContextMenuRequested.emit(at)
    menu = sidebar.findChild(QMenu)
    rename, delete = menu.actions()
    with qtbot.waitSignal(sidebar.delete_requested) as caught:
        delete.trigger()
    assert caught.args == ["b"]
    rename.trigger()
    assert sidebar.list.viewport().findChild(QLineEdit).text() == TITLES["b"]
    menu.close()


def test_neighbours(sidebar: Sidebar) -> None:
    assert [sidebar.neighbour_of(i) for i in "abc"] == ["b", "c", "b"]
    sidebar.show_conversations(sidebar.model.conversations()[:1])
    assert sidebar.neighbour_of("a") is None


def test_new_chat_button(sidebar: Sidebar, qtbot: QtBot) -> None:
    with qtbot.waitSignal(sidebar.new_requested):
        sidebar._new.click()
