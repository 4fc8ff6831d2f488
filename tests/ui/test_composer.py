"""Keys, growth, drafts, and that text is never lost."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QMimeData, Qt
from PySide6.QtGui import QInputMethodEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton
from pytestqt.qtbot import QtBot

from inglenook.core.messages import Effort
from inglenook.ui.panels.composer import MAX_LINES, Composer
from inglenook.ui.theme import Theme


@pytest.fixture
def composer(qtbot: QtBot, theme: Theme) -> Composer:
    made = Composer(theme)
    qtbot.addWidget(made)
    made.resize(600, 300)
    made.show()
    made.activateWindow()
    made.focus_field()
    return made


def sent(composer: Composer) -> list[str]:
    texts: list[str] = []
    composer.send_requested.connect(texts.append)
    return texts


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Enter])
def test_enter_sends_and_clears(composer: Composer, key: Qt.Key) -> None:
    texts = sent(composer)
    QTest.keyClicks(composer.field, "hello")
    QTest.keyClick(composer.field, key)
    assert texts == ["hello"]
    assert composer.text() == ""


def test_shift_enter_breaks_the_line(composer: Composer) -> None:
    texts = sent(composer)
    QTest.keyClicks(composer.field, "a")
    QTest.keyClick(composer.field, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClicks(composer.field, "b")
    assert composer.text() == "a\nb"
    assert texts == []
    QTest.keyClick(composer.field, Qt.Key.Key_Return)
    assert texts == ["a\nb"]


def test_enter_belongs_to_an_input_method_that_composes(composer: Composer) -> None:
    texts = sent(composer)
    QTest.keyClicks(composer.field, "x")
    QApplication.sendEvent(composer.field, QInputMethodEvent("にほ", []))
    QTest.keyClick(composer.field, Qt.Key.Key_Return)
    assert texts == []
    commit = QInputMethodEvent("", [])
    commit.setCommitString("日本")
    QApplication.sendEvent(composer.field, commit)
    QTest.keyClick(composer.field, Qt.Key.Key_Return)
    assert [t.replace("\n", "") for t in texts] == ["x日本"]


@pytest.mark.parametrize("text", ["", "  ", "\n\n"])
def test_blank_text_is_not_sent(composer: Composer, text: str) -> None:
    texts = sent(composer)
    composer.field.setPlainText(text)
    assert not composer.button.isEnabled()
    QTest.keyClick(composer.field, Qt.Key.Key_Return)
    assert texts == []
    assert composer.text() == text


def test_while_answering_the_button_stops_and_enter_keeps_the_text(composer: Composer, qtbot: QtBot) -> None:
    texts = sent(composer)
    assert composer.button.accessibleName() == "Send the message"
    composer.set_answering(True)
    assert composer.button.accessibleName() == "Stop the answer"
    QTest.keyClicks(composer.field, "next")
    QTest.keyClick(composer.field, Qt.Key.Key_Return)
    assert (texts, composer.text()) == ([], "next")
    with qtbot.waitSignal(composer.stop_requested):
        composer.button.click()
    composer.set_answering(False)
    composer.button.click()
    assert texts == ["next"]


def test_grows_with_the_text_up_to_its_limit(composer: Composer, qtbot: QtBot) -> None:
    heights = []
    for lines in range(1, MAX_LINES + 4):
        composer.field.setPlainText("\n".join("x" * lines))
        heights.append(composer.field.height())
    assert heights[:MAX_LINES] == sorted(set(heights[:MAX_LINES]))
    assert set(heights[MAX_LINES - 1 :]) == {heights[MAX_LINES - 1]}
    composer.field.setPlainText("word " * 60)  # one paragraph that wraps
    assert composer.field.height() > heights[0]


def test_a_draft_is_announced_after_a_pause_or_at_once_when_flushed(composer: Composer, qtbot: QtBot) -> None:
    with qtbot.waitSignal(composer.draft_changed) as caught:
        QTest.keyClicks(composer.field, "dra")
    assert caught.args == ["dra"]
    QTest.keyClicks(composer.field, "ft")
    with qtbot.waitSignal(composer.draft_changed) as caught:
        composer.flush_draft()
    assert caught.args == ["draft"]
    with qtbot.assertNotEmitted(composer.draft_changed):
        composer.flush_draft()
        composer.set_text("restored")
        composer.flush_draft()


def test_text_that_could_not_be_sent_comes_back_before_what_was_typed_since(composer: Composer) -> None:
    composer.give_back("first")
    assert composer.text() == "first"
    composer.give_back("earlier")
    assert composer.text() == "earlier\nfirst"


def test_paste_is_plain_text(composer: Composer) -> None:
    data = QMimeData()
    data.setHtml("<b>bold</b>")
    data.setText("bold")
    composer.field.insertFromMimeData(data)
    assert composer.text() == "bold"
    image = QMimeData()
    image.setData("image/png", b"x")
    composer.field.insertFromMimeData(image)
    assert composer.text() == "bold"


def test_effort_is_a_row_of_choices(composer: Composer, qtbot: QtBot) -> None:
    buttons = composer.effort.findChildren(QPushButton)
    assert [b.text() for b in buttons] == ["Low", "Medium", "High"]
    with qtbot.waitSignal(composer.effort_chosen) as caught:
        buttons[2].click()
    assert caught.args == [Effort.HIGH]
    with qtbot.assertNotEmitted(composer.effort_chosen):
        composer.set_effort(Effort.LOW)
    assert buttons[0].isChecked()
    buttons[0].setFocus()
    with qtbot.waitSignal(composer.effort_chosen) as caught:
        QTest.keyClick(buttons[0], Qt.Key.Key_Right)
    assert caught.args == [Effort.MEDIUM]


def test_nothing_moves_when_the_field_gets_the_focus(composer: Composer, qtbot: QtBot) -> None:
    before = composer.field.geometry()
    composer.button.setEnabled(True)
    composer.button.setFocus()
    qtbot.wait(20)
    assert composer.field.geometry() == before
