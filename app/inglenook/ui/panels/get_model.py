"""The first page of a new user: what getting gpt-oss-20b means for this computer, and one button that does it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QApplication, QFrame, QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from inglenook.core.i18n import N_, tr
from inglenook.library.shelf_events import OWN, ShelfStatus
from inglenook.ui import model_words
from inglenook.ui.panels.download import DownloadRow
from inglenook.ui.theme import SPACE

_FACTS = (N_("Download"), N_("Disk"), N_("Memory"), N_("Runs on"))


class GetModelCard(QFrame):
    """Says what will happen, then how it goes. Signals carry the key of the model."""

    get_requested = Signal(str)
    pause_requested = Signal(str)
    cancel_requested = Signal(str)
    use_requested = Signal(Path)
    more_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._key = ""
        self._path = Path()  # of a model that is here already
        self._rate = 0.0  # bytes a second, as soon as that is measured
        self.setObjectName("card")
        self._title = QLabel()
        self._title.setProperty("role", "title")
        self._title.setWordWrap(True)
        self._facts = {name: self._fact() for name in _FACTS}
        grid = QGridLayout()
        grid.setHorizontalSpacing(SPACE.l)
        grid.setVerticalSpacing(SPACE.xs)
        grid.setColumnStretch(1, 1)
        for number, (name, label) in enumerate(self._facts.items()):
            heading = QLabel(tr(name))
            heading.setProperty("role", "small")
            grid.addWidget(heading, number, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(label, number, 1)
        self.get = QPushButton()
        self.get.setProperty("role", "primary")
        self.get.clicked.connect(lambda: self.get_requested.emit(self._key))
        self.use = QPushButton(tr(N_("Use")))
        self.use.hide()
        self.use.clicked.connect(lambda: self.use_requested.emit(self._path))
        self.more = QPushButton(tr(N_("Other models…")))
        self.more.setAccessibleName(tr(N_("Other models")))
        self.more.clicked.connect(self.more_requested)
        self.row = DownloadRow()
        self.row.pause_requested.connect(lambda: self.pause_requested.emit(self._key))
        self.row.resume_requested.connect(lambda: self.get_requested.emit(self._key))
        self.row.cancel_requested.connect(lambda: self.cancel_requested.emit(self._key))
        self.row.hide()
        buttons = QHBoxLayout()
        buttons.setSpacing(SPACE.s)
        buttons.addWidget(self.get)
        buttons.addWidget(self.use)
        buttons.addWidget(self.more)
        buttons.addStretch(1)
        for button in (self.get, self.use, self.more):
            button.setCursor(Qt.CursorShape.PointingHandCursor)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE.l, SPACE.l, SPACE.l, SPACE.l)
        column.setSpacing(SPACE.m)
        column.addWidget(self._title)
        column.addLayout(grid)
        column.addWidget(self.row)
        column.addLayout(buttons)

    def show_status(self, status: ShelfStatus) -> None:
        """Shows the recommended model."""
        offer = status.recommended
        title = tr(offer.entry.title)
        self._key = offer.entry.key
        running = offer.download is not None
        self._title.setText(
            tr(N_("{title} is on its way. The chat begins with it by itself."), title=title)
            if running
            else tr(N_("Get {title}: one download, then everything works without a network"), title=title)
        )
        if offer.download is not None and offer.download.rate:
            self._rate = offer.download.rate
        self._facts[_FACTS[0]].setText(model_words.download(offer.entry.size, status.source, self._rate))
        self._facts[_FACTS[1]].setText(model_words.disk(offer, status.free))
        self._facts[_FACTS[2]].setText(model_words.fit(offer.fit))
        self._facts[_FACTS[3]].setText(model_words.device(offer.fit, offer.entry.layers) or "–")
        self.get.setText(tr(N_("Get {title}"), title=title))
        had_focus = QApplication.focusWidget() in (self.get, self.row.go, self.row.cancel)
        if offer.download is not None:
            self.row.show_download(offer.download)
        changed = self.row.isHidden() == running
        self.row.setVisible(running)
        self._offer_what_is_here(status, running)
        if changed and had_focus:
            (self.row.go if running else self.get).setFocus()
        self.setAccessibleName(self._title.text())
        self.setAccessibleDescription(" ".join(label.text() for label in self._facts.values()))

    def _offer_what_is_here(self, status: ShelfStatus, running: bool) -> None:
        """Nobody has to fetch what another program has fetched."""
        here = next((one for one in status.here if one.problem is None), None)
        self.get.setVisible(not running and status.recommended.path is None)
        self.use.setVisible(not running and here is not None)
        if here is not None:
            self._path = here.path
            words = N_("Use {title}") if here.owner == OWN else N_("Use {title} from {owner}")
            self.use.setText(tr(words, title=here.title, owner=here.owner))

    def _fact(self) -> QLabel:
        label = QLabel()
        label.setWordWrap(True)
        label.setTextFormat(Qt.TextFormat.PlainText)
        return label
