"""What a chat without messages shows: a greeting and questions; with the demo model, how to get a real one."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QHideEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QPushButton, QScrollArea, QVBoxLayout, QWidget

from inglenook.core.i18n import N_, tr
from inglenook.ui.panels.get_model import GetModelCard
from inglenook.ui.theme import COLUMN, SPACE

PROMPTS = (
    N_("What can you do?"),
    N_("How do I get gpt-oss-20b?"),
    N_("Show me a table and some code"),
    N_("Tell me a long story"),
)


class EmptyState(QWidget):
    """Emits `prompt_chosen` with the words of the question that was pressed.

    `offering_changed` says whether the card about the model can be seen.
    """

    prompt_chosen = Signal(str)
    offering_changed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("emptyState")
        self._offering = False
        self._columns = 0
        self._greeting = _centred("greeting")
        self._promise = _centred("muted")
        self.card = GetModelCard()
        self._prompts = prompts = QGridLayout()
        prompts.setSpacing(SPACE.s)
        self._buttons: list[QPushButton] = []
        for prompt in PROMPTS:
            button = QPushButton(tr(prompt))
            button.setProperty("role", "prompt")
            button.setAccessibleName(tr(N_("Ask: {question}"), question=tr(prompt)))
            button.setCursor(Qt.CursorShape.PointingHandCursor)
            button.clicked.connect(partial(self._choose, tr(prompt)))
            self._buttons.append(button)
        self._arrange(2)
        inside = QWidget()
        inside.setMaximumWidth(COLUMN)
        page = QWidget()
        row = QHBoxLayout(page)
        row.setContentsMargins(SPACE.xl, SPACE.l, SPACE.xl, SPACE.l)
        row.addStretch(1)
        row.addWidget(inside, 1000)
        row.addStretch(1)
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE.xs)
        column.addStretch(3)
        column.addWidget(self.card)
        column.addSpacing(SPACE.m)
        column.addWidget(self._greeting)
        column.addWidget(self._promise)
        column.addSpacing(SPACE.l)
        column.addLayout(prompts)
        column.addStretch(4)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(page)
        scroll.viewport().setAutoFillBackground(False)
        page.setAutoFillBackground(False)  # the scroll area has set it
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.set_offering(False)

    def set_offering(self, offering: bool) -> None:
        """Whether the card is shown, with the questions as a way to try the demo model meanwhile."""
        self._offering = offering
        self.card.setVisible(offering)
        self._greeting.setVisible(not offering)
        self._greeting.setText(tr(N_("What would you like to talk about?")))
        self._promise.setText(
            tr(N_("Meanwhile, try the small demo model:")) if offering else tr(N_("Everything stays on this computer."))
        )
        self.offering_changed.emit(offering and self.isVisible())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The questions are below each other where two would not fit beside each other."""
        super().resizeEvent(event)
        widest = max(button.sizeHint().width() for button in self._buttons)
        self._arrange(2 if self.width() >= 2 * (widest + SPACE.xl) + SPACE.l else 1)

    def _arrange(self, columns: int) -> None:
        if columns != self._columns:
            self._columns = columns
            for number, button in enumerate(self._buttons):
                self._prompts.addWidget(button, number // columns, number % columns)

    def showEvent(self, event: QShowEvent) -> None:
        """See `offering_changed`."""
        super().showEvent(event)
        self.offering_changed.emit(self._offering)

    def hideEvent(self, event: QHideEvent) -> None:
        """See `offering_changed`."""
        super().hideEvent(event)
        self.offering_changed.emit(False)

    def _choose(self, prompt: str) -> None:
        self.prompt_chosen.emit(prompt)


def _centred(role: str) -> QLabel:
    label = QLabel()
    label.setProperty("role", role)
    label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
    label.setWordWrap(True)
    return label
