"""The window's part about models and the network: dialogs, the first page's card, the download above a conversation.

Like the window for the rest, it alone connects those panels with each other and with the rooms below.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog, QMessageBox, QWidget

from inglenook.core.conversation import Conversation
from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_, tr
from inglenook.core.inference import DEMO
from inglenook.core.settings import Settings
from inglenook.library.files.transfers import What
from inglenook.library.remote.downloads import DownloadStatus, State
from inglenook.library.shelf_events import (
    Arrived,
    Emptied,
    Offered,
    Removed,
    Restored,
    ShelfEvent,
    ShelfFailed,
    ShelfStatus,
    TrafficRead,
    Transferred,
)
from inglenook.ui.convert_desk import ConvertDesk
from inglenook.ui.panels.download import DownloadBar
from inglenook.ui.panels.empty import EmptyState
from inglenook.ui.services import Models, Shelf
from inglenook.ui.theme import Theme
from inglenook.ui.transfer_desk import TransferDesk
from inglenook.ui.widgets.drop import DropTarget
from inglenook.ui.widgets.toast import Toast

if TYPE_CHECKING:  # the first paint does not need them
    from inglenook.ui.dialogs.models import ModelsDialog
    from inglenook.ui.dialogs.network import NetworkDialog

_ASK_BYTES = 100_000_000  # cancelling a download that has brought more is asked about: it cannot be undone


class ModelDesk(QObject):
    """Made by the window, which hands it the events of models and shelf, and places `bar`.

    `use_requested` has the name of a model (`core.inference.ModelSource`), `arrived` the file of one that was fetched
    and is being loaded.
    """

    use_requested = Signal(str)
    arrived = Signal(Path)

    def __init__(
        self, window: QWidget, models: Models, shelf: Shelf, settings: Settings, theme: Theme, empty: EmptyState
    ) -> None:
        super().__init__(window)
        self._window, self._models, self._shelf = window, models, shelf
        self._settings, self._theme, self._empty = settings, theme, empty
        self._dialog: ModelsDialog | None = None
        self._network: NetworkDialog | None = None
        self._key = ""  # of the download in the bar
        self._name = models.answering("")
        self._card_seen = False
        self.toast: Toast | None = None  # the window's, when it is laid out
        self.bar = DownloadBar(window)
        self.conversions = ConvertDesk(window, shelf)
        self.conversions.use_requested.connect(self._use)
        self.conversions.said.connect(lambda text: self._notice(text, seconds=15))
        self.transfers = TransferDesk(window, shelf)
        card = empty.card
        card.get_requested.connect(shelf.get)
        card.pause_requested.connect(shelf.pause)
        card.cancel_requested.connect(self.cancel)
        card.use_requested.connect(self._use)
        card.more_requested.connect(self.open_models)
        empty.offering_changed.connect(self._on_offering)
        self.bar.row.pause_requested.connect(lambda: shelf.pause(self._key))
        self.bar.row.resume_requested.connect(lambda: shelf.get(self._key))
        self.bar.row.cancel_requested.connect(lambda: self.cancel(self._key))
        empty.set_offering(self._name == DEMO)
        self.show_shelf(shelf.status())
        application = QGuiApplication.instance()
        if isinstance(application, QGuiApplication):
            application.applicationStateChanged.connect(self._on_application_state)

    # -- what the user wants --

    def choose_file(self, parent: QWidget | None = None) -> None:
        """Asks for a model file."""
        folder = str(Path.home() / "Downloads") if (Path.home() / "Downloads").is_dir() else str(Path.home())
        dialog = QFileDialog(parent or self._window, tr(N_("Choose a model file")), folder)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters([tr(N_("Models (*.gguf)")), tr(N_("All files (*)"))])
        dialog.fileSelected.connect(lambda name: self._use(Path(name)))
        dialog.open()

    def open_models(self) -> None:
        """Shows the models that are here and those to get."""
        from inglenook.ui.dialogs.models import ModelsDialog

        if self._dialog is None:
            dialog = ModelsDialog(self._theme, self._window)
            dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            dialog.finished.connect(self._forget_models)
            dialog.get_requested.connect(self._shelf.get)
            dialog.find_requested.connect(self._shelf.find)
            dialog.stop_finding_requested.connect(self._shelf.stop_finding)
            dialog.pause_requested.connect(self._shelf.pause)
            dialog.cancel_requested.connect(self.cancel)
            dialog.use_requested.connect(self._use)
            dialog.demo_requested.connect(lambda: self.use_requested.emit(DEMO))
            dialog.delete_requested.connect(self._shelf.delete)
            dialog.choose_requested.connect(partial(self.choose_file, dialog))
            dialog.convert_requested.connect(partial(self.conversions.choose, dialog))
            dialog.make_requested.connect(self._shelf.convert)
            dialog.copy_requested.connect(self._shelf.import_model)
            dialog.move_requested.connect(lambda model: self.transfers.choose_place(model, dialog))
            dialog.import_file_requested.connect(partial(self.transfers.choose_file, dialog))
            dialog.import_folder_requested.connect(partial(self.transfers.choose_folder, dialog))
            dialog.bin.restore_requested.connect(self._shelf.undo_delete)
            dialog.bin.empty_requested.connect(self._empty_bin)
            self.transfers.serve(dialog.transfer)
            self.conversions.serve(dialog.conversion)
            DropTarget(dialog).brought.connect(self.conversions.take)
            dialog.show_shelf(self._shelf.status(), self._name)
            self._dialog = dialog
        self._shelf.refresh()
        self._dialog.open()

    def open_network(self) -> None:
        """Shows every request ever made, and the switch."""
        from inglenook.ui.dialogs.network import NetworkDialog

        if self._network is None:
            self._network = NetworkDialog(self._settings, self._theme, self._window)
            self._network.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            self._network.finished.connect(self._forget_network)
            self._network.refresh_requested.connect(self._shelf.read_traffic)
        self._shelf.read_traffic()
        self._network.open()

    def cancel(self, key: str) -> None:
        """Cancels a download, after a question if much would be lost."""
        download = self._shelf.status().offer(key).download
        if download is None or download.done < _ASK_BYTES:
            self._shelf.cancel(key)
            return
        box = QMessageBox(self._dialog or self._window)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.setIcon(QMessageBox.Icon.Question)
        box.setText(tr(N_("Cancel the download of {title}?"), title=download.title))
        text = N_("The {size} that have arrived are removed. Pause keeps them.")
        box.setInformativeText(tr(text, size=gigabytes(download.done)))
        away = box.addButton(tr(N_("Remove them")), QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(tr(N_("Go on")), QMessageBox.ButtonRole.RejectRole))
        away.clicked.connect(lambda: self._shelf.cancel(key))
        box.open()

    def _empty_bin(self) -> None:
        """After a question: what is removed cannot be brought back."""
        box = QMessageBox(self._dialog or self._window)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.setIcon(QMessageBox.Icon.Question)
        box.setText(tr(N_("Remove the deleted models for good?")))
        size = gigabytes(self._shelf.status().usage.binned)
        box.setInformativeText(tr(N_("That makes {size} of room. They cannot be brought back then."), size=size))
        away = box.addButton(tr(N_("Remove them")), QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(tr(N_("Keep them")), QMessageBox.ButtonRole.RejectRole))
        away.clicked.connect(self._shelf.empty_bin)
        box.open()

    # -- what happened --

    def show_remembered(self, conversations: Sequence[Conversation]) -> None:
        """The models of all conversations are listed, wherever they are."""
        self._shelf.remember(frozenset(c.model for c in conversations if c.model))

    def show_answering(self, name: str) -> None:
        """The model of the conversation that is shown."""
        self._name = name
        self._empty.set_offering(name == DEMO)
        if self._dialog is not None:
            self._dialog.show_shelf(self._shelf.status(), name)

    def on_shelf(self, event: ShelfEvent) -> None:
        """Something about models on offer or here."""
        match event:
            case ShelfStatus():
                self.show_shelf(event)
            case ShelfFailed():
                self._notice(event.error.text(), seconds=15)
            case Offered():
                if self._dialog is not None:
                    self._dialog.show_offered(event.keys)
            case Arrived():
                self._on_arrived(event)
            case Transferred():
                self._on_transferred(event)
            case Removed():
                self._notice(
                    tr(N_("“{title}” was deleted."), title=event.title), tr(N_("&Undo")), self._shelf.undo_delete
                )
            case Restored():
                self._notice(tr(N_("{title} is back."), title=event.title))
            case Emptied():
                self._notice(tr(N_("The bin is empty: {size} more room."), size=gigabytes(event.freed)))
            case TrafficRead():
                if self._network is not None:
                    self._network.show_requests(event.requests)

    def show_shelf(self, status: ShelfStatus) -> None:
        """What there is."""
        self._empty.card.show_status(status)
        self.conversions.show_conversion(status.conversion)
        self.transfers.show_transfer(status.transfer)
        if self._dialog is not None:
            self._dialog.show_shelf(status, self._name)
        self._show_bar(status)

    def _on_application_state(self, state: Qt.ApplicationState) -> None:
        """Back from a terminal, say, where another model was chosen."""
        if state is Qt.ApplicationState.ApplicationActive:
            self._settings.look()

    def _use(self, path: Path) -> None:
        self.use_requested.emit(str(path.absolute()))

    def _show_bar(self, status: ShelfStatus) -> None:
        shown: DownloadStatus | None = None
        for offer in status.offers:
            download = offer.download
            if download is None or download.state is State.FINISHED or (self._card_seen and offer.entry.recommended):
                continue
            if shown is None or offer.entry.key == self._key:
                shown, self._key = download, offer.entry.key
        self.bar.show_download(shown)

    def _on_offering(self, seen: bool) -> None:
        self._card_seen = seen
        self._show_bar(self._shelf.status())

    def _on_arrived(self, event: Arrived) -> None:
        if event.used:
            self.arrived.emit(event.path)
            self._notice(tr(N_("{title} is here, and is being loaded."), title=event.title))
        elif event.path.suffix == ".gguf":
            self._notice(
                tr(N_("{title} is here."), title=event.title),
                tr(N_("&Use it")),
                lambda: self._use(event.path),
            )
        else:
            self._notice(tr(N_("{title} is here."), title=event.title))

    def _on_transferred(self, event: Transferred) -> None:
        status, path = event.status, event.status.path
        assert path is not None
        if status.what is What.IMPORT and status.is_checkpoint:
            self._notice(status.text(), tr(N_("&Convert")), lambda: self._shelf.convert(path.parent), seconds=15)
            return
        if status.what is What.IMPORT and not event.used:
            self._notice(status.text(), tr(N_("&Use it")), lambda: self._use(path), seconds=15)
            return
        if event.used:
            self.arrived.emit(path)
        self._notice(status.text(), seconds=15)

    def _notice(self, text: str, action: str = "", do: object = None, seconds: float = 8.0) -> None:
        toast = self._dialog.toast if self._dialog is not None else self.toast
        if toast is not None:
            toast.show_notice(text, action, do, seconds)  # type: ignore[arg-type]

    def _forget_models(self) -> None:
        self._dialog = None

    def _forget_network(self) -> None:
        self._network = None
