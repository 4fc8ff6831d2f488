"""The models: those that are here, whoever brought them, and those to get."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_, tr
from inglenook.core.inference import DEMO
from inglenook.library.catalogue import Format
from inglenook.library.files.found import Found
from inglenook.library.files.usage import disk_use
from inglenook.library.remote.downloads import State
from inglenook.library.shelf_events import OWN, Offer, ShelfStatus
from inglenook.ui import model_words
from inglenook.ui.panels.bin import BinPanel
from inglenook.ui.panels.conversion import ConversionRow
from inglenook.ui.panels.download import DownloadRow
from inglenook.ui.panels.transfer import TransferRow
from inglenook.ui.theme import SPACE, Theme
from inglenook.ui.widgets.address_row import AddressRow
from inglenook.ui.widgets.toast import Toast, announce


class ModelsDialog(QDialog):
    """Shows a `ShelfStatus`; says what the user wants with keys, paths and `Found`s."""

    get_requested = Signal(str)
    find_requested = Signal(str)
    stop_finding_requested = Signal()
    pause_requested = Signal(str)
    cancel_requested = Signal(str)
    use_requested = Signal(Path)
    demo_requested = Signal()
    delete_requested = Signal(object)  # Found
    choose_requested = Signal()
    convert_requested = Signal()
    make_requested = Signal(Path)  # of a checkpoint that is here
    copy_requested = Signal(Path)  # into our own folder
    move_requested = Signal(object)  # Found
    import_file_requested = Signal()
    import_folder_requested = Signal()

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._rows: dict[str, ModelRow] = {}
        self.setWindowTitle(tr(N_("Models")))
        self.setObjectName("models")
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(SPACE.xl, SPACE.l, SPACE.xl, SPACE.l)
        column.setSpacing(SPACE.s)
        self._here = _section(column, tr(N_("On this computer")))
        self._looking = QLabel(tr(N_("Looking into the folders of other programs…")))
        self._looking.setProperty("role", "small")
        column.addWidget(self._looking)
        self.conversion = ConversionRow(self)
        column.addWidget(self.conversion)
        column.addSpacing(SPACE.l)
        self._offers = _section(column, tr(N_("To get")))
        self.address = AddressRow()
        self.address.find_requested.connect(self.find_requested)
        self.address.stop_requested.connect(self.stop_finding_requested)
        column.insertWidget(column.count() - 1, self.address)
        self.bin = BinPanel()
        column.addWidget(self.bin)
        column.addStretch(1)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._scroll.setWidget(page)
        self._disk = QLabel()
        self._disk.setProperty("role", "small")
        self._disk.setTextFormat(Qt.TextFormat.PlainText)
        self._disk.setWordWrap(True)
        foot = QWidget()
        below = QVBoxLayout(foot)
        below.setContentsMargins(SPACE.xl, SPACE.m, SPACE.xl, SPACE.m)
        below.setSpacing(SPACE.m)
        self.transfer = TransferRow(self)  # here, where it is seen however long the list is
        below.addWidget(self.transfer)
        below.addWidget(self._disk)
        row = QHBoxLayout()
        row.setSpacing(SPACE.m)
        below.addLayout(row)
        choose = QPushButton(tr(N_("Choose a &file…")))
        choose.setAccessibleName(tr(N_("Choose a file")))
        choose.setAutoDefault(False)
        choose.clicked.connect(self.choose_requested)
        row.addWidget(choose)
        convert = QPushButton(tr(N_("Con&vert a checkpoint…")))
        convert.setAccessibleName(tr(N_("Convert a checkpoint or an adapter")))
        convert.setAutoDefault(False)
        convert.clicked.connect(self.convert_requested)
        row.addWidget(convert)
        row.addWidget(self._import_button())
        row.addStretch(1)
        row.addWidget(self._close_buttons())
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        outer.addWidget(self._scroll, 1)
        outer.addWidget(_line())
        outer.addWidget(foot)
        self.toast = Toast(self, foot)
        self._demo = self._row("demo")
        self._here.addWidget(self._demo)
        self._demo.act.connect(self.demo_requested)
        self._focused = False
        self.resize(680, 640)

    def show_shelf(self, status: ShelfStatus, answering: str) -> None:
        """Shows it; `answering` is the name of the model that is in use in the chat that is shown.

        Rows stay the same widgets, so that the focus stays where it is.
        """
        self._demo.show_demo(in_use=answering == DEMO)
        here = [(f"here {one.path}", one) for one in (*status.here, *status.checkpoints)]
        listed = {one.place for one in status.checkpoints}
        offers = [
            (f"offer {o.entry.key}", o)
            for o in status.offers
            if not (o.path and (o.entry.format is Format.GGUF or o.path in listed))
        ]
        self._drop({"demo"} | {key for key, _ in here} | {key for key, _ in offers})
        for number, (key, one) in enumerate(here):
            row = self._placed(self._here, key, number + 1)
            row.show_found(one, in_use=str(one.path) == answering, chosen=str(one.path) == status.chosen)
        for number, (key, offer) in enumerate(offers):
            self._placed(self._offers, key, number).show_offer(offer, status.free)
        if not self._focused and offers:
            self._focused = True
            self._placed(self._offers, offers[0][0], 0).take_focus()
        self._looking.setVisible(status.looking)
        self.address.show_finding(status.finding)
        self.address.show_fits({offer.entry.key: offer.fit for offer in status.offers})
        self.conversion.show_conversion(status.conversion)
        self.transfer.show_transfer(status.transfer)
        self.bin.show_bin(status.usage.bin)
        if status.free >= 0:
            self._disk.setText(disk_use(status))

    def show_offered(self, keys: Sequence[str]) -> None:
        """An address has these models: their rows are the first ones to get."""
        if (row := self._rows.get(f"offer {keys[0]}")) is not None:
            self._scroll.ensureWidgetVisible(row)
        announce(self, tr(N_("Models found: {count}. They are the next in the list."), count=len(keys)))

    def row(self, key: str) -> ModelRow:
        """The row "demo", "here PATH" or "offer KEY"."""
        return self._rows[key]

    def _row(self, key: str) -> ModelRow:
        row = self._rows[key] = ModelRow()
        row.get.connect(self.get_requested)
        row.pause.connect(self.pause_requested)
        row.cancel.connect(self.cancel_requested)
        row.use.connect(self.use_requested)
        row.delete.connect(self.delete_requested)
        row.make.connect(self.make_requested)
        row.copy_here.connect(self.copy_requested)
        row.move_away.connect(self.move_requested)
        return row

    def _placed(self, layout: QVBoxLayout, key: str, number: int) -> ModelRow:
        row = self._rows.get(key) or self._row(key)
        if layout.indexOf(row) != number:
            layout.insertWidget(number, row)
            row.show()  # now, so that it can be given the focus
        return row

    def _drop(self, kept: Iterable[str]) -> None:
        for key in set(self._rows) - set(kept):
            row = self._rows.pop(key)
            if row.isAncestorOf(self.focusWidget() or self):
                self._scroll.setFocus()
            row.hide()
            row.deleteLater()

    def _import_button(self) -> QPushButton:
        button = QPushButton(tr(N_("C&opy here…")))
        button.setAccessibleName(tr(N_("Copy a model into Inglenook's folder")))
        button.setAutoDefault(False)
        menu = QMenu(button)
        menu.addAction(tr(N_("From a &file…")), self.import_file_requested.emit)
        menu.addAction(tr(N_("From a fol&der or drive…")), self.import_folder_requested.emit)
        button.setMenu(menu)
        return button

    def _close_buttons(self) -> QDialogButtonBox:
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close = buttons.button(QDialogButtonBox.StandardButton.Close)
        close.setText(tr(N_("&Close")))
        close.setAccessibleName(tr(N_("Close")))
        close.setIcon(QIcon())
        close.setAutoDefault(False)
        buttons.rejected.connect(self.reject)
        return buttons


class ModelRow(QFrame):
    """One model: its name, what there is to know, what can be done."""

    act = Signal()
    get = Signal(str)
    pause = Signal(str)
    cancel = Signal(str)
    use = Signal(Path)
    delete = Signal(object)
    make = Signal(Path)
    copy_here = Signal(Path)
    move_away = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self._key = ""
        self._found: Found | None = None
        self._checkpoint: Path | None = None
        self._title = QLabel()
        self._title.setProperty("role", "title")
        self._about = QLabel()
        self._about.setProperty("role", "small")
        for label in (self._title, self._about):
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setWordWrap(True)
        self.button = QPushButton()
        self.copying = QPushButton(tr(N_("Copy here")))
        self.moving = QPushButton(tr(N_("Move…")))
        self.remove = QPushButton(tr(N_("Delete")))
        for button in (self.button, self.copying, self.moving, self.remove):
            button.setCursor(Qt.CursorShape.PointingHandCursor)
            button.setAutoDefault(False)
        self.button.clicked.connect(self._act)
        self.remove.clicked.connect(lambda: self.delete.emit(self._found))
        self.copying.clicked.connect(self._copy)
        self.moving.clicked.connect(lambda: self.move_away.emit(self._found))
        for button in (self.copying, self.moving, self.remove):
            button.hide()
        self.progress = DownloadRow()
        self.progress.pause_requested.connect(lambda: self.pause.emit(self._key))
        self.progress.resume_requested.connect(lambda: self.get.emit(self._key))
        self.progress.cancel_requested.connect(lambda: self.cancel.emit(self._key))
        self.progress.hide()
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self._title)
        words.addWidget(self._about)
        top = QHBoxLayout()
        top.setSpacing(SPACE.s)
        top.addLayout(words, 1)
        for button in (self.button, self.copying, self.moving, self.remove):
            top.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE.m, SPACE.m, SPACE.m, SPACE.m)
        column.setSpacing(SPACE.s)
        column.addLayout(top)
        column.addWidget(self.progress)

    def take_focus(self) -> None:
        """Gives the keyboard to what can be done first."""
        (self.progress.go if not self.progress.isHidden() else self.button).setFocus()

    def about(self) -> str:
        """What it says below the name."""
        return self._about.text()

    def show_demo(self, *, in_use: bool) -> None:
        """The model that comes with the program."""
        self._say(tr(N_("Demo model")), [tr(N_("Comes with Inglenook: small and quick, and knows little."))])
        self._offer_use(in_use, usable=True)

    def show_found(self, found: Found, *, in_use: bool, chosen: bool) -> None:
        """A model that is here."""
        self._found = found
        self._checkpoint = found.place if found.is_checkpoint else None
        lines = [f"{gigabytes(found.size)} · {found.owner or tr(N_('A file that you chose'))}", str(found.place)]
        if found.problem is not None:
            lines = [found.owner, str(found.place), found.problem.text()]
        elif found.is_checkpoint:
            size, owner = gigabytes(found.size), found.owner
            lines[0] = tr(N_("{size} · {owner} · A checkpoint: Convert makes a model of it."), size=size, owner=owner)
        elif found.owner not in (OWN, ""):
            lines[0] = tr(N_("{size} · from {owner}, used where it is"), size=gigabytes(found.size), owner=found.owner)
        self._say(found.title, lines)
        if found.is_checkpoint:
            self.button.setText(tr(N_("Convert")))
            self.button.setAccessibleName(tr(N_("Convert {title}"), title=found.title))
            self.button.setVisible(found.problem is None)
        else:
            self._offer_use(in_use and found.problem is None, usable=found.problem is None)
        own = found.owner == OWN
        self.remove.setVisible(own)
        self.remove.setEnabled(not in_use and not chosen)
        lost = not found.files
        self.remove.setText(tr(N_("Forget") if lost else N_("Delete")))
        self.remove.setAccessibleName(tr(N_("Forget {title}") if lost else N_("Delete {title}"), title=found.title))
        self.copying.setVisible(not own and found.problem is None)
        self.copying.setAccessibleName(tr(N_("Copy {title} into Inglenook's folder"), title=found.title))
        self.moving.setVisible(found.owner in (OWN, "") and found.problem is None)
        self.moving.setAccessibleName(tr(N_("Move {title} to another folder"), title=found.title))

    def show_offer(self, offer: Offer, free: int) -> None:
        """A model of the catalogue."""
        entry, download = offer.entry, offer.download
        self._key, self._checkpoint = entry.key, offer.path
        title = tr(entry.title)
        facts = [gigabytes(entry.size), entry.licence]
        if entry.recommended:
            facts.insert(0, tr(N_("Recommended")))
        lines = [f"{' · '.join(facts)} · {tr(entry.note)}", model_words.fit(offer.fit)]
        if offer.path is not None:
            lines.append(tr(N_("It is here: {path}. Convert makes a model of it."), path=offer.path))
        elif download is None and 0 <= free < entry.size:
            lines.append(model_words.disk(offer, free))
        self._say(title, lines)
        running = download is not None and download.state is not State.FINISHED
        had_focus = QApplication.focusWidget() in (self.button, self.progress.go, self.progress.cancel)
        if download is not None:
            self.progress.show_download(download)
        changed = self.progress.isHidden() == running
        self.progress.setVisible(running)
        self.button.setVisible(not running)
        self.button.setText(tr(N_("Get") if offer.path is None else N_("Convert")))
        self.button.setAccessibleName(
            tr(N_("Get {title}") if offer.path is None else N_("Convert {title}"), title=title)
        )
        if changed and had_focus:
            (self.progress.go if running else self.button).setFocus()

    def _say(self, title: str, lines: list[str]) -> None:
        self._title.setText(title)
        self._about.setText("\n".join(line for line in lines if line))
        self.setAccessibleName(title)
        self.setAccessibleDescription(self._about.text())

    def _offer_use(self, in_use: bool, *, usable: bool) -> None:
        words = tr(N_("In use")) if in_use else tr(N_("Use"))
        self.button.setText(words)
        self.button.setEnabled(usable and not in_use)
        self.button.setVisible(usable or in_use)
        name = N_("{title} is in use") if in_use else N_("Use {title}")
        self.button.setAccessibleName(tr(name, title=self._title.text()))

    def _copy(self) -> None:
        if self._found is not None:
            self.copy_here.emit(self._found.path)

    def _act(self) -> None:
        if self._checkpoint is not None:
            self.make.emit(self._checkpoint)
        elif self._key:
            self.get.emit(self._key)
        elif self._found is not None:
            self.use.emit(self._found.path)
        else:
            self.act.emit()


def _section(column: QVBoxLayout, title: str) -> QVBoxLayout:
    heading = QLabel(title)
    heading.setProperty("role", "section")
    column.addWidget(heading)
    inside = QVBoxLayout()
    inside.setSpacing(SPACE.s)
    column.addLayout(inside)
    return inside


def _line() -> QFrame:
    line = QFrame()
    line.setProperty("role", "line")
    line.setFixedHeight(1)
    return line
