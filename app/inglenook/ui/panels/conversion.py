"""A conversion as one line: what it does, how far it is, what can be done about it. Used wherever one is shown."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_, tr
from inglenook.library.conversions import RUNNING, ConversionStatus, Stage
from inglenook.ui import model_words
from inglenook.ui.theme import SPACE
from inglenook.ui.widgets.toast import announce

_STEPS = 10_000  # of the bar


def words_of(status: ConversionStatus) -> str:
    """How it goes; what is missing or wrong."""
    amount = tr(N_("{done} of {total}"), done=gigabytes(status.done), total=gigabytes(status.total))
    match status.stage:
        case Stage.NEEDS_BASE if status.wants:
            text = N_("This adapter belongs to the model {name}, which is not found here. Choose that model's folder.")
            return tr(text, name=status.wants)
        case Stage.NEEDS_BASE:
            return tr(N_("This adapter does not say which model it belongs to. Choose that model's folder."))
        case Stage.READING:
            return tr(N_("Reading the checkpoint, and what room it takes…"))
        case Stage.SYNCING:
            return tr(N_("Step 1 of 2, writing: waiting for the disk…"))
        case Stage.WRITING:
            text = tr(N_("Step 1 of 2, writing: {amount}"), amount=amount)
        case Stage.VERIFYING:
            text = tr(N_("Step 2 of 2, comparing with the checkpoint: {amount}"), amount=amount)
        case _:
            return status.error.text() if status.error is not None else amount
    parts = [text]
    if status.rate:
        parts.append(tr(N_("{rate} a second"), rate=gigabytes(round(status.rate))))
    if status.seconds_left is not None:
        parts.append(tr(N_("{time} left"), time=model_words.duration(status.seconds_left)))
    return " · ".join(parts)


class ConversionRow(QFrame):
    """Shows one conversion; hidden without one. Cancel becomes Close when it has failed."""

    base_requested = Signal()
    cancel_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self._stage: Stage | None = None
        self._title = QLabel()
        self._title.setProperty("role", "title")
        self._words = QLabel()
        self._words.setProperty("role", "small")
        for label in (self._title, self._words):
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setWordWrap(True)
        self._bar = QProgressBar()
        self._bar.setRange(0, _STEPS)
        self._bar.setTextVisible(False)
        self.base = QPushButton(tr(N_("Choose its &base…")))
        self.base.setAccessibleName(tr(N_("Choose the model that the adapter belongs to")))
        self.base.clicked.connect(self.base_requested)
        self.cancel = QPushButton(tr(N_("Cancel")))
        self.cancel.clicked.connect(self.cancel_requested)
        left = QVBoxLayout()
        left.setSpacing(SPACE.xs)
        left.addWidget(self._title)
        left.addWidget(self._bar)
        left.addWidget(self._words)
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE.m, SPACE.s, SPACE.m, SPACE.s)
        row.setSpacing(SPACE.s)
        row.addLayout(left, 1)
        row.addSpacing(SPACE.s)
        for button in (self.base, self.cancel):
            button.setCursor(Qt.CursorShape.PointingHandCursor)
            button.setAutoDefault(False)
            row.addWidget(button)
        self.hide()

    def show_conversion(self, status: ConversionStatus | None) -> None:
        """Shows it; a screen reader hears of a new step, not of each byte."""
        self.setVisible(status is not None)
        if status is None:
            self._stage = None
            return
        running = status.stage in RUNNING
        title = N_("Converting {title}") if running else "{title}"
        self._title.setText(tr(title, title=status.title))
        self._bar.setVisible(running)
        self._bar.setValue(_STEPS * status.done // max(1, status.total))
        self._words.setText(words_of(status))
        self._bar.setAccessibleName(self._title.text())
        self._bar.setAccessibleDescription(self._words.text())
        if status.stage is self._stage:
            return
        self._stage = status.stage
        self.base.setVisible(status.stage is Stage.NEEDS_BASE)
        label = N_("Close") if status.stage is Stage.FAILED else N_("Cancel")
        self.cancel.setText(tr(label))
        name = N_("{action}: conversion of {title}")
        self.cancel.setAccessibleName(tr(name, action=tr(label), title=status.title))
        announce(self, f"{self._title.text()}. {self._words.text()}")

    def words(self) -> str:
        """What it says."""
        return self._words.text()
