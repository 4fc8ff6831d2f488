"""What lies in the bin, in the Models dialog."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QFrame, QMessageBox, QPushButton
from tests.ui.shelf import MemoryShelf
from tests.ui.test_model_desk import press, texts

from inglenook.library.files.bin import Binned
from inglenook.library.files.usage import Usage
from inglenook.library.shelf_events import Emptied, Restored
from inglenook.ui.dialogs.models import ModelsDialog
from inglenook.ui.main_window import MainWindow

OURS = Binned("1", "mine", 12_000_000_000, 0.0, ours=True)
KEPT = Binned("2", "of a command", 3_000_000, 1_800_000_000.0, ours=False)
THEIRS = Binned("3", "of a window", 5_000_000, 0.0, ours=False)


@pytest.fixture
def dialog(window: MainWindow, shelf: MemoryShelf) -> ModelsDialog:
    window.desk.open_models()
    assert window.desk._dialog is not None
    shelf.change(usage=Usage(bin=(OURS, KEPT, THEIRS)))
    window.bridge.flush()
    shelf.calls.clear()
    return window.desk._dialog


def restores(dialog: ModelsDialog) -> list[QPushButton]:
    return [b for b in dialog.bin.findChildren(QPushButton) if b.isVisible() and b is not dialog.bin.empty]


def test_each_says_until_when_and_what_can_return_does_by_key(dialog: ModelsDialog, shelf: MemoryShelf) -> None:
    said = texts(dialog.bin)
    assert "12.0 GB · can be brought back until another model is deleted or Inglenook is closed" in said
    assert "3 MB · can be brought back until " in said
    assert "5 MB · can be brought back by the window that deleted it" in said
    assert [b.accessibleName() for b in restores(dialog)] == ["Restore mine", "Restore of a command"]
    cards = [f for f in dialog.bin.findChildren(QFrame) if f.objectName() == "card"]
    assert [card.accessibleName() for card in cards] == ["mine", "of a command", "of a window"]
    assert all("can be brought back" in card.accessibleDescription() for card in cards)
    for button in restores(dialog):
        press(button)
    assert shelf.calls == [("undo_delete", "1"), ("undo_delete", "2")]


def test_an_empty_bin_is_not_shown_and_the_focus_is_not_lost(
    window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf
) -> None:
    first, second = restores(dialog)
    second.setFocus()
    shelf.change(free=1)
    window.bridge.flush()
    assert restores(dialog) == [first, second]
    assert dialog.focusWidget() is second
    shelf.change(usage=Usage(bin=(OURS,)))
    window.bridge.flush()
    assert dialog.focusWidget() is dialog.bin.empty
    shelf.change(usage=Usage())
    window.bridge.flush()
    assert not dialog.bin.isVisible()


@pytest.mark.parametrize("sure", [True, False])
def test_it_is_emptied_after_a_question(dialog: ModelsDialog, shelf: MemoryShelf, sure: bool) -> None:
    press(dialog.bin.empty)
    box = dialog.findChild(QMessageBox)
    assert box is not None
    assert "12.0 GB of room" in box.informativeText()
    (wanted,) = (b for b in box.buttons() if b.text() == ("Remove them" if sure else "Keep them"))
    assert (box.defaultButton() is wanted) != sure
    wanted.click()
    assert shelf.calls == ([("empty_bin",)] if sure else [])


def test_what_came_of_it_is_said(window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf) -> None:
    shelf.emit(Restored("mine", window.desk._shelf.status().folder))
    window.bridge.flush()
    assert "mine is back." in texts(dialog.toast)
    shelf.emit(Emptied(12_000_000_000))
    window.bridge.flush()
    assert "12.0 GB more room" in texts(dialog.toast)
