"""The window's part about copying models here and moving them: what is asked for, where to, how it goes."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Qt
from PySide6.QtWidgets import QFileDialog, QWidget

from inglenook.core.i18n import N_, tr
from inglenook.library.files.found import Found
from inglenook.library.files.transfers import TransferStatus
from inglenook.ui.panels.transfer import TransferRow
from inglenook.ui.services import Shelf
from inglenook.ui.theme import SPACE


class TransferDesk(QObject):
    """Made by the window, which places `bar`."""

    def __init__(self, window: QWidget, shelf: Shelf) -> None:
        super().__init__(window)
        self._window, self._shelf = window, shelf
        self.bar = TransferRow(window)
        self.bar.setObjectName("notice")
        self.bar.setContentsMargins(SPACE.l - SPACE.m, 0, 0, 0)  # in line with the other notices
        self.serve(self.bar)

    def serve(self, row: TransferRow) -> None:
        """Connects a row that shows the job."""
        row.cancel_requested.connect(self._shelf.cancel_transfer)

    def show_transfer(self, status: TransferStatus | None) -> None:
        """How it goes."""
        self.bar.show_transfer(status)

    def choose_file(self, parent: QWidget | None = None) -> None:
        """Asks for a model file to copy here."""
        dialog = self._dialog(parent, tr(N_("Choose a model file to copy")), Path.home())
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters([tr(N_("Models (*.gguf)")), tr(N_("All files (*)"))])
        dialog.fileSelected.connect(lambda name: self._shelf.import_model(Path(name)))
        dialog.open()

    def choose_folder(self, parent: QWidget | None = None) -> None:
        """Asks for a folder or a drive with a model to copy here."""
        dialog = self._folders(parent, tr(N_("Choose a folder or a drive with a model to copy")), Path.home())
        dialog.fileSelected.connect(lambda name: self._shelf.import_model(Path(name)))
        dialog.open()

    def choose_place(self, model: Found, parent: QWidget | None = None) -> None:
        """Asks where to move it."""
        title = tr(N_("Choose the folder or the drive for {title}"), title=model.title)
        dialog = self._folders(parent, title, model.path.parent)
        dialog.fileSelected.connect(lambda name: self._shelf.move(model, Path(name)))
        dialog.open()

    def _folders(self, parent: QWidget | None, title: str, folder: Path) -> QFileDialog:
        dialog = self._dialog(parent, title, folder)
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        return dialog

    def _dialog(self, parent: QWidget | None, title: str, folder: Path) -> QFileDialog:
        dialog = QFileDialog(parent or self._window, title, str(folder))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        return dialog
