"""The real program with a pair of hands: starts the window as `inglenook` does, presses keys, reads what is shown.

usage: drive.py SCENARIO. Each step prints a JSON line, on which the test that started it acts (kills it, say). What is
shown is read through the accessibility interface, as a screen reader would, and text that is still being written from
the widget that draws it (it is announced when it is complete).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QAccessible
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from inglenook.bootstrap import Services
from inglenook.library.events import ModelState
from inglenook.ui import app as ui_app
from inglenook.ui.main_window import MainWindow
from inglenook.ui.widgets.markdown_view import MarkdownView

START = time.perf_counter()
PATIENCE = 120.0  # seconds after which a step that does not happen fails the run

Condition = Callable[[], object]


def say(step: str, **facts: object) -> None:
    """Prints one line for the test."""
    print(json.dumps({"step": step, "seconds": round(time.perf_counter() - START, 3), **facts}), flush=True)


class Hands:
    """What a person can do with the window, and see of it."""

    def __init__(self, window: MainWindow, services: Services) -> None:
        self.window = window
        self.services = services

    def ask(self, text: str) -> None:
        """Types into the message field and presses Enter."""
        QTest.keyClicks(self.window.composer.field, text)
        QTest.keyClick(self.window.composer.field, Qt.Key.Key_Return)

    def press(self, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
        """A key, wherever the focus is."""
        QTest.keyClick(self.window.focusWidget() or self.window, key, modifier)

    def shown(self) -> str:
        """All text of the transcript."""
        texts: list[str] = []
        for widget in self.window.transcript.findChildren(QWidget):
            if not widget.isVisible():
                continue
            if isinstance(widget, MarkdownView):
                texts.append(widget.plain_text())
                continue
            interface = QAccessible.queryAccessibleInterface(widget)
            if interface is not None and (text := interface.textInterface()) is not None:
                texts.append(text.text(0, text.characterCount()))
            elif interface is not None:
                texts.append(interface.text(QAccessible.Text.Name))
        return "\n".join(texts)

    def idle(self) -> bool:
        """Whether no answer is being written."""
        return not self.window.answering


def ask_and_stop(hands: Hands) -> Iterator[Condition]:
    """A question answered in full, then a long answer stopped."""
    yield lambda: hands.window.composer.field.hasFocus()
    say("ready")
    hands.ask("Hello!")
    yield lambda: hands.window.answering
    yield hands.idle
    say("answered", shown=hands.shown())
    hands.ask("Tell me a long story")
    yield lambda: len(hands.shown().split("long story")[-1]) > 400
    hands.press(Qt.Key.Key_Escape)
    yield hands.idle
    say("stopped", shown=hands.shown())
    hands.window.close()


def look(hands: Hands) -> Iterator[Condition]:
    """What a new start shows."""
    yield lambda: "Your message" in hands.shown() and hands.idle()
    say("looked", shown=hands.shown())
    hands.window.close()


def stream(hands: Hands) -> Iterator[Condition]:
    """A long answer that goes on until somebody kills something; what is shown is told twenty times a second."""
    yield lambda: hands.window.composer.field.hasFocus()
    hands.ask("Tell me a long story")
    yield lambda: hands.window.answering
    pid = hands.services.inference.status().pid
    told = 0.0
    while hands.window.answering:
        if time.perf_counter() - told > 0.05:
            told = time.perf_counter()
            pid = hands.services.inference.status().pid or pid
            say("streaming", shown=hands.shown(), engine=pid)
        yield lambda: True
    say("ended", shown=hands.shown())
    hands.ask("Hello!")
    yield lambda: hands.window.answering
    yield hands.idle
    say("answered", shown=hands.shown(), engine=hands.services.inference.status().pid)
    hands.window.close()


def stay(hands: Hands) -> Iterator[Condition]:
    """Starts and stays until somebody ends it (for measuring)."""
    yield lambda: hands.window.composer.field.hasFocus()
    say("ready")
    yield lambda: hands.services.models.status().state is ModelState.READY
    say("loaded", engine=hands.services.inference.status().pid)
    yield lambda: False


SCENARIOS = {"stay": stay, "ask_and_stop": ask_and_stop, "look": look, "stream": stream}


def main() -> int:
    return run(Services(), SCENARIOS[sys.argv[1]])


def run(services: Services, scenario: Callable[[Hands], Iterator[Condition]]) -> int:
    """Starts the program as `bootstrap.run_window` does, with those hands; its exit code."""
    application = ui_app.application()
    services.models.start()
    timer = QTimer(application)
    steps: list[Iterator[Condition]] = []
    waiting: list[tuple[Condition, float]] = []

    def tick() -> None:
        window = next((w for w in QApplication.topLevelWidgets() if isinstance(w, MainWindow)), None)
        if window is None or not window.isVisible():
            return
        if not steps:
            window.activateWindow()
            steps.append(scenario(Hands(window, services)))
        if waiting:
            condition, since = waiting[0]
            if not condition():
                if time.perf_counter() - since > PATIENCE:
                    say("timeout", shown=Hands(window, services).shown(), status=str(services.models.status()))
                    QApplication.exit(3)
                return
            waiting.clear()
        try:
            waiting.append((next(steps[0]), time.perf_counter()))
        except StopIteration:
            timer.stop()

    timer.timeout.connect(tick)
    timer.start(15)
    try:
        return ui_app.run(
            services.chat, services.models, services.shelf, services.token, services.settings, services.paths
        )
    finally:
        services.close()


if __name__ == "__main__":
    sys.exit(main())
