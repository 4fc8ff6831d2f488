"""A row of choices."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QFont, QFontMetrics
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton
from pytestqt.qtbot import QtBot

from inglenook.ui.widgets.segments import Segments


@pytest.fixture
def segments(qtbot: QtBot) -> Segments:
    made = Segments("Size", [(1, "Small"), (2, "Middle"), (3, "Large")])
    qtbot.addWidget(made)
    made.show()
    made.activateWindow()
    return made


def test_exactly_one_is_taken(segments: Segments, qtbot: QtBot) -> None:
    assert segments.value() == 1
    buttons = segments.findChildren(QPushButton)
    with qtbot.waitSignal(segments.chosen) as caught:
        buttons[2].click()
    assert caught.args == [3]
    assert [b.isChecked() for b in buttons] == [False, False, True]
    buttons[2].click()  # a second press does not take it away
    assert segments.value() == 3


def test_the_bold_label_of_the_one_that_is_taken_has_room(segments: Segments) -> None:
    for button in segments.findChildren(QPushButton):
        bold = QFont(button.font())
        bold.setWeight(QFont.Weight.DemiBold)
        wider = QFontMetrics(bold).horizontalAdvance(button.text()) - button.fontMetrics().horizontalAdvance(
            button.text()
        )
        assert wider > 0
        assert button.width() >= QPushButton.sizeHint(button).width() + wider


def test_setting_a_value_is_not_choosing(segments: Segments, qtbot: QtBot) -> None:
    with qtbot.assertNotEmitted(segments.chosen):
        segments.set_value(2)
    assert segments.value() == 2
    with pytest.raises(ValueError, match="9"):
        segments.set_value(9)


def test_focus_goes_to_the_one_that_is_taken_and_arrows_move(segments: Segments, qtbot: QtBot) -> None:
    segments.set_value(2)
    segments.setFocus()
    focused = QApplication.focusWidget()
    assert focused is segments.findChildren(QPushButton)[1]
    with qtbot.waitSignal(segments.chosen) as caught:
        QTest.keyClick(focused, Qt.Key.Key_Right)
    assert caught.args == [3]


def test_names_say_what_and_which(segments: Segments) -> None:
    assert segments.accessibleName() == "Size"
    assert [b.accessibleName() for b in segments.findChildren(QPushButton)] == [
        "Size: Small",
        "Size: Middle",
        "Size: Large",
    ]
