"""What the model no longer sees: a line in the conversation, and the pins that make exceptions of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot
from tests.ui.test_transcript import asked, button, dialogue, said, tree

from inglenook.chat.events import AnswerEnded
from inglenook.core.conversation import MessageState
from inglenook.core.messages import TextPart
from inglenook.ui.panels.transcript import TranscriptPanel
from inglenook.ui.theme import Theme
from inglenook.ui.widgets.message_button import QuietButton
from inglenook.ui.widgets.unseen_marker import WORDS, UnseenMarker


@pytest.fixture
def panel(qtbot: QtBot, theme: Theme) -> TranscriptPanel:
    made = TranscriptPanel(theme)
    qtbot.addWidget(made)
    made.resize(900, 600)
    made.show()
    return made


def marker(panel: TranscriptPanel) -> UnseenMarker:
    (found,) = panel.findChildren(UnseenMarker)
    return found


def test_the_line_stands_below_what_is_no_longer_seen(panel: TranscriptPanel) -> None:
    panel.show_tree(tree(*dialogue(4, "short")))
    assert not marker(panel).isVisible()
    panel.show_unseen(["m0", "m1"])
    line, above, below = marker(panel), panel.view_of("m1"), panel.view_of("m2")
    assert above is not None
    assert below is not None
    assert line.isVisible()
    assert line.accessibleName() == WORDS
    assert above.geometry().bottom() <= line.y()
    assert line.geometry().bottom() <= below.y()
    panel.show_unseen([])
    assert not line.isVisible()
    assert below.y() < line.geometry().bottom(), "its place is given back"


def test_below_the_last_where_pinned_ones_are_in_between_and_not_at_the_end(panel: TranscriptPanel) -> None:
    panel.show_tree(tree(*dialogue(4, "short")))
    panel.show_unseen(["m0", "m2"])
    below = panel.view_of("m3")
    assert below is not None
    assert marker(panel).geometry().bottom() <= below.y()
    panel.show_unseen(["m0", "m3"])
    assert not marker(panel).isVisible(), "there is nothing below it yet"
    panel.show_unseen(["of another chat"])
    assert not marker(panel).isVisible()


def test_what_is_read_stays_where_it_is_when_the_line_comes(panel: TranscriptPanel) -> None:
    panel.show_tree(tree(*dialogue(40)))
    panel.verticalScrollBar().setValue(panel.verticalScrollBar().maximum() // 2)
    view = next(v for i in range(40) if (v := panel.view_of(f"m{i}")) is not None and 0 <= v.y() < 500)
    before = view.y()
    panel.show_unseen(["m0", "m1"])
    assert view.y() == before


def test_words_take_more_lines_in_a_narrow_window(panel: TranscriptPanel) -> None:
    panel.show_tree(tree(*dialogue(4, "short")))
    panel.show_unseen(["m0"])
    wide = marker(panel).height()
    panel.resize(320, 600)
    assert marker(panel).height() > wide


def test_pin_and_unpin(panel: TranscriptPanel, qtbot: QtBot) -> None:
    question, answer = asked("q", None, "Q"), said("a", "q", TextPart("A"))
    panel.show_tree(tree(question, answer))
    for name in ("q", "a"):
        view = panel.view_of(name)
        assert view is not None
        with qtbot.waitSignal(panel.pin_requested) as told:
            button(view, "Pin: the model sees it for ever").click()
        assert told.args == [name, True]
    panel.show_tree(tree(replace(question, pinned=True), answer))
    view = panel.view_of("q")
    assert view is not None
    unpin = button(view, "Unpin")
    assert unpin.isChecked()
    with qtbot.waitSignal(panel.pin_requested) as told:
        unpin.click()
    assert told.args == ["q", False]


def test_the_pin_of_an_answer_outlives_its_continuation(panel: TranscriptPanel) -> None:
    question = asked("q", None, "Q")
    answer = said("a", "q", TextPart("A"), state=MessageState.STREAMING, pinned=True)
    panel.show_tree(tree(question, answer))
    panel.handle(AnswerEnded("c", replace(answer, state=MessageState.COMPLETE, pinned=False)))
    panel._flush()
    view = panel.view_of("a")
    assert view is not None
    assert [b for b in view.findChildren(QuietButton) if b.accessibleName() == "Unpin"]
