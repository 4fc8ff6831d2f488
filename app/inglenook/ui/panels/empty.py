"""What a chat without messages shows: a greeting, and questions to begin with."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from inglenook.core.i18n import N_, tr
from inglenook.ui.theme import COLUMN, SPACE

PROMPTS = (
    N_("What can you do?"),
    N_("How do I get gpt-oss-20b?"),
    N_("Show me a table and some code"),
    N_("Tell me a long story"),
)


class EmptyState(QWidget):
    """Emits `prompt_chosen` with the words of the question that was pressed."""

    prompt_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("emptyState")
        greeting = QLabel(tr(N_("What would you like to talk about?")))
        greeting.setProperty("role", "greeting")
        greeting.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        greeting.setWordWrap(True)
        promise = QLabel(tr(N_("Everything stays on this computer.")))
        promise.setProperty("role", "muted")
        promise.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        promise.setWordWrap(True)
        prompts = QGridLayout()
        prompts.setSpacing(SPACE.s)
        for number, prompt in enumerate(PROMPTS):
            button = QPushButton(tr(prompt))
            button.setProperty("role", "prompt")
            button.setAccessibleName(tr(N_("Ask: {question}"), question=tr(prompt)))
            button.setCursor(Qt.CursorShape.PointingHandCursor)
            button.clicked.connect(partial(self._choose, tr(prompt)))
            prompts.addWidget(button, number // 2, number % 2)
        inside = QWidget()
        inside.setMaximumWidth(COLUMN)
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE.xl, SPACE.l, SPACE.xl, SPACE.l)
        row.addStretch(1)
        row.addWidget(inside, 1000)
        row.addStretch(1)
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE.xs)
        column.addStretch(3)
        column.addWidget(greeting)
        column.addWidget(promise)
        column.addSpacing(SPACE.xl)
        column.addLayout(prompts)
        column.addStretch(4)

    def _choose(self, prompt: str) -> None:
        self.prompt_chosen.emit(prompt)
