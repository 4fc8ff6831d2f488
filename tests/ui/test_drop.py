"""Dropping and choosing what people bring along, with real drag events; how a conversion is shown."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDragMoveEvent, QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QWidget
from pytestqt.qtbot import QtBot
from tests.library.test_shelf import estimate
from tests.ui.doubles import MemoryChats, MemoryModels
from tests.ui.shelf import MemoryShelf
from tests.ui.test_model_desk import press, texts, toast

from inglenook.core.errors import ErrorInfo
from inglenook.core.paths import Paths
from inglenook.core.settings import Settings
from inglenook.library.catalogue import Format
from inglenook.library.making.conversions import CONVERTED, ConversionStatus, Stage
from inglenook.library.making.demo import demo_checkpoint
from inglenook.library.remote.access_token import AccessToken
from inglenook.library.remote.downloads import Downloads
from inglenook.library.remote.hub import Hub
from inglenook.library.remote.network import Network
from inglenook.library.remote.traffic import Traffic
from inglenook.library.shelf import Shelf
from inglenook.ui.main_window import MainWindow
from inglenook.ui.theme import Theme

COPY, LEFT, NO_KEY = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


class Drag:
    """A drag of files over a widget, as the platform tells of it."""

    def __init__(self, widget: QWidget, *paths: Path, text: str = "") -> None:
        self._widget = widget
        self._data = QMimeData()
        if paths:
            self._data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        if text:
            self._data.setText(text)

    def enter(self) -> bool:
        event = QDragEnterEvent(QPoint(9, 9), COPY, self._data, LEFT, NO_KEY)
        QApplication.sendEvent(self._widget, event)
        return event.isAccepted()

    def move(self) -> bool:
        event = QDragMoveEvent(QPoint(10, 10), COPY, self._data, LEFT, NO_KEY)
        QApplication.sendEvent(self._widget, event)
        return event.isAccepted()

    def leave(self) -> None:
        QApplication.sendEvent(self._widget, QDragLeaveEvent())

    def drop(self) -> bool:
        """Lets go; a drag has to be over something first."""
        if not self.enter():
            return False
        event = QDropEvent(QPointF(10, 10), COPY, self._data, LEFT, NO_KEY)
        QApplication.sendEvent(self._widget, event)
        return event.isAccepted()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    made = tmp_path / "mine.gguf"
    made.write_bytes(b"GGUF")
    return made


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}')
    (folder / "adapter_model.safetensors").touch()
    return folder


class TestDrag:
    def test_a_sheet_says_what_will_happen(
        self, window: MainWindow, qtbot: QtBot, model: Path, adapter: Path, tmp_path: Path
    ) -> None:
        sheet = window.desk.conversions.target.sheet
        for path, words in (
            (model, "use this model"),
            (demo_checkpoint(), "convert this checkpoint"),
            (adapter, "merge this adapter"),
            (tmp_path / "holiday.jpg", "no model"),
        ):
            drag = Drag(window, path)
            assert drag.enter()
            qtbot.waitUntil(lambda words=words: words in sheet.words())  # type: ignore[misc]
            assert drag.move()
            assert sheet.isVisible()
            assert path.name in sheet.accessibleName()
            drag.leave()
            assert not sheet.isVisible()

    def test_files_over_the_message_field_are_the_windows_and_text_is_the_fields(
        self, window: MainWindow, model: Path
    ) -> None:
        field = window.composer.field.viewport()
        assert Drag(field, model).enter()
        assert window.desk.conversions.target.sheet.isVisible()
        Drag(window, model).leave()
        assert Drag(field, text="some words").enter()
        assert not window.desk.conversions.target.sheet.isVisible()
        assert not Drag(window, text="some words").enter()

    def test_a_model_is_used_where_it_is(
        self, window: MainWindow, models: MemoryModels, model: Path, qtbot: QtBot
    ) -> None:
        assert Drag(window, model).drop()
        qtbot.waitUntil(lambda: bool(models.calls))
        assert models.calls == [("use_file", model)]
        assert not window.desk.conversions.target.sheet.isVisible()

    def test_of_the_parts_of_a_model_the_first_is_used(
        self, window: MainWindow, models: MemoryModels, tmp_path: Path, qtbot: QtBot
    ) -> None:
        parts = [tmp_path / f"m-0000{n}-of-00002.gguf" for n in (2, 1)]
        for part in parts:
            part.touch()
        assert Drag(window, *parts).drop()
        qtbot.waitUntil(lambda: bool(models.calls))
        assert models.calls == [("use_file", parts[1])]

    def test_an_adapter_is_converted(self, window: MainWindow, shelf: MemoryShelf, adapter: Path, qtbot: QtBot) -> None:
        Drag(window, adapter).drop()
        qtbot.waitUntil(lambda: bool(shelf.calls))
        assert shelf.calls == [("convert", adapter, None)]

    def test_anything_else_is_told(
        self, window: MainWindow, models: MemoryModels, shelf: MemoryShelf, tmp_path: Path, qtbot: QtBot
    ) -> None:
        Drag(window, tmp_path / "holiday.jpg").drop()
        qtbot.waitUntil(lambda: "holiday.jpg is no model" in toast(window))
        assert models.calls == shelf.calls == []

    def test_the_dialog_takes_files_too(
        self, window: MainWindow, models: MemoryModels, model: Path, qtbot: QtBot
    ) -> None:
        window.desk.open_models()
        assert window.desk._dialog is not None
        Drag(window.desk._dialog, model).drop()
        qtbot.waitUntil(lambda: models.calls == [("use_file", model)])


class TestKeyboard:
    def chosen(self, window: MainWindow, path: Path) -> None:
        dialog = window.findChild(QFileDialog)
        assert isinstance(dialog, QFileDialog)
        assert dialog.fileMode() is QFileDialog.FileMode.Directory
        dialog.fileSelected.emit(str(path))
        dialog.close()

    def test_a_checkpoint_is_chosen_by_key(self, window: MainWindow, shelf: MemoryShelf, qtbot: QtBot) -> None:
        QTest.keyClick(window, Qt.Key.Key_O, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
        self.chosen(window, demo_checkpoint())
        qtbot.waitUntil(lambda: bool(shelf.calls))
        assert shelf.calls == [("convert", demo_checkpoint(), None)]

    def test_the_base_of_an_adapter_is_chosen(self, window: MainWindow, shelf: MemoryShelf, adapter: Path) -> None:
        shelf.change(conversion=ConversionStatus(Stage.NEEDS_BASE, adapter, "adapter", wants="openai/gpt-oss-20b"))
        window.bridge.flush()
        bar = window.desk.conversions.bar
        assert "openai/gpt-oss-20b" in bar.words()
        press(bar.base)
        self.chosen(window, demo_checkpoint())
        assert shelf.calls == [("convert", adapter, demo_checkpoint())]


class TestShown:
    def test_step_by_step(self, window: MainWindow, shelf: MemoryShelf) -> None:
        bar = window.desk.conversions.bar
        assert not bar.isVisible()
        now = ConversionStatus(Stage.WRITING, Path("/c"), "mine", 3_000_000_000, 12_000_000_000, 300e6, 30.0)
        shelf.change(conversion=now)
        window.bridge.flush()
        assert bar.words() == "Step 1 of 2, writing: 3.0 GB of 12.0 GB · 300 MB a second · less than a minute left"
        assert "Converting mine" in texts(bar)
        shelf.change(conversion=replace(now, stage=Stage.VERIFYING, rate=0.0, seconds_left=None))
        window.bridge.flush()
        assert bar.words() == "Step 2 of 2, comparing with the checkpoint: 3.0 GB of 12.0 GB"
        press(bar.cancel)
        assert shelf.calls == [("cancel_conversion",)]
        shelf.change(conversion=None)
        window.bridge.flush()
        assert not bar.isVisible()

    def test_a_failure_stays_until_it_is_closed(self, window: MainWindow, shelf: MemoryShelf) -> None:
        bar = window.desk.conversions.bar
        error = ErrorInfo("The file is cut off. Get it again.")
        shelf.change(conversion=ConversionStatus(Stage.FAILED, Path("/c"), "mine", error=error))
        window.bridge.flush()
        assert bar.words() == "The file is cut off. Get it again."
        assert bar.cancel.text() == "Close"
        assert bar.cancel.accessibleName() == "Close: conversion of mine"
        press(bar.cancel)
        assert shelf.calls == [("cancel_conversion",)]

    def test_in_the_dialog_too(self, window: MainWindow, shelf: MemoryShelf) -> None:
        window.desk.open_models()
        shelf.change(conversion=ConversionStatus(Stage.READING, Path("/c"), "mine"))
        window.bridge.flush()
        assert window.desk._dialog is not None
        assert "Reading the checkpoint" in texts(window.desk._dialog.conversion)

    def test_a_checkpoint_that_was_fetched_is_converted_from_its_row(
        self, window: MainWindow, shelf: MemoryShelf
    ) -> None:
        window.desk.open_models()
        shelf.calls.clear()
        key = next(o.entry.key for o in shelf.now.offers if o.entry.format is Format.SAFETENSORS)
        folder = Path("/models/openai/gpt-oss-20b")
        shelf.change(offers=tuple(replace(o, path=folder) if o.entry.key == key else o for o in shelf.now.offers))
        window.bridge.flush()
        assert window.desk._dialog is not None
        button = window.desk._dialog.row(f"offer {key}").button
        assert button.text() == "Convert"
        press(button)
        assert shelf.calls == [("convert", folder, None)]


@pytest.fixture
def real(
    qtbot: QtBot, chats: MemoryChats, models: MemoryModels, settings: Settings, paths: Paths, theme: Theme
) -> Iterator[MainWindow]:
    """The window with the real shelf, which converts for real."""
    traffic = Traffic(paths.data / "network.jsonl")
    network = Network(traffic, lambda: False)
    downloads = Downloads(paths.models, lambda: Hub(network, "http://127.0.0.1:1"))
    shelf = Shelf(models, downloads, traffic, settings, paths.models, estimate, list)  # type: ignore[arg-type]
    made = MainWindow(chats, models, shelf, AccessToken(settings), settings, paths, theme)
    qtbot.addWidget(made)
    made.show()
    made.bridge.flush()
    yield made
    made.close()
    shelf.close()


class TestForReal:
    def test_the_demo_checkpoint_dropped_becomes_a_model_that_is_offered_and_used(
        self, real: MainWindow, models: MemoryModels, paths: Paths, qtbot: QtBot
    ) -> None:
        assert Drag(real, demo_checkpoint()).drop()
        qtbot.waitUntil(lambda: "is here" in toast(real))
        (made,) = (paths.models / CONVERTED).glob("*.gguf")
        press(real.toast._button)
        assert models.calls == [("use_file", made)]
        assert not real.desk.conversions.bar.isVisible()

    def test_a_damaged_one_says_what_is_wrong(
        self, real: MainWindow, paths: Paths, tmp_path: Path, qtbot: QtBot
    ) -> None:
        source = Path(shutil.copytree(demo_checkpoint(), tmp_path / "cut"))
        data = (source / "model.safetensors").read_bytes()
        (source / "model.safetensors").write_bytes(data[:1000])
        Drag(real, source).drop()
        bar = real.desk.conversions.bar
        qtbot.waitUntil(lambda: "model.safetensors" in bar.words())
        assert bar.cancel.text() == "Close"
        press(bar.cancel)
        qtbot.waitUntil(lambda: not bar.isVisible())
        assert not list((paths.models / CONVERTED).glob("*"))
