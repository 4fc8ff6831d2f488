"""What the demo model was taught to say of the program is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from PySide6.QtWidgets import QMainWindow
from pytestqt.qtbot import QtBot

from inglenook.cli.main import parser
from inglenook.ui.actions import Actions
from inglenook.ui.theme import Theme

DIALOGUES = Path(__file__).parents[2] / "packaging" / "demo_model" / "dialogues" / "about.toml"
OF_QT = {"Ctrl+C"}  # copies in any text


@pytest.fixture(scope="module")
def said() -> str:
    """All answers, notes and short answers."""
    intents = tomllib.loads(DIALOGUES.read_text("utf-8"))["intent"]
    return "\n".join(intent[key] for intent in intents for key in ("note", "answer", "short"))


def test_the_keys_that_it_names_are_keys_of_the_window(said: str, qtbot: QtBot, theme: Theme) -> None:
    window = QMainWindow()
    qtbot.addWidget(window)
    actions = Actions(window, theme)
    keys = {action.shortcut().toString() for action in window.actions()}
    named = set(re.findall(r"(?:Ctrl\+(?:Shift\+)?(?:\w|,)|\bF\d+|\bEsc)", said))
    assert {"Ctrl+N", "Ctrl+Shift+M", "F2", "F9", "Esc", "Ctrl+,"} <= named
    assert named <= keys | OF_QT
    assert actions.models.shortcut().toString() == "Ctrl+Shift+M"


def test_the_commands_that_it_names_are_commands(said: str) -> None:
    named = set(re.findall(r"`inglenook ([a-z]+)", said))
    assert {"ask", "chat", "models", "doctor", "bench"} <= named
    for command in named:
        with pytest.raises(SystemExit) as ended:
            parser().parse_args([command, "--help"])
        assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["fetch", "--help"])
    assert ended.value.code == 2


def test_it_promises_nothing(said: str) -> None:
    assert not re.search(r"next version|coming soon|will come", said)
