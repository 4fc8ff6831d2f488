"""The greeting of a chat without messages."""

from __future__ import annotations

from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from inglenook.ui.panels.empty import PROMPTS, EmptyState
from inglenook.ui.theme import COLUMN, Theme


def prompts(empty: EmptyState) -> list[QPushButton]:
    return [b for b in empty.findChildren(QPushButton) if b.property("role") == "prompt"]


def test_each_question_is_asked_in_its_own_words(qtbot: QtBot, theme: Theme) -> None:
    empty = EmptyState()
    qtbot.addWidget(empty)
    buttons = prompts(empty)
    assert [b.text() for b in buttons] == list(PROMPTS)
    for button in buttons:
        with qtbot.waitSignal(empty.prompt_chosen) as caught:
            button.click()
        assert caught.args == [button.text()]


def test_is_never_wider_than_the_column(qtbot: QtBot, theme: Theme) -> None:
    empty = EmptyState()
    qtbot.addWidget(empty)
    empty.resize(3000, 800)
    empty.show()
    left, right = prompts(empty)[:2]
    assert right.mapTo(empty, right.rect().topRight()).x() - left.mapTo(empty, left.rect().topLeft()).x() <= COLUMN


def test_in_a_narrow_window_the_questions_are_below_each_other(qtbot: QtBot, theme: Theme) -> None:
    empty = EmptyState()
    qtbot.addWidget(empty)
    empty.resize(900, 800)
    empty.show()
    places = [button.x() for button in prompts(empty)]
    assert len(set(places)) == 2
    empty.resize(380, 800)
    qtbot.waitUntil(lambda: len({button.x() for button in prompts(empty)}) == 1)
    assert len({button.y() for button in prompts(empty)}) == len(PROMPTS)
