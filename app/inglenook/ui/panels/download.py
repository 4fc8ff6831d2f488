"""A download as one line: how far it is, and what can be done about it. Used wherever one is shown."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from inglenook.core.i18n import N_, tr
from inglenook.library.remote.downloads import DownloadStatus, State
from inglenook.ui import model_words
from inglenook.ui.theme import SPACE
from inglenook.ui.widgets.toast import announce

_STEPS = 10_000  # of the bar: a step is 1.2 MB of the 20b model


class DownloadRow(QWidget):
    """Shows one download. The one button is Pause, Resume or Try again, so that the focus stays where it is."""

    pause_requested = Signal()
    resume_requested = Signal()
    cancel_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state: State | None = None
        self._words = QLabel()
        self._words.setProperty("role", "small")
        self._words.setWordWrap(True)
        self._words.setTextFormat(Qt.TextFormat.PlainText)
        self._bar = QProgressBar()
        self._bar.setRange(0, _STEPS)
        self._bar.setTextVisible(False)
        self.go = QPushButton(tr(N_("Pause")))
        self.go.setCursor(Qt.CursorShape.PointingHandCursor)
        self.go.clicked.connect(self._go_on)
        self.cancel = QPushButton(tr(N_("Cancel")))
        self.cancel.setCursor(Qt.CursorShape.PointingHandCursor)
        self.cancel.clicked.connect(self.cancel_requested)
        left = QVBoxLayout()
        left.setSpacing(SPACE.s)
        left.addWidget(self._bar)
        left.addWidget(self._words)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(SPACE.s)
        row.addLayout(left, 1)
        row.addSpacing(SPACE.s)
        row.addWidget(self.go)
        row.addWidget(self.cancel)

    def show_download(self, status: DownloadStatus) -> None:
        """Shows it; a screen reader hears of a new state, not of each byte."""
        words = model_words.progress(status)
        self._bar.setValue(_STEPS * status.done // max(1, status.total))
        self._bar.setAccessibleName(tr(N_("Download of {title}"), title=status.title))
        self._bar.setAccessibleDescription(words)
        self._words.setText(words)
        if status.state is self._state:
            return
        self._state = status.state
        label = N_("Pause")
        if status.state is State.PAUSED:
            label = N_("Resume")
        elif status.state is State.FAILED:
            label = N_("Try again")
        self.go.setText(tr(label))
        self.go.setAccessibleName(tr(N_("{action}: download of {title}"), action=tr(label), title=status.title))
        self.cancel.setAccessibleName(tr(N_("Cancel: download of {title}"), title=status.title))
        announce(self, words)

    def words(self) -> str:
        """What it says."""
        return self._words.text()

    def _go_on(self) -> None:
        if self._state in model_words.STILL:
            self.resume_requested.emit()
        else:
            self.pause_requested.emit()


class DownloadBar(QFrame):
    """The download above a conversation, with the model's name."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("notice")
        self._title = QLabel()
        self._title.setProperty("role", "title")
        self._title.setTextFormat(Qt.TextFormat.PlainText)
        self.row = DownloadRow()
        line = QHBoxLayout(self)
        line.setContentsMargins(SPACE.l, SPACE.s, SPACE.m, SPACE.s)
        line.setSpacing(SPACE.l)
        line.addWidget(self._title)
        line.addWidget(self.row, 1)
        self.hide()

    def show_download(self, status: DownloadStatus | None) -> None:
        """Shows it; None hides the bar."""
        if status is not None:
            self._title.setText(status.title)
            self.row.show_download(status)
        self.setVisible(status is not None)
