"""Which model answers the chat that is shown: said, switched, missed, and what comes back when a load fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot
from tests.ui.doubles import MemoryChats, MemoryModels
from tests.ui.shelf import MemoryShelf
from tests.ui.test_model_desk import press, texts, toast

from inglenook.core.conversation import Tree
from inglenook.core.errors import ErrorInfo
from inglenook.core.inference import DEMO
from inglenook.library.events import ModelState, ModelStatus
from inglenook.library.shelf_events import Arrived
from inglenook.ui.main_window import MainWindow


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "gpt-oss-20b.gguf"
    made.write_bytes(b"GGUF")
    return made


def chat_with(window: MainWindow, chats: MemoryChats, model: str) -> str:
    """A chat with an answer, shown, that remembers a model."""
    made = chats.add("Old")
    chats.send(made, "Hello")
    chats.end(made)
    tree = chats.trees[made]
    chats.trees[made] = Tree(replace(tree.conversation, model=model), tree.messages)
    window._open(made)
    window.bridge.flush()
    chats.calls.clear()
    return made


def remembered(chats: MemoryChats, chat: str) -> str:
    return chats.trees[chat].conversation.model


def test_a_chat_with_the_model_in_use_shows_its_state(window: MainWindow, chats: MemoryChats) -> None:
    chat_with(window, chats, DEMO)
    assert window.header.chip.accessibleName() == "Demo model: Ready"


def test_opening_a_chat_of_another_model_loads_nothing_and_says_when_it_will(
    window: MainWindow, chats: MemoryChats, models: MemoryModels, file: Path
) -> None:
    chat_with(window, chats, str(file))
    assert models.calls == []
    assert window.header.chip.accessibleName() == "gpt-oss-20b: Loads with your next message"
    assert not window.header.chip.cancel.isVisible()
    assert not window.status.isVisible()  # nothing of the demo, which does not answer here
    models.tell(ModelStatus(ModelState.LOADING, "gpt-oss-20b", 0.4, name=str(file)))
    window.bridge.flush()
    assert "Loading 40 %" in window.header.chip.accessibleName()
    models.tell(ModelStatus(ModelState.READY, "gpt-oss-20b", 1.0, name=str(file)))
    window.bridge.flush()
    assert window.header.chip.accessibleName() == "gpt-oss-20b: Ready"


def test_a_chat_whose_model_is_gone_says_so_and_goes_on_with_the_one_in_use(
    window: MainWindow, chats: MemoryChats, models: MemoryModels, tmp_path: Path, qtbot: QtBot
) -> None:
    gone = str(tmp_path / "drive" / "away.gguf")
    chat = chat_with(window, chats, gone)
    qtbot.waitUntil(lambda: window.status.isVisible())
    assert "away: Not here now" in window.header.chip.accessibleName()
    assert gone in texts(window.status)
    button = next(b for b in window.status.findChildren(QPushButton) if b.isVisible() and "Go on" in b.text())
    assert button.accessibleName() == "Go on with Demo model"
    press(button)
    window.bridge.flush()
    assert remembered(chats, chat) == DEMO
    assert window.header.chip.accessibleName() == "Demo model: Ready"
    assert "away" not in texts(window.status)


def test_choosing_another_model_switches_this_chat_and_one_that_fails_gives_it_back(
    window: MainWindow, chats: MemoryChats, models: MemoryModels, file: Path
) -> None:
    chat = chat_with(window, chats, DEMO)
    window.chat_model.use(str(file))
    assert models.calls == [("use_file", file)]
    assert remembered(chats, chat) == str(file)
    models.tell(ModelStatus(ModelState.LOADING, "gpt-oss-20b", 0.1, name=str(file), left="Demo model"))
    window.bridge.flush()
    assert "Demo model has left the memory first" in texts(window.status)
    back = ModelStatus(
        ModelState.READY, "Demo model", 1.0, True, error=ErrorInfo("It is damaged."), name=DEMO, refused="gpt-oss-20b"
    )
    models.tell(back)
    window.bridge.flush()
    assert remembered(chats, chat) == DEMO
    assert "gpt-oss-20b could not be loaded. Demo model is still in use." in texts(window.status)
    assert "It is damaged." in texts(window.status)
    press(next(b for b in window.status.findChildren(QPushButton) if b.isVisible() and b.text() == "&Close"))
    assert not window.status.isVisible()


def test_one_that_stands_keeps_the_chat(
    window: MainWindow, chats: MemoryChats, models: MemoryModels, file: Path
) -> None:
    chat = chat_with(window, chats, DEMO)
    window.chat_model.use(str(file))
    models.tell(ModelStatus(ModelState.PREPARING, "gpt-oss-20b", name=str(file)))
    models.tell(ModelStatus(ModelState.READY, "gpt-oss-20b", 1.0, name=str(file)))
    window.bridge.flush()
    assert remembered(chats, chat) == str(file)


def test_cancel_while_loading_by_the_keyboard_ends_the_answer_that_waits_too(
    window: MainWindow, chats: MemoryChats, models: MemoryModels, file: Path
) -> None:
    chat = chat_with(window, chats, DEMO)
    window.chat_model.use(str(file))
    models.tell(ModelStatus(ModelState.LOADING, "gpt-oss-20b", 0.1, name=str(file)))
    window.bridge.flush()
    chip = window.header.chip
    assert chip.cancel.isVisible()
    assert chip.cancel.accessibleName() == "Cancel loading the model"
    QTest.keyClick(chip.cancel, Qt.Key.Key_Space)
    assert models.calls[-1] == ("cancel",)
    assert ("stop", chat) in chats.calls
    models.tell(ModelStatus(ModelState.READY, "Demo model", 1.0, is_demo=True, name=DEMO))
    window.bridge.flush()
    assert remembered(chats, chat) == DEMO


def test_the_dialog_marks_the_model_of_the_chat(
    window: MainWindow, chats: MemoryChats, models: MemoryModels, shelf: MemoryShelf, file: Path
) -> None:
    window.desk.open_models()
    assert window.desk._dialog is not None
    demo = window.desk._dialog.row("demo").button
    assert demo.text() == "In use"
    chat_with(window, chats, str(file))
    assert demo.text() == "Use"


def test_the_models_of_all_chats_are_listed(
    window: MainWindow, chats: MemoryChats, shelf: MemoryShelf, file: Path
) -> None:
    chat_with(window, chats, str(file))
    chats.list_chats()
    window.bridge.flush()
    assert shelf.remembered == {str(file)}


class TestArrival:
    """The chat opens by itself on the model that was fetched, unless the user is at something."""

    @pytest.fixture
    def demo_chat(self, window: MainWindow, chats: MemoryChats) -> str:
        return chat_with(window, chats, DEMO)

    def arrive(self, window: MainWindow, shelf: MemoryShelf, models: MemoryModels, file: Path) -> None:
        shelf.emit(Arrived("gpt-oss-20b", file, used=True))
        models.choice = str(file)
        models.tell(ModelStatus(ModelState.LOADING, "gpt-oss-20b", name=str(file)))
        window.bridge.flush()
        models.tell(ModelStatus(ModelState.READY, "gpt-oss-20b", 1.0, name=str(file)))
        window.bridge.flush()
        window.bridge.flush()

    def test_a_new_chat(
        self, window: MainWindow, demo_chat: str, shelf: MemoryShelf, models: MemoryModels, file: Path
    ) -> None:
        self.arrive(window, shelf, models, file)
        assert window.current != demo_chat
        assert window.header.chip.accessibleName() == "gpt-oss-20b: Ready"

    def test_not_while_the_user_types(
        self, window: MainWindow, demo_chat: str, shelf: MemoryShelf, models: MemoryModels, file: Path
    ) -> None:
        window.composer.set_text("I am about to")
        self.arrive(window, shelf, models, file)
        assert window.current == demo_chat
        assert window.composer.text() == "I am about to"
        assert "gpt-oss-20b is ready." in toast(window)
        press(window.toast.findChildren(QPushButton)[0])
        assert window.current != demo_chat

    def test_nor_while_an_answer_is_written(
        self,
        window: MainWindow,
        demo_chat: str,
        chats: MemoryChats,
        shelf: MemoryShelf,
        models: MemoryModels,
        file: Path,
    ) -> None:
        window._send("Tell me")
        self.arrive(window, shelf, models, file)
        assert window.current == demo_chat
