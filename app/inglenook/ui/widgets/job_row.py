"""A long job as one line: its name, a bar, what it does, and Cancel, which becomes Close when it has failed."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from inglenook.core.i18n import N_, tr
from inglenook.ui.theme import SPACE
from inglenook.ui.widgets.toast import announce

_STEPS = 10_000  # of the bar


class JobRow(QFrame):
    """Hidden until a job is shown. `name` is the message id of what Cancel and Close are about, with {action}, {title}.

    Further buttons go before Cancel.
    """

    cancel_requested = Signal()

    def __init__(self, name: str, parent: QWidget | None = None, buttons: tuple[QPushButton, ...] = ()) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self._name = name
        self._stage: object = None
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
        for button in (*buttons, self.cancel):
            button.setCursor(Qt.CursorShape.PointingHandCursor)
            button.setAutoDefault(False)
            row.addWidget(button)
        self.hide()

    def words(self) -> str:
        """What it says."""
        return self._words.text()

    def hide_job(self) -> None:
        """There is none."""
        self._stage = None
        self.hide()

    def show_job(
        self, title: str, heading: str, words: str, part: tuple[int, int], *, stage: object, running: bool, failed: bool
    ) -> None:
        """Shows it; `part` is done and total. A screen reader hears of a new stage, not of each byte."""
        self.show()
        self._title.setText(heading)
        self._bar.setVisible(running)
        self._bar.setValue(_STEPS * part[0] // max(1, part[1]))
        self._words.setText(words)
        self._bar.setAccessibleName(heading)
        self._bar.setAccessibleDescription(words)
        if stage is self._stage:
            return
        self._stage = stage
        label = N_("Close") if failed else N_("Cancel")
        self.cancel.setText(tr(label))
        self.cancel.setAccessibleName(tr(self._name, action=tr(label), title=title))
        announce(self, f"{heading}. {words}")
