"""Getting, choosing and deleting models, and the Network page, in the window."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QMessageBox, QPushButton
from pytestqt.qtbot import QtBot
from tests.ui.doubles import MemoryModels
from tests.ui.shelf import MemoryShelf

from inglenook.core.errors import ErrorInfo
from inglenook.core.settings import ALLOW_NETWORK, Settings
from inglenook.library.catalogue import GPT_OSS_20B, GPT_OSS_120B
from inglenook.library.events import ModelState, ModelStatus
from inglenook.library.files.found import Found
from inglenook.library.remote.downloads import State
from inglenook.library.remote.traffic import Request
from inglenook.library.shelf_events import OWN, Arrived, Fit, Removed, ShelfFailed, TrafficRead
from inglenook.ui.dialogs.models import ModelsDialog
from inglenook.ui.dialogs.network import NetworkDialog, amount
from inglenook.ui.main_window import MainWindow
from inglenook.ui.panels.get_model import GetModelCard

KEY = GPT_OSS_20B.key
OURS = Found(Path("/models/a/b/m.gguf"), OWN, "gpt-oss-20b", 12_000_000_000, (Path("/models/a/b/m.gguf"),))
THEIRS = Found(Path("/lm/m.gguf"), "LM Studio", "their-20b", 12_000_000_000, (Path("/lm/m.gguf"),))
BROKEN = replace(THEIRS, path=Path("/o/sha256-1"), owner="Ollama", problem=ErrorInfo("Only Ollama reads it."))


@pytest.fixture
def card(window: MainWindow) -> GetModelCard:
    found = window.findChild(GetModelCard)
    assert isinstance(found, GetModelCard)
    return found


def press(button: QAbstractButton) -> None:
    assert button.isVisible()
    assert button.isEnabled()
    button.setFocus()
    QTest.keyClick(button, Qt.Key.Key_Space)


def texts(widget: object) -> str:
    return "\n".join(label.text() for label in widget.findChildren(QLabel) if label.isVisible())  # type: ignore[attr-defined]


def toast(window: MainWindow) -> str:
    return texts(window.toast) if window.toast.isVisible() else ""


class TestFirstPage:
    def test_says_what_will_happen(self, window: MainWindow, card: GetModelCard) -> None:
        said = texts(card)
        assert "12.1 GB, once, from hub.test" in said
        assert "50.0 GB are free now, 37.9 GB afterwards." in said
        assert "Looking at this computer" in said
        assert card.get.text() == "Get gpt-oss-20b"

    def test_how_long_it_takes_is_an_example_until_a_rate_is_measured(
        self, window: MainWindow, card: GetModelCard, shelf: MemoryShelf
    ) -> None:
        example = "12.1 GB, once, from hub.test: about 16 minutes at 100 Mbit/s."
        assert example in texts(card)
        shelf.download(State.RUNNING, rate=0.0)
        window.bridge.flush()
        assert example in texts(card)
        shelf.download(State.RUNNING, rate=24e6, seconds_left=375.0)
        window.bridge.flush()
        measured = "12.1 GB, once, from hub.test: about 8 minutes at 24 MB a second."
        assert measured in texts(card)
        assert measured in card.accessibleDescription()
        shelf.download(State.PAUSED)
        window.bridge.flush()
        assert measured in texts(card)
        assert "100 Mbit/s" not in texts(card)

    def test_one_key_begins_and_the_focus_goes_along(
        self, window: MainWindow, card: GetModelCard, shelf: MemoryShelf
    ) -> None:
        press(card.get)
        assert shelf.calls == [("get", KEY)]
        shelf.download(State.RUNNING, rate=24e6, seconds_left=375.0)
        window.bridge.flush()
        assert not card.get.isVisible()
        assert card.row.words() == "3.0 GB of 12.1 GB · 24 MB a second · about 6 minutes left"
        assert QApplication.focusWidget() is card.row.go
        press(card.row.go)
        assert shelf.calls[-1] == ("pause", KEY)
        shelf.download(State.PAUSED)
        window.bridge.flush()
        assert card.row.go.text() == "Resume"
        press(card.row.go)
        assert shelf.calls[-1] == ("get", KEY)
        shelf.download(None)
        window.bridge.flush()
        assert QApplication.focusWidget() is card.get

    def test_a_failure_is_told_in_its_words(self, window: MainWindow, card: GetModelCard, shelf: MemoryShelf) -> None:
        shelf.download(State.FAILED, reason=ErrorInfo("The disk is full. Make room."))
        window.bridge.flush()
        assert card.row.words() == "The disk is full. Make room."
        assert card.row.go.text() == "Try again"

    def test_much_is_cancelled_only_after_a_question(
        self, window: MainWindow, card: GetModelCard, shelf: MemoryShelf
    ) -> None:
        shelf.download(State.RUNNING)
        window.bridge.flush()
        press(card.row.cancel)
        box = window.findChild(QMessageBox)
        assert isinstance(box, QMessageBox)
        assert "3.0 GB" in box.informativeText()
        assert shelf.calls == []
        next(b for b in box.buttons() if b.text() == "Remove them").click()
        assert shelf.calls == [("cancel", KEY)]

    def test_little_is_cancelled_at_once(self, window: MainWindow, card: GetModelCard, shelf: MemoryShelf) -> None:
        shelf.download(State.RUNNING, done=1000)
        window.bridge.flush()
        press(card.row.cancel)
        assert shelf.calls == [("cancel", KEY)]

    def test_what_is_here_already_need_not_be_fetched(
        self, window: MainWindow, card: GetModelCard, shelf: MemoryShelf, models: MemoryModels
    ) -> None:
        shelf.change(here=(BROKEN, THEIRS))
        window.bridge.flush()
        assert card.use.text() == "Use their-20b from LM Studio"
        press(card.use)
        assert models.calls == [("use_file", THEIRS.path)]

    def test_gives_way_to_the_greeting_when_the_model_is_in_use(
        self, window: MainWindow, card: GetModelCard, models: MemoryModels
    ) -> None:
        assert card.isVisible()
        models.choice = "/models/gpt-oss-20b.gguf"
        models.tell(ModelStatus(ModelState.LOADING, "gpt-oss-20b", name=models.choice))
        window.bridge.flush()
        assert not card.isVisible()


class TestBar:
    def test_shows_what_the_first_page_does_not(
        self, window: MainWindow, card: GetModelCard, shelf: MemoryShelf, models: MemoryModels
    ) -> None:
        bar = window.desk.bar
        shelf.download(State.RUNNING)
        window.bridge.flush()
        assert card.isVisible()
        assert not bar.isVisible()
        models.choice = "/models/another.gguf"
        models.tell(ModelStatus(ModelState.READY, "Another", name=models.choice))
        window.bridge.flush()
        assert bar.isVisible()
        press(bar.row.go)
        assert shelf.calls == [("pause", KEY)]
        shelf.download(State.FINISHED)
        window.bridge.flush()
        assert not bar.isVisible()

    def test_another_model_than_the_recommended(self, window: MainWindow, shelf: MemoryShelf) -> None:
        shelf.download(State.RUNNING, GPT_OSS_120B.key, done=0)
        window.bridge.flush()
        assert "gpt-oss-120b" in texts(window.desk.bar)
        press(window.desk.bar.row.cancel)
        assert shelf.calls == [("cancel", GPT_OSS_120B.key)]

    def test_arrival_is_told(self, window: MainWindow, shelf: MemoryShelf, models: MemoryModels) -> None:
        shelf.emit(Arrived("gpt-oss-20b", OURS.path, used=True))
        window.bridge.flush()
        assert "is being loaded" in toast(window)
        shelf.emit(Arrived("gpt-oss-120b", OURS.path, used=False))
        window.bridge.flush()
        press(window.toast.findChildren(QPushButton)[0])
        assert models.calls == [("use_file", OURS.path)]

    def test_a_failure_of_the_shelf_is_told(self, window: MainWindow, shelf: MemoryShelf) -> None:
        shelf.emit(ShelfFailed(ErrorInfo("Make room.")))
        window.bridge.flush()
        assert toast(window) == "Make room."


@pytest.fixture
def dialog(window: MainWindow, shelf: MemoryShelf) -> ModelsDialog:
    window.actions_.models.trigger()
    found = window.findChild(ModelsDialog)
    assert isinstance(found, ModelsDialog)
    assert shelf.calls == [("refresh",)]
    shelf.calls.clear()
    return found


class TestModels:
    def test_the_catalogue_with_size_licence_and_memory(self, dialog: ModelsDialog) -> None:
        row = dialog.row(f"offer {KEY}")
        assert row.about().startswith("Recommended · 12.1 GB · Apache-2.0")
        assert "Looking at this computer" in row.about()
        assert "needed" in dialog.row(f"offer {GPT_OSS_120B.key}").about()  # 63 GB on a disk with 50
        assert QApplication.focusWidget() is row.button

    def test_what_is_only_looked_up_has_about_figures_too(
        self, window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf
    ) -> None:
        assert "about 12 GB" in texts(dialog.address)
        refusal = Fit(refusal=ErrorInfo("There is not enough memory."))
        shelf.change(offers=tuple(replace(o, fit=refusal) if o.entry.key == KEY else o for o in shelf.now.offers))
        window.bridge.flush()
        assert "about as for gpt-oss-20b. There is not enough memory." in texts(dialog.address)

    def test_get_pause_and_cancel_from_here(self, window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf) -> None:
        row = dialog.row(f"offer {KEY}")
        press(row.button)
        shelf.download(State.RUNNING, done=0)
        window.bridge.flush()
        assert QApplication.focusWidget() is row.progress.go
        press(row.progress.go)
        press(row.progress.cancel)
        assert shelf.calls == [("get", KEY), ("pause", KEY), ("cancel", KEY)]

    def test_use_what_is_here_and_only_what_can_be(
        self, window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf, models: MemoryModels
    ) -> None:
        models.choice = str(OURS.path)
        shelf.change(here=(OURS, THEIRS, BROKEN), chosen=models.choice)
        models.tell(replace(models.now, name=models.choice, is_demo=False))
        window.bridge.flush()
        ours, theirs, broken = (dialog.row(f"here {one.path}") for one in (OURS, THEIRS, BROKEN))
        assert not ours.button.isEnabled()
        assert ours.button.text() == "In use"
        assert not ours.remove.isEnabled()
        assert not theirs.remove.isVisible()
        assert "used where it is" in theirs.about()
        assert not broken.button.isVisible()
        assert "Only Ollama reads it." in broken.about()
        press(theirs.button)
        press(dialog.row("demo").button)
        assert models.calls == [("use_file", THEIRS.path), ("use_demo",)]

    def test_delete_and_undo(self, window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf) -> None:
        shelf.change(here=(OURS,))
        window.bridge.flush()
        press(dialog.row(f"here {OURS.path}").remove)
        shelf.change(here=())
        shelf.emit(Removed(OURS.title))
        window.bridge.flush()
        with pytest.raises(KeyError):
            dialog.row(f"here {OURS.path}")
        assert "was deleted" in texts(dialog.toast)
        press(dialog.toast.findChildren(QPushButton)[0])
        assert shelf.calls == [("delete", OURS), ("undo_delete",)]

    def test_an_offer_that_is_here_is_no_offer(
        self, window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf
    ) -> None:
        offers = tuple(replace(o, path=OURS.path) if o.entry.key == KEY else o for o in shelf.now.offers)
        shelf.change(offers=offers, here=(OURS,))
        window.bridge.flush()
        with pytest.raises(KeyError):
            dialog.row(f"offer {KEY}")

    def test_news_moves_neither_rows_nor_focus(
        self, window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf
    ) -> None:
        row = dialog.row(f"offer {GPT_OSS_120B.key}")
        row.button.setFocus()
        shelf.change(here=(THEIRS,), free=100_000_000_000)
        window.bridge.flush()
        assert dialog.row(f"offer {GPT_OSS_120B.key}") is row
        assert QApplication.focusWidget() is row.button

    def test_every_button_has_a_name_of_its_own(
        self, window: MainWindow, dialog: ModelsDialog, shelf: MemoryShelf
    ) -> None:
        shelf.change(here=(OURS, THEIRS))
        shelf.download(State.RUNNING)
        window.bridge.flush()
        names = [b.accessibleName() for b in dialog.findChildren(QPushButton) if b.isVisible()]
        assert all(names)
        assert len(names) == len(set(names))

    def test_opened_again_after_it_was_closed(self, window: MainWindow, dialog: ModelsDialog, qtbot: QtBot) -> None:
        QTest.keyClick(dialog, Qt.Key.Key_Escape)
        qtbot.waitUntil(lambda: window.findChild(ModelsDialog) is None)
        window.actions_.models.trigger()
        assert window.findChild(ModelsDialog) is not None


@pytest.fixture
def network(window: MainWindow, shelf: MemoryShelf) -> NetworkDialog:
    window.actions_.network.trigger()
    found = window.findChild(NetworkDialog)
    assert isinstance(found, NetworkDialog)
    assert shelf.calls == [("read_traffic",)]
    return found


class TestNetwork:
    def test_lists_every_request_newest_first(
        self, window: MainWindow, network: NetworkDialog, shelf: MemoryShelf
    ) -> None:
        assert network.said() == "No request was ever made."
        older = Request("", 1.7e9, "old.test", "look-up", 500, 0, 200, count=12, until=1.71e9)
        newer = Request("b", 1.75e9, "huggingface.co", "download", 12_109_566_624, 0, 206)
        shelf.emit(TrafficRead((older, newer)))
        window.bridge.flush()
        model = network.table.requests
        rows = [[model.data(model.index(row, column)) for column in range(6)] for row in range(model.rowCount())]
        assert [row[1:] for row in rows] == [
            ["huggingface.co", "Download of a model", "12.1 GB", "0 B", "1"],
            ["old.test", "Names and sizes of model files", "500 B", "0 B", "12"],
        ]
        assert "–" in rows[1][0]
        assert network.said() == "13 requests; 12.1 GB received, 0 B sent."

    def test_news_of_the_same_requests_keeps_the_place(
        self, window: MainWindow, network: NetworkDialog, shelf: MemoryShelf
    ) -> None:
        requests = tuple(Request(str(n), 1.7e9 + n, "h", "download") for n in range(50))
        shelf.emit(TrafficRead(requests))
        window.bridge.flush()
        network.table.selectRow(30)
        shelf.emit(TrafficRead((*requests[:-1], replace(requests[-1], received=5000))))
        window.bridge.flush()
        assert network.table.currentIndex().row() == 30
        model = network.table.requests
        assert model.data(model.index(0, 3)) == "5 kB"

    def test_the_switch(self, network: NetworkDialog, settings: Settings) -> None:
        assert network.switch.isChecked()
        press(network.switch)
        assert settings.get(ALLOW_NETWORK) is False
        assert "No connection is opened" in texts(network)
        press(network.switch)
        assert settings.get(ALLOW_NETWORK) is True


def test_amounts() -> None:
    assert [amount(n) for n in (0, 999, 1000, 999_499, 2_000_000, 12_109_566_624)] == [
        "0 B", "999 B", "1 kB", "999 kB", "2 MB", "12.1 GB",
    ]  # fmt: skip
