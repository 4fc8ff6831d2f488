"""The window on Qt's offscreen platform, with conversations and a model in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["QT_QPA_PLATFORM"] = "offscreen"

import pytest
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot
from tests.ui.doubles import MemoryChats, MemoryModels
from tests.ui.shelf import MemoryShelf

from inglenook.core.paths import Paths
from inglenook.core.settings import Settings
from inglenook.library.remote.access_token import AccessToken
from inglenook.ui.theme import Theme

if TYPE_CHECKING:
    from inglenook.ui.main_window import MainWindow

PATIENCE_MS = 60_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Qt warnings fail, but for what the offscreen platform says of itself."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.qt_log_ignore("^This plugin does not support", extend=True))


@pytest.fixture(autouse=True)
def _swept(qapp: QApplication) -> Iterator[None]:
    """Widgets go with their test: a change of the theme reaches all that live, so that each test slowed the next."""
    yield
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


class PatientBot(QtBot):
    """Waits as long as a slow machine needs: pytest-qt gives up after five seconds."""

    def waitUntil(self, callback: Callable[[], bool | None], *, timeout: int = PATIENCE_MS) -> None:  # noqa: N802
        super().waitUntil(callback, timeout=timeout)

    def waitSignal(self, signal: Any, *, timeout: int = PATIENCE_MS, **options: Any) -> Any:  # noqa: N802
        return super().waitSignal(signal, timeout=timeout, **options)


@pytest.fixture
def qtbot(qapp: QApplication, request: pytest.FixtureRequest) -> QtBot:
    """In place of pytest-qt's."""
    return PatientBot(request)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Folders of a new user."""
    made = Paths(*(tmp_path / name for name in ("data", "config", "cache", "logs", "run")))
    made.create()
    return made


@pytest.fixture
def settings(paths: Paths) -> Settings:
    """All defaults."""
    return Settings(paths.settings)


@pytest.fixture
def theme(qapp: QApplication, settings: Settings) -> Iterator[Theme]:
    """A theme that is in force; parentless, so that it goes with the test."""
    made = Theme(settings)
    made.apply(qapp)
    yield made
    qapp.setStyleSheet("")


@pytest.fixture
def chats() -> MemoryChats:
    """No conversations yet."""
    return MemoryChats()


@pytest.fixture
def models() -> MemoryModels:
    """The demo model, ready."""
    return MemoryModels()


@pytest.fixture
def shelf() -> MemoryShelf:
    """Nothing but the demo, and room for more."""
    return MemoryShelf()


@pytest.fixture
def window(
    qtbot: QtBot,
    chats: MemoryChats,
    models: MemoryModels,
    shelf: MemoryShelf,
    settings: Settings,
    paths: Paths,
    theme: Theme,
) -> Iterator[MainWindow]:
    """The window, shown, with its first conversation open."""
    from inglenook.ui.main_window import MainWindow

    made = MainWindow(chats, models, shelf, AccessToken(settings), settings, paths, theme)
    qtbot.addWidget(made)
    made.show()
    made.activateWindow()
    made.bridge.flush()
    made.bridge.flush()  # opening the first conversation was an answer to the list
    yield made
    made.close()
