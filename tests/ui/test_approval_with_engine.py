"""A tool that asks first, with nothing replaced: window, service, store, engine and the demo model's own call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPlainTextEdit
from pytestqt.qtbot import QtBot
from tests.chat.test_with_engine import DemoModel
from tests.demo_model.checks import TOOLS
from tests.ui.doubles import MemoryModels
from tests.ui.shelf import MemoryShelf
from tests.ui.test_approval import armed, buttons

from inglenook.chat.service import ChatService
from inglenook.core.conversation import Tree
from inglenook.core.messages import Role, ToolResultPart
from inglenook.core.paths import Paths
from inglenook.core.settings import TEMPERATURE, Settings
from inglenook.core.tools import Tool
from inglenook.engine.client import EngineClient
from inglenook.library.remote.access_token import AccessToken
from inglenook.store.repository import SqliteStore
from inglenook.ui.main_window import MainWindow
from inglenook.ui.theme import Theme
from inglenook.ui.widgets.approval import ApprovalCard

LONG_MS = 120_000  # for a machine that does much else
QUESTION = "What is the weather in Lisbon?"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    folder = tmp_path_factory.mktemp("engine")
    (folder / "run").mkdir(mode=0o700)
    client = EngineClient(folder / "run", folder / "logs")
    yield client
    client.close()


class Desk:
    """The program: one window after the other over one store. `called` is what the tools were called with."""

    def __init__(self, open_: Callable[[tuple[Tool, ...]], tuple[MainWindow, ChatService, SqliteStore]]) -> None:
        self.called: list[tuple[str, dict[str, Any]]] = []
        tools = tuple(Tool(t.name, t.description, t.parameters, self._run(t.name)) for t in TOOLS)
        self._open = lambda: open_(tools)
        self.window, self.service, self.store = self._open()

    def _run(self, name: str) -> Callable[[Mapping[str, Any], Callable[[], bool]], str]:
        def run(arguments: Mapping[str, Any], cancelled: Callable[[], bool]) -> str:
            self.called.append((name, dict(arguments)))
            return '{"temperature": 23, "unit": "celsius", "condition": "light rain"}'

        return run

    def close(self) -> None:
        self.window.close()
        self.service.close()
        self.store.close()

    def restart(self) -> None:
        self.close()
        self.window, self.service, self.store = self._open()

    def ask(self) -> None:
        QTest.keyClicks(self.window.composer.field, QUESTION)
        QTest.keyClick(self.window.composer.field, Qt.Key.Key_Return)

    def card(self, qtbot: QtBot) -> ApprovalCard:
        def shown() -> list[ApprovalCard]:
            return [card for card in self.window.transcript.findChildren(ApprovalCard) if card.isVisible()]

        qtbot.waitUntil(lambda: bool(shown()), timeout=LONG_MS)
        armed(qtbot, shown()[0])
        return shown()[0]

    def answered(self, qtbot: QtBot) -> Tree:
        """The conversation once its answer has ended."""
        qtbot.waitUntil(lambda: not self.window.answering, timeout=LONG_MS)
        self.store.flush()
        assert self.window.current is not None
        return self.store.tree(self.window.current)


@pytest.fixture
def desk(
    qtbot: QtBot, engine: EngineClient, demo_gguf: Path, settings: Settings, paths: Paths, theme: Theme, tmp_path: Path
) -> Iterator[Desk]:
    settings.set(TEMPERATURE, 0.0)

    def open_(tools: tuple[Tool, ...]) -> tuple[MainWindow, ChatService, SqliteStore]:
        store = SqliteStore(tmp_path / "c.sqlite3")
        service = ChatService(store, engine, DemoModel(demo_gguf), settings, tools=tools)
        window = MainWindow(service, MemoryModels(), MemoryShelf(), AccessToken(settings), settings, paths, theme)
        qtbot.addWidget(window)
        window.show()
        window.activateWindow()
        qtbot.waitUntil(lambda: window.current is not None, timeout=LONG_MS)
        return window, service, store

    made = Desk(open_)
    yield made
    made.close()


def results(tree: Tree) -> list[str]:
    return [p.content for m in tree.path() for p in m.message.parts if isinstance(p, ToolResultPart)]


def test_allowed_by_keys_alone(desk: Desk, qtbot: QtBot) -> None:
    desk.ask()
    card = desk.card(qtbot)
    assert "get_weather" in card.words
    assert card.findChild(QPlainTextEdit).toPlainText() == "location: Lisbon"
    assert desk.called == []
    once = buttons(card)["Allow once"]
    for _ in range(3):
        QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Backtab)
    assert QApplication.focusWidget() is once
    QTest.keyClick(once, Qt.Key.Key_Space)
    tree = desk.answered(qtbot)
    assert desk.called == [("get_weather", {"location": "Lisbon"})]
    assert "23" in tree.path()[-1].message.text


def test_refused_and_the_model_goes_on(desk: Desk, qtbot: QtBot) -> None:
    desk.ask()
    buttons(desk.card(qtbot))["Refuse"].click()
    tree = desk.answered(qtbot)
    assert desk.called == []
    assert "did not allow" in results(tree)[0]
    assert tree.path()[-1].message.role is Role.ASSISTANT


def test_closed_while_it_asks_and_gone_on_with_after_a_restart(desk: Desk, qtbot: QtBot) -> None:
    desk.ask()
    desk.card(qtbot)
    desk.restart()
    assert desk.called == []
    waiting = desk.answered(qtbot).path()[-1]
    assert waiting.message.role is Role.TOOL
    desk.window.transcript.continue_requested.emit(waiting.id)
    buttons(desk.card(qtbot))["Allow in this chat"].click()
    tree = desk.answered(qtbot)
    assert desk.called == [("get_weather", {"location": "Lisbon"})]
    assert "23" in tree.path()[-1].message.text


def test_stop_refuses(desk: Desk, qtbot: QtBot) -> None:
    desk.ask()
    desk.card(qtbot)
    desk.window.actions_.stop.trigger()
    tree = desk.answered(qtbot)
    assert desk.called == []
    assert results(tree) == []
    qtbot.waitUntil(lambda: not desk.window.transcript.findChildren(ApprovalCard))
