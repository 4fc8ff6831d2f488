"""The line above the conversation."""

from __future__ import annotations

from pytestqt.qtbot import QtBot

from inglenook.ui.main_window import MainWindow
from inglenook.ui.panels.header import ElidedLabel
from inglenook.ui.theme import Theme


def test_a_long_title_gives_way(qtbot: QtBot, theme: Theme) -> None:
    label = ElidedLabel(theme)
    qtbot.addWidget(label)
    label.resize(120, 24)
    label.set_text("A title that is much longer than the place that there is for it " * 3)
    assert label.minimumSizeHint().width() == 0
    assert label.accessibleName().startswith("A title")
    long = label.grab().toImage()
    label.set_text("A title that is much longer than the place that there is for it, with another end")
    assert label.grab().toImage() == long  # what does not fit is not drawn


def test_a_title_is_drawn_from_the_side_where_it_begins(qtbot: QtBot, theme: Theme) -> None:
    label = ElidedLabel(theme)
    qtbot.addWidget(label)
    label.resize(400, 24)

    def middle_of_ink() -> float:
        image = label.grab().toImage()
        back = image.pixelColor(200, 0)
        inked = [x for x in range(image.width()) if any(image.pixelColor(x, y) != back for y in range(image.height()))]
        return sum(inked) / len(inked)

    label.set_text("Hello")
    assert middle_of_ink() < 200
    label.set_text("שלום")
    assert middle_of_ink() > 200


def test_new_chat_is_at_hand_while_the_sidebar_is_hidden(window: MainWindow) -> None:
    assert not window.header._new.isVisible()
    window.actions_.sidebar.trigger()
    assert window.header._new.isVisible()
    window.actions_.sidebar.trigger()
    assert not window.header._new.isVisible()


def test_the_menu_opens_below_its_button(window: MainWindow) -> None:
    window.actions_.open_menu.trigger()
    menu = window.header.menu_button.menu()
    assert menu.isVisible()
    menu.close()
