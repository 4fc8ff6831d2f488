"""Deleted models that can be brought back, each with its size and until when; and making room at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import QDateTime, QLocale, Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_, tr
from inglenook.library.files.bin import Binned
from inglenook.ui.theme import SPACE


def words_of(one: Binned) -> str:
    """Its size, and who can bring it back until when."""
    if one.until:
        time = QLocale().toString(QDateTime.fromSecsSinceEpoch(int(one.until)), QLocale.FormatType.ShortFormat)
        text = tr(N_("can be brought back until {time}"), time=time)
    elif one.ours:
        text = tr(N_("can be brought back until another model is deleted or Inglenook is closed"))
    else:
        text = tr(N_("can be brought back by the window that deleted it"))
    return f"{gigabytes(one.size)} · {text}"


class BinPanel(QWidget):
    """Shows what lies in the bin; hidden while it is empty. `restore_requested` has the id of a `Binned`."""

    restore_requested = Signal(str)
    empty_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown: tuple[Binned, ...] = ()
        self._rows: list[QFrame] = []
        heading = QLabel(tr(N_("Deleted")))
        heading.setProperty("role", "section")
        self.empty = QPushButton(tr(N_("Empty the bin")))
        self.empty.setAccessibleName(tr(N_("Remove deleted models for good")))
        self.empty.setAutoDefault(False)
        self.empty.clicked.connect(self.empty_requested)
        top = QHBoxLayout()
        top.addWidget(heading, 1)
        top.addWidget(self.empty)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, SPACE.l, 0, 0)
        self._column.setSpacing(SPACE.s)
        self._column.addLayout(top)
        self.hide()

    def show_bin(self, bin_: Sequence[Binned]) -> None:
        """Shows it. The rows stay, and the focus on them, where nothing has changed."""
        if tuple(bin_) == self._shown:
            return
        self._shown = tuple(bin_)
        had_focus = self.isAncestorOf(self.window().focusWidget() or self)
        for row in self._rows:
            row.hide()
            row.deleteLater()
        self._rows = [self._row(one) for one in bin_]
        self.setVisible(bool(bin_))
        if had_focus and bin_:
            self.empty.setFocus()

    def _row(self, one: Binned) -> QFrame:
        row = QFrame()
        row.setObjectName("card")
        title, about = QLabel(one.title), QLabel(words_of(one))
        title.setProperty("role", "title")
        about.setProperty("role", "small")
        for label in (title, about):
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setWordWrap(True)
        row.setAccessibleName(one.title)
        row.setAccessibleDescription(about.text())
        restore = QPushButton(tr(N_("Restore")))
        restore.setAccessibleName(tr(N_("Restore {title}"), title=one.title))
        restore.setAccessibleDescription(about.text())
        restore.setAutoDefault(False)
        restore.setVisible(one.can_return)
        restore.clicked.connect(partial(self.restore_requested.emit, one.id))
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(title)
        words.addWidget(about)
        line = QHBoxLayout(row)
        line.setContentsMargins(SPACE.m, SPACE.m, SPACE.m, SPACE.m)
        line.addLayout(words, 1)
        line.addWidget(restore)
        self._column.addWidget(row)
        return row
