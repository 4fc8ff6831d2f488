"""The window's part about what people bring along: files that are dropped, folders that are chosen, the conversion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QFileDialog, QWidget

from inglenook.core.i18n import N_, tr
from inglenook.library.making.conversions import Brought, ConversionStatus, Kind
from inglenook.ui.panels.conversion import ConversionRow
from inglenook.ui.services import Shelf
from inglenook.ui.theme import SPACE
from inglenook.ui.widgets.drop import DropTarget

KNOWN = N_(
    "{name} is no model that Inglenook knows. It uses GGUF files, and converts the folder of a gpt-oss checkpoint "
    "or of a LoRA adapter (safetensors)."
)


class ConvertDesk(QObject):
    """Made by the window, which places `bar`. `use_requested` has a model file, `said` something for the user."""

    use_requested = Signal(Path)
    said = Signal(str)

    def __init__(self, window: QWidget, shelf: Shelf) -> None:
        super().__init__(window)
        self._window, self._shelf = window, shelf
        self._conversion: ConversionStatus | None = None
        self.bar = ConversionRow(window)
        self.bar.setObjectName("notice")
        self.bar.setContentsMargins(SPACE.l - SPACE.m, 0, 0, 0)  # in line with the other notices
        self.target = DropTarget(window)
        self.target.brought.connect(self.take)
        self.serve(self.bar)

    def serve(self, row: ConversionRow) -> None:
        """Connects a row that shows the conversion."""
        row.cancel_requested.connect(self._shelf.cancel_conversion)
        row.base_requested.connect(lambda: self.choose_base(row.window()))

    def take(self, brought: Brought) -> None:
        """Does what can be done with it."""
        if brought.kind is Kind.MODEL:
            self.use_requested.emit(brought.path)
        elif brought.kind is Kind.OTHER:
            self.said.emit(tr(KNOWN, name=brought.path.name))
        else:
            self._shelf.convert(brought.path)

    def choose(self, parent: QWidget | None = None) -> None:
        """Asks for the folder of a checkpoint or an adapter."""
        title = tr(N_("Choose the folder of a checkpoint or an adapter"))
        self._ask(title, parent, self.target.take)

    def choose_base(self, parent: QWidget | None = None) -> None:
        """Asks for the folder of the model that the adapter belongs to."""
        status = self._conversion
        if status is not None:
            source = status.source
            title = tr(N_("Choose the folder of the model that the adapter belongs to"))
            self._ask(title, parent, lambda base: self._shelf.convert(source, base))

    def show_conversion(self, status: ConversionStatus | None) -> None:
        """How it goes."""
        self._conversion = status
        self.bar.show_conversion(status)

    def _ask(self, title: str, parent: QWidget | None, do: Callable[[Path], None]) -> None:
        dialog = QFileDialog(parent or self._window, title, str(Path.home()))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(lambda name: do(Path(name)))
        dialog.open()
