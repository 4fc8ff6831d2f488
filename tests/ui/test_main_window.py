"""What the window does when something is wanted and when something happens."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QAbstractItemModel, Qt, QUrl
from PySide6.QtGui import QAccessible, QAction, QShortcut
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QFileDialog,
    QLineEdit,
    QMessageBox,
    QPlainTextEdit,
    QPushButton,
    QWidget,
)
from pytestqt.qtbot import QtBot
from tests.ui.doubles import MemoryChats, MemoryModels
from tests.ui.shelf import MemoryShelf

from inglenook.chat.events import AnswerDelta, AnswerPartEnded, AnswerPartStarted, AnswerWaiting, Waiting
from inglenook.core.conversation import MessageState
from inglenook.core.errors import ErrorInfo
from inglenook.core.events import Channel
from inglenook.core.messages import Effort
from inglenook.core.paths import Paths
from inglenook.core.settings import Settings
from inglenook.library.events import ModelState, ModelStatus
from inglenook.library.remote.access_token import AccessToken
from inglenook.ui import main_window as module
from inglenook.ui.main_window import MainWindow
from inglenook.ui.theme import Theme
from inglenook.ui.widgets.segments import Segments

CONTROLS = (QAbstractButton, QLineEdit, QPlainTextEdit, QComboBox, QAbstractSpinBox, QAbstractItemView)


def settle(window: MainWindow) -> None:
    """Lets all that waits arrive, also what it leads to."""
    for _ in range(3):
        window.bridge.flush()


def type_and_send(window: MainWindow, text: str) -> str:
    QTest.keyClicks(window.composer.field, text)
    QTest.keyClick(window.composer.field, Qt.Key.Key_Return)
    settle(window)
    assert window.current is not None
    return window.current


class TestStart:
    def test_with_no_chats_a_new_one_waits_for_keys(self, window: MainWindow) -> None:
        assert window.current is not None
        assert QApplication.focusWidget() is window.composer.field

    def test_the_newest_chat_is_opened_with_its_draft(
        self,
        qtbot: QtBot,
        chats: MemoryChats,
        models: MemoryModels,
        shelf: MemoryShelf,
        settings: Settings,
        paths: Paths,
        theme: Theme,
    ) -> None:
        chats.add("Old", 3)
        newest = chats.add("New", 1, draft="half a thou")
        window = MainWindow(chats, models, shelf, AccessToken(settings), settings, paths, theme)
        qtbot.addWidget(window)
        QTest.keyClicks(window.composer.field, "x")  # before anything could be read
        settle(window)
        assert window.current == newest
        assert window.composer.text() == "half a thou\nx"
        assert window.windowTitle().startswith("New ")
        window.close()

    def test_place_is_remembered(
        self,
        qtbot: QtBot,
        window: MainWindow,
        chats: MemoryChats,
        models: MemoryModels,
        shelf: MemoryShelf,
        settings: Settings,
        paths: Paths,
        theme: Theme,
    ) -> None:
        window.resize(700, 500)
        window.actions_.sidebar.trigger()
        window.close()
        again = MainWindow(chats, models, shelf, AccessToken(settings), settings, paths, theme)
        qtbot.addWidget(again)
        again.show()
        assert (again.width(), again.height()) == (700, 500)
        assert again.sidebar.isHidden()
        again.close()


class TestAnswer:
    def test_send_streams_and_ends(self, window: MainWindow, chats: MemoryChats) -> None:
        here = type_and_send(window, "hello")
        assert chats.calls == [("send", here, "hello")]
        assert window.answering
        assert window.actions_.stop.isEnabled()
        assert window.composer.text() == ""
        chats.part(here, 0, Channel.FINAL, ["Hi ", "there"])
        chats.end(here)
        settle(window)
        assert not window.answering
        assert not window.actions_.stop.isEnabled()

    def test_escape_and_the_button_stop(self, window: MainWindow, chats: MemoryChats) -> None:
        for stop in (
            lambda: QTest.keyClick(window.composer.field, Qt.Key.Key_Escape),
            lambda: QTest.mouseClick(window.composer.button, Qt.MouseButton.LeftButton),
        ):
            here = type_and_send(window, "tell me")
            stop()
            settle(window)
            assert chats.calls[-1] == ("stop", here)
            assert not window.answering

    def test_a_refused_message_comes_back(self, window: MainWindow, chats: MemoryChats) -> None:
        chats.refusal = ErrorInfo("The disk is full. Make room and send again.")
        type_and_send(window, "precious words")
        assert window.composer.text() == "precious words"
        assert not window.answering
        assert window.toast.isVisible()

    def test_a_refused_message_of_another_chat_becomes_its_draft(self, window: MainWindow, chats: MemoryChats) -> None:
        here, other = window.current, chats.add("Other", draft="theirs")
        assert here is not None
        chats.refusal = ErrorInfo("The disk is full. Make room and send again.")
        QTest.keyClicks(window.composer.field, "precious")
        QTest.keyClick(window.composer.field, Qt.Key.Key_Return)
        window.sidebar.open_requested.emit(other)  # before the refusal arrives
        settle(window)
        assert chats.trees[here].conversation.draft == "precious"
        assert window.composer.text() == "theirs"

    def test_an_answer_elsewhere_does_not_block_this_chat(self, window: MainWindow, chats: MemoryChats) -> None:
        first = type_and_send(window, "one")
        window.actions_.new_chat.trigger()
        settle(window)
        assert window.current != first
        assert not window.answering
        chats.emit(AnswerPartStarted(first, chats.answer_id(first), 0, Channel.FINAL))
        settle(window)
        assert not window.answering
        window.sidebar.open_requested.emit(first)
        settle(window)
        assert window.answering

    def test_waiting_counts_as_answering(self, window: MainWindow, chats: MemoryChats) -> None:
        here = type_and_send(window, "one")
        chats.emit(AnswerWaiting(here, chats.answer_id(here), Waiting.LOADING, 0.5))
        settle(window)
        assert window.answering

    def test_answer_now_is_offered_only_while_it_thinks(self, window: MainWindow, chats: MemoryChats) -> None:
        def press() -> None:
            QTest.keyClick(window.composer.field, Qt.Key.Key_J, Qt.KeyboardModifier.ControlModifier)
            settle(window)

        here = type_and_send(window, "one")
        press()
        assert not window.actions_.answer_now.isVisible()
        assert ("answer_now", here) not in chats.calls
        message = chats.answer_id(here)
        chats.emit(AnswerPartStarted(here, message, 0, Channel.REASONING))
        settle(window)
        assert window.actions_.answer_now.isVisible()
        press()
        assert chats.calls[-1] == ("answer_now", here)
        window.transcript.answer_now_requested.emit()
        assert chats.calls.count(("answer_now", here)) == 2
        chats.emit(AnswerPartEnded(here, message, 0, 1.0))
        chats.emit(AnswerPartStarted(here, message, 1, Channel.FINAL))
        settle(window)
        press()
        assert not window.actions_.answer_now.isVisible()
        assert chats.calls.count(("answer_now", here)) == 2

    def test_answer_now_where_reasoning_goes_on(self, window: MainWindow, chats: MemoryChats) -> None:
        """After Continue no part begins."""
        here = type_and_send(window, "one")
        chats.part(here, 0, Channel.REASONING, ["Hm"])
        chats.open(here)
        chats.emit(AnswerWaiting(here, chats.answer_id(here), Waiting.READING))
        settle(window)
        assert not window.actions_.answer_now.isVisible()
        chats.emit(AnswerDelta(here, chats.answer_id(here), 0, ", well", 3))
        settle(window)
        assert window.actions_.answer_now.isVisible()

    def test_answer_now_is_of_the_chat_that_is_shown(self, window: MainWindow, chats: MemoryChats) -> None:
        first = type_and_send(window, "one")
        chats.emit(AnswerPartStarted(first, chats.answer_id(first), 0, Channel.REASONING))
        settle(window)
        window.actions_.new_chat.trigger()
        settle(window)
        assert not window.actions_.answer_now.isVisible()

    def test_example_prompts_are_sent(self, window: MainWindow, chats: MemoryChats) -> None:
        prompt = next(b for b in window.findChildren(QPushButton) if b.text() == "What can you do?")
        prompt.click()
        settle(window)
        assert chats.calls == [("send", window.current, "What can you do?")]

    def test_requests_of_the_transcript_reach_the_chat(self, window: MainWindow, chats: MemoryChats) -> None:
        here = window.current
        window.transcript.edit_requested.emit("m1", "better")
        window.transcript.regenerate_requested.emit("m2", "")
        window.transcript.regenerate_requested.emit("m2", "high")
        window.transcript.continue_requested.emit("m2")
        window.transcript.sibling_requested.emit("m3")
        assert chats.calls == [
            ("edit", here, "m1", "better"),
            ("regenerate", here, "m2", None),
            ("regenerate", here, "m2", Effort.HIGH),
            ("continue_answer", here, "m2"),
            ("show_sibling", here, "m3"),
        ]


class TestChats:
    def test_new_chat_only_if_this_one_has_begun(self, window: MainWindow, chats: MemoryChats) -> None:
        empty = window.current
        QTest.keyClick(window, Qt.Key.Key_N, Qt.KeyboardModifier.ControlModifier)
        settle(window)
        assert window.current == empty
        type_and_send(window, "hello")
        QTest.keyClick(window, Qt.Key.Key_N, Qt.KeyboardModifier.ControlModifier)
        settle(window)
        assert window.current != empty

    def test_drafts_stay_with_their_chats(self, window: MainWindow, chats: MemoryChats) -> None:
        first, other = window.current, chats.add("Other", draft="theirs")
        QTest.keyClicks(window.composer.field, "mine")
        window.sidebar.open_requested.emit(other)
        settle(window)
        assert window.composer.text() == "theirs"
        window.sidebar.open_requested.emit(first)
        settle(window)
        assert window.composer.text() == "mine"

    def test_a_change_of_the_tree_leaves_what_is_typed(self, window: MainWindow, chats: MemoryChats) -> None:
        assert window.current is not None
        QTest.keyClicks(window.composer.field, "typing")
        chats.rename(window.current, "Named")
        settle(window)
        assert window.composer.text() == "typing"
        assert window.windowTitle().startswith("Named ")

    def test_delete_and_undo(self, window: MainWindow, chats: MemoryChats) -> None:
        other = chats.add("Other", 1)
        chats.list_chats()
        here = type_and_send(window, "hello")
        window.actions_.delete.trigger()
        settle(window)
        assert chats.trees[here].conversation.deleted
        assert window.current == other
        assert window.toast.isVisible()
        window.toast.findChild(QPushButton).click()
        settle(window)
        assert not chats.trees[here].conversation.deleted
        assert window.current == here

    def test_deleting_the_last_chat_begins_a_new_one(self, window: MainWindow, chats: MemoryChats) -> None:
        here = type_and_send(window, "hello")
        window.actions_.delete.trigger()
        settle(window)
        assert window.current not in (here, None)

    def test_rename_by_f2(self, window: MainWindow, chats: MemoryChats, qtbot: QtBot) -> None:
        here = type_and_send(window, "hello")
        QTest.keyClick(window, Qt.Key.Key_F2)
        editor = window.sidebar.list.viewport().findChild(QLineEdit)
        editor.selectAll()
        QTest.keyClicks(editor, "Greeting")
        QTest.keyClick(editor, Qt.Key.Key_Return)
        qtbot.waitUntil(lambda: chats.trees[here].conversation.title == "Greeting")

    def test_a_late_tree_of_another_chat_is_not_shown(self, window: MainWindow, chats: MemoryChats) -> None:
        here, other = window.current, chats.add("Other", draft="no")
        chats._change(other, effort=Effort.HIGH)
        settle(window)
        assert window.current == here
        assert window.composer.text() == ""
        assert window.composer.effort.value() is Effort.MEDIUM

    def test_effort_belongs_to_the_chat(self, window: MainWindow, chats: MemoryChats) -> None:
        here, other = window.current, chats.add("Other")
        assert here is not None
        high = next(b for b in window.composer.effort.findChildren(QPushButton) if b.text() == "High")
        high.click()
        assert chats.trees[here].conversation.effort is Effort.HIGH
        window.sidebar.open_requested.emit(other)
        settle(window)
        assert window.composer.effort.value() is Effort.MEDIUM


class TestModel:
    def test_status_is_shown_and_actions_reach_the_service(
        self, window: MainWindow, models: MemoryModels, tmp_path: Path
    ) -> None:
        models.tell(ModelStatus(ModelState.FAILED, "x", error=ErrorInfo("It is cut off.")))
        settle(window)
        assert window.status.isVisible()
        window.actions_.retry_model.trigger()
        window.actions_.use_demo.trigger()
        window.actions_.choose_model.trigger()
        dialog = window.findChild(QFileDialog)
        dialog.fileSelected.emit(str(tmp_path / "m.gguf"))
        dialog.close()
        assert models.calls == [("retry",), ("use_demo",), ("use_file", tmp_path / "m.gguf")]


class TestKeysAndNames:
    def test_shortcuts_are_unique(self, window: MainWindow) -> None:
        keys = [key.toString() for action in window.findChildren(QAction) for key in action.shortcuts()]
        keys += [shortcut.key().toString() for shortcut in window.findChildren(QShortcut)]
        assert len(keys) == len(set(keys))
        assert {"Ctrl+N", "Esc", "Ctrl+,", "Ctrl+F", "Ctrl+L", "F9", "Ctrl+Q", "F2", "Ctrl+O", "F10"} <= set(keys)

    def test_every_control_has_a_name(self, window: MainWindow) -> None:
        type_and_send(window, "hello")
        window.actions_.settings.trigger()
        window.actions_.about.trigger()
        window.actions_.open_menu.trigger()
        window.toast.show_notice("Deleted.", "&Undo", lambda: None)
        for root in (window, *window.findChildren(QDialog)):
            nameless = [w for w in root.findChildren(QWidget) if _is_control(w) and not _spoken(w)]
            assert [f"{type(w).__name__} {w.objectName()} in {type(w.parent()).__name__}" for w in nameless] == []
        for dialog in window.findChildren(QDialog):
            dialog.close()
        window.header.menu_button.menu().close()

    def test_keys_move_the_focus(self, window: MainWindow) -> None:
        QTest.keyClick(window, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
        assert QApplication.focusWidget() is window.sidebar.filter
        QTest.keyClick(window, Qt.Key.Key_L, Qt.KeyboardModifier.ControlModifier)
        assert QApplication.focusWidget() is window.composer.field
        QTest.keyClick(window, Qt.Key.Key_F9)
        assert window.sidebar.isHidden()
        QTest.keyClick(window, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
        assert window.sidebar.isVisible()
        assert QApplication.focusWidget() is window.sidebar.filter

    def test_escape_in_the_filter_does_not_stop_the_answer(self, window: MainWindow, chats: MemoryChats) -> None:
        type_and_send(window, "hello")
        window.sidebar.focus_filter()
        QTest.keyClicks(window.sidebar.filter, "hel")
        QTest.keyClick(window.sidebar.filter, Qt.Key.Key_Escape)
        assert window.answering
        assert window.sidebar.filter.text() == ""

    def test_tab_goes_round_through_all(self, window: MainWindow) -> None:
        seen: list[QWidget] = []
        for _ in range(60):
            QTest.keyClick(QApplication.focusWidget() or window, Qt.Key.Key_Tab)
            seen.append(QApplication.focusWidget())
        assert {window.composer.field, window.sidebar.filter, window.sidebar.list, window.header.menu_button} <= set(
            seen
        )
        assert len(set(seen)) < 40  # it came round


class TestEdges:
    @pytest.mark.parametrize(("width", "height"), [(560, 400), (800, 500), (3840, 2160)])
    def test_nothing_is_cut_off(self, window: MainWindow, width: int, height: int, qtbot: QtBot) -> None:
        window.resize(width, height)
        qtbot.wait(20)
        area = window.rect()
        for widget in (window.composer.button, window.composer.field, window.header.menu_button, window.header.chip):
            assert area.contains(widget.rect().translated(widget.mapTo(window, widget.rect().topLeft())))

    def test_links_of_other_kinds_are_not_opened(self, window: MainWindow, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[QUrl] = []
        monkeypatch.setattr(module.QDesktopServices, "openUrl", lambda url: opened.append(url))
        for address in ("https://example.org/a", "mailto:a@example.org", "file:///etc/passwd", "javascript:x", "calc"):
            window.transcript.link_activated.emit(address)
        assert [url.scheme() for url in opened] == ["https", "mailto"]

    def test_about(self, window: MainWindow) -> None:
        window.actions_.about.trigger()
        box = window.findChild(QMessageBox)
        assert "Inglenook" in box.text()
        box.close()

    def test_closing_keeps_the_draft_and_ends_the_subscriptions(
        self, window: MainWindow, chats: MemoryChats, models: MemoryModels
    ) -> None:
        here = window.current
        assert here is not None
        QTest.keyClicks(window.composer.field, "not yet")
        window.close()
        assert chats.trees[here].conversation.draft == "not yet"
        assert chats.listeners == models.listeners == []

    def test_a_stopped_chat_can_be_continued(self, window: MainWindow, chats: MemoryChats) -> None:
        here = type_and_send(window, "one")
        chats.end(here, MessageState.INTERRUPTED)
        settle(window)
        type_and_send(window, "two")
        assert chats.calls[-1] == ("send", here, "two")


def _spoken(widget: QWidget) -> str:
    """What a screen reader calls it."""
    return QAccessible.queryAccessibleInterface(widget).text(QAccessible.Text.Name)


def _is_control(widget: QWidget) -> bool:
    if widget.objectName().startswith("qt_") or isinstance(widget.parentWidget(), (QComboBox, QAbstractSpinBox)):
        return False  # inside of Qt's own
    if isinstance(widget.parent(), QLineEdit) or isinstance(widget, QFileDialog):
        return False
    return isinstance(widget, (*CONTROLS, Segments)) and not isinstance(widget, QAbstractItemModel)
