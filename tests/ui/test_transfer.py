"""Copying models here and moving them, in the window."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QFileDialog, QLabel, QMenu, QPushButton
from tests.ui.doubles import MemoryModels
from tests.ui.shelf import MemoryShelf
from tests.ui.test_model_desk import OURS, THEIRS, press, texts

from inglenook.core.errors import ErrorInfo
from inglenook.core.settings import MODEL_FILE, Settings
from inglenook.library.catalogue import Format
from inglenook.library.files.bin import Binned
from inglenook.library.files.found import Found
from inglenook.library.files.transfers import Stage, TransferStatus, What
from inglenook.library.files.usage import Usage
from inglenook.library.shelf_events import OWN, Transferred
from inglenook.ui.dialogs.models import ModelsDialog
from inglenook.ui.main_window import MainWindow
from inglenook.ui.panels.transfer import TransferRow, words_of

CHOSEN = Found(Path("/stick/mine.gguf"), "", "mine", 12_000_000_000, (Path("/stick/mine.gguf"),))
AWAY = Found(Path("/drive/a.gguf"), OWN, "away", 5, problem=ErrorInfo("On a drive that is not connected."))
CHECKPOINT = Found(Path("/models/c/config.json"), OWN, "checkpoint", 13_800_000_000, (Path("/models/c/config.json"),))
CACHED = replace(CHECKPOINT, path=Path("/cache/config.json"), owner="Hugging Face", title="cached")
COPYING = TransferStatus(
    What.IMPORT, Stage.COPYING, CHOSEN.path, "mine", 3_000_000_000, 12_000_000_000, 150e6, 60.0
)  # fmt: skip


@pytest.fixture
def dialog(window: MainWindow, shelf: MemoryShelf) -> ModelsDialog:
    window.actions_.models.trigger()
    found = window.findChild(ModelsDialog)
    assert isinstance(found, ModelsDialog)
    shelf.change(here=(OURS, THEIRS, CHOSEN, AWAY))
    window.bridge.flush()
    shelf.calls.clear()
    return found


def chosen(dialog: ModelsDialog, folder: Path) -> None:
    """The user takes `folder` in the open dialog of files."""
    found = dialog.findChild(QFileDialog)
    assert isinstance(found, QFileDialog)
    found.fileSelected.emit(str(folder))
    found.close()


def test_what_can_be_done_with_each(dialog: ModelsDialog) -> None:
    def offered(model: Found) -> list[str]:
        buttons = dialog.row(f"here {model.path}").findChildren(QPushButton)
        return [button.text() for button in buttons if button.isVisible()]

    assert offered(OURS) == ["Use", "Move…", "Delete"]
    assert offered(THEIRS) == ["Use", "Copy here"]
    assert offered(CHOSEN) == ["Use", "Copy here", "Move…"]
    assert offered(AWAY) == ["Forget"]
    assert "not connected" in dialog.row(f"here {AWAY.path}").about()
    names = [b.accessibleName() for b in dialog.findChildren(QPushButton) if b.isVisible()]
    assert all(names)
    assert len(names) == len(set(names))


def test_a_checkpoint_is_converted_copied_moved_and_deleted_from_its_row(
    window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf, tmp_path: Path
) -> None:
    broken = replace(CACHED, path=Path("/broken/config.json"), title="broken", problem=ErrorInfo("It is cut off."))
    offers = tuple(
        replace(o, path=CHECKPOINT.place) if o.entry.format is Format.SAFETENSORS else o for o in shelf.now.offers
    )
    key = next(f"offer {o.entry.key}" for o in offers if o.path is not None)
    shelf.change(checkpoints=(CHECKPOINT, CACHED, broken), offers=offers)
    window.bridge.flush()
    shelf.calls.clear()
    row, cached, bad = (dialog.row(f"here {one.path}") for one in (CHECKPOINT, CACHED, broken))
    with pytest.raises(KeyError):  # it is here, not to be got as well
        dialog.row(key)
    assert row.about().splitlines()[-1] == "/models/c"
    assert "Convert makes a model of it" in row.accessibleDescription()
    assert "It is cut off." in bad.about()
    visible = [[b.text() for b in one.findChildren(QPushButton) if b.isVisible()] for one in (row, cached, bad)]
    assert visible == [["Convert", "Move…", "Delete"], ["Convert", "Copy here"], []]
    assert row.button.accessibleName() == "Convert checkpoint"
    press(row.button)
    press(cached.copying)
    press(row.remove)
    press(row.moving)
    chosen(dialog, tmp_path)
    assert shelf.calls == [
        ("convert", CHECKPOINT.place, None),
        ("import_model", CACHED.path),
        ("delete", CHECKPOINT),
        ("move", CHECKPOINT, tmp_path),
    ]


def test_a_checkpoint_that_came_is_offered_to_be_converted(
    window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf
) -> None:
    shelf.emit(Transferred(replace(COPYING, stage=Stage.FINISHED, path=CHECKPOINT.path), used=False))
    window.bridge.flush()
    assert "to be converted" in texts(dialog.toast)
    press(dialog.toast.findChildren(QPushButton)[0])
    assert shelf.calls == [("convert", CHECKPOINT.place, None)]


def test_copy_move_and_where_to(dialog: ModelsDialog, shelf: MemoryShelf, tmp_path: Path) -> None:
    press(dialog.row(f"here {THEIRS.path}").copying)
    press(dialog.row(f"here {OURS.path}").moving)
    chosen(dialog, tmp_path)
    assert shelf.calls == [("import_model", THEIRS.path), ("move", OURS, tmp_path)]


@pytest.mark.parametrize("number", [0, 1])
def test_a_file_or_a_stick_by_keys(dialog: ModelsDialog, shelf: MemoryShelf, tmp_path: Path, number: int) -> None:
    (menu,) = dialog.findChildren(QMenu)
    menu.popup(dialog.mapToGlobal(dialog.rect().center()))
    for _ in range(number + 1):
        QTest.keyClick(menu, Qt.Key.Key_Down)
    QTest.keyClick(menu, Qt.Key.Key_Return)
    chosen(dialog, tmp_path)
    assert shelf.calls == [("import_model", tmp_path)]


def test_the_job_is_shown_in_window_and_dialog_until_it_ends(
    window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf
) -> None:
    rows: list[TransferRow] = [window.desk.transfers.bar, dialog.transfer]
    assert not any(row.isVisible() for row in rows)
    shelf.change(transfer=COPYING)
    window.bridge.flush()
    assert {row.words() for row in rows} == {"25% · 150 MB a second · about a minute left"}
    assert "Copying mine" in texts(dialog.transfer)
    assert dialog.transfer.cancel.accessibleName() == "Cancel: copying or moving mine"
    press(dialog.transfer.cancel)
    assert shelf.calls == [("cancel_transfer",)]
    shelf.change(transfer=None)
    window.bridge.flush()
    assert not any(row.isVisible() for row in rows)


def test_a_failure_stays_until_it_is_closed(window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf) -> None:
    shelf.change(transfer=replace(COPYING, stage=Stage.FAILED, error=ErrorInfo("The stick is gone.")))
    window.bridge.flush()
    assert dialog.transfer.words() == "The stick is gone."
    assert dialog.transfer.cancel.text() == "Close"
    press(dialog.transfer.cancel)
    assert shelf.calls == [("cancel_transfer",)]


def test_words_of_each_stage() -> None:
    assert "Looking at it" in words_of(replace(COPYING, stage=Stage.LOOKING))
    back = words_of(replace(COPYING, what=What.MOVE, stage=Stage.CHECKING, done=9_000_000_000))
    assert back.startswith("75% · Reading back")


def test_what_came_of_it_is_said_and_can_be_used(
    window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf, models: MemoryModels
) -> None:
    done = replace(COPYING, stage=Stage.FINISHED, path=OURS.path, published="gpt-oss-20b-MXFP4.gguf")
    shelf.emit(Transferred(done, used=False))
    window.bridge.flush()
    assert "exactly the published file gpt-oss-20b-MXFP4.gguf" in texts(dialog.toast)
    press(dialog.toast.findChildren(QPushButton)[0])
    assert models.calls == [("use_file", OURS.path)]
    shelf.emit(Transferred(replace(done, published=""), used=False))
    window.bridge.flush()
    assert "not a file that Inglenook knows" in texts(dialog.toast)
    shelf.emit(Transferred(replace(done, what=What.MOVE, waits=True), used=True))
    window.bridge.flush()
    assert "the next start of Inglenook removes it" in texts(dialog.toast)


def test_what_the_disk_holds(window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf) -> None:
    shelf.change(usage=Usage(24_000_000_000, (Binned("1", "old", 12_000_000_000, 0.0, ours=True),), 3_000_000))
    window.bridge.flush()
    said = "\n".join(label.text() for label in dialog.findChildren(QLabel))
    assert "All models here: 36.0 GB." in said
    assert "24.0 GB are in /models, where 50.0 GB are free." in said
    assert "Deleted and not gone yet: 12.0 GB." in said
    assert "Unfinished or set aside: 3 MB." in said


def test_a_window_that_comes_to_the_front_takes_over_another_programs_choice(
    window: MainWindow, settings: Settings, tmp_path: Path
) -> None:
    settings.flush()
    command = Settings(settings.file)
    command.set(MODEL_FILE, "/models/new.gguf")
    command.flush()
    window.desk._on_application_state(Qt.ApplicationState.ApplicationInactive)
    settings.flush()
    assert settings.get(MODEL_FILE) == ""
    window.desk._on_application_state(Qt.ApplicationState.ApplicationActive)
    settings.flush()
    assert settings.get(MODEL_FILE) == "/models/new.gguf"
