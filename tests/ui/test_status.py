"""What is said of each state of the model, and what can be done about it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from PySide6.QtCore import QEvent, QPoint
from PySide6.QtGui import QHelpEvent
from PySide6.QtWidgets import QApplication, QLabel, QProgressBar, QPushButton
from pytestqt.qtbot import QtBot

from inglenook.core.errors import ErrorInfo
from inglenook.core.inference import ModelInfo, ModelSpec
from inglenook.core.memory import Choice, Plan, Use
from inglenook.library.events import ModelState, ModelStatus
from inglenook.ui.panels.status import DEMO, ModelChip, StatusPanel, used_now
from inglenook.ui.theme import Theme

ERROR = ErrorInfo("The file {path} is not a model. Choose another one.", (("path", "/x.gguf"),))


@pytest.fixture
def panel(qtbot: QtBot, theme: Theme) -> StatusPanel:
    made = StatusPanel(theme)
    qtbot.addWidget(made)
    return made


@pytest.fixture
def chip(qtbot: QtBot, theme: Theme) -> ModelChip:
    made = ModelChip()
    qtbot.addWidget(made)
    made.show()
    return made


def said(widget: StatusPanel | ModelChip) -> str:
    return " | ".join(label.text() for label in widget.findChildren(QLabel) if not label.isHidden() and label.text())


def offered(panel: StatusPanel) -> list[str]:
    return [b.accessibleName() for b in panel.findChildren(QPushButton) if not b.isHidden()]


@pytest.mark.parametrize(
    ("state", "words", "busy"),
    [
        (ModelState.NONE, "No model", False),
        (ModelState.PREPARING, "Preparing 42 %", True),
        (ModelState.LOADING, "Loading 42 %", True),
        (ModelState.READY, "Ready", False),
        (ModelState.FAILED, "Not loaded", False),
        (ModelState.CRASHED, "Stopped", False),
    ],
)
def test_chip(chip: ModelChip, state: ModelState, words: str, busy: bool) -> None:
    chip.show_status(ModelStatus(state, "gpt-oss-20b", 0.42))
    assert said(chip) == f"gpt-oss-20b | {words}"
    assert chip.accessibleName() == f"gpt-oss-20b: {words}"
    bar = chip.findChild(QProgressBar)
    assert bar.isVisible() == busy
    assert bar.value() == 42


@pytest.mark.parametrize("state", [ModelState.PREPARING, ModelState.LOADING, ModelState.READY])
def test_the_demo_is_named_at_all_times(panel: StatusPanel, state: ModelState) -> None:
    panel.show_status(ModelStatus(state, "Demo model", 0.5, is_demo=True))
    assert not panel.isHidden()
    assert said(panel) == DEMO
    assert offered(panel) == ["Models…"]


def test_a_real_model_needs_no_notice(panel: StatusPanel) -> None:
    for state in (ModelState.LOADING, ModelState.READY):
        panel.show_status(ModelStatus(state, "gpt-oss-20b"))
        assert panel.isHidden()


def test_failure_says_what_to_do_and_offers_it(panel: StatusPanel, qtbot: QtBot) -> None:
    panel.show_status(ModelStatus(ModelState.FAILED, "x", error=ERROR))
    assert "The file /x.gguf is not a model. Choose another one." in said(panel)
    assert sorted(offered(panel)) == ["Models…", "Try again", "Use the demo model"]
    signals = {
        "Models…": panel.choose_requested,
        "Try again": panel.retry_requested,
        "Use the demo model": panel.demo_requested,
    }
    for button in (b for b in panel.findChildren(QPushButton) if not b.isHidden()):
        with qtbot.waitSignal(signals[button.accessibleName()]):
            button.click()


def test_crash_says_that_chats_are_safe(panel: StatusPanel) -> None:
    panel.show_status(ModelStatus(ModelState.CRASHED, "x", error=ErrorInfo("Signal 6.")))
    assert "Signal 6." in said(panel)
    assert "starts again" in said(panel)
    assert offered(panel) == ["Try again"]


def test_recovery_takes_the_notice_away(panel: StatusPanel) -> None:
    panel.show_status(ModelStatus(ModelState.CRASHED, "x"))
    panel.show_status(ModelStatus(ModelState.READY, "x"))
    assert panel.isHidden()


def info_with(warning: ErrorInfo | None = None) -> ModelInfo:
    plan = Plan(
        Choice(8192), (Use("CPU", 12_000_000_000, 0, 200_000_000),), 4, 512, ErrorInfo("The best."),
        (ErrorInfo("On {place}: too much.", (("place", "CUDA0"),)),), warning,
    )  # fmt: skip
    spec = ModelSpec("/model.gguf")
    return ModelInfo(
        spec, "gpt-oss-20b", "", 8192, 131072, 201088, 12_000_000_000, (),
        plan=plan, allocated=(Use("CPU", 12_000_000_000, 0, 190_000_000),), process=os.getpid(),
    )  # fmt: skip


def tip(chip: ModelChip) -> list[str]:
    QApplication.sendEvent(chip, QHelpEvent(QEvent.Type.ToolTip, QPoint(1, 1), chip.mapToGlobal(QPoint(1, 1))))
    return chip.toolTip().splitlines()


def test_the_tooltip_tells_the_memory_as_it_is_then(chip: ModelChip) -> None:
    chip.show_status(ModelStatus(ModelState.READY, "gpt-oss-20b", info=info_with()))
    title, why, context, foreseen, allocated, used, refused = tip(chip)
    assert (title, why, context) == ("gpt-oss-20b", "The best.", "Context window: 8192 tokens")
    assert foreseen == "Foreseen on CPU: weights 12.0 GB, cache 0.2 GB"
    assert allocated.startswith("Allocated on CPU: weights 12.0 GB, cache 0.2 GB")
    assert re.fullmatch(r"Used now, .*: [\d.]+ [MG]B", used)
    assert refused == "Not tried: On CUDA0: too much."
    chip.show_status(ModelStatus(ModelState.LOADING, "gpt-oss-20b", 0.5, info=info_with()))
    assert tip(chip) == ["gpt-oss-20b"]


def test_an_engine_that_is_gone_uses_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert used_now(process.pid) == 0
    assert used_now(0) == 0
    assert used_now(os.getpid()) > 0


def test_what_the_user_should_know_of_the_plan(panel: StatusPanel) -> None:
    warning = ErrorInfo("The context window is {n_ctx}.", (("n_ctx", "8192"),))
    panel.show_status(ModelStatus(ModelState.READY, "gpt-oss-20b", info=info_with(warning)))
    assert not panel.isHidden()
    assert said(panel) == "The context window is 8192."
    assert offered(panel) == []
    panel.show_status(ModelStatus(ModelState.READY, "gpt-oss-20b", info=info_with()))
    assert panel.isHidden()
