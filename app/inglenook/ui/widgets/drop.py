"""Files dropped onto a window: while they are dragged over it, a sheet says what will happen; then they are told of.

What was brought along is looked at on a thread, since a disk may be slow; the drag itself only carries a name.
"""

from __future__ import annotations

import threading
from pathlib import Path

from PySide6.QtCore import QEvent, QMimeData, QObject, Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDragMoveEvent, QDropEvent
from PySide6.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from inglenook.core.i18n import N_, tr
from inglenook.library.making.conversions import Brought, Kind, recognise
from inglenook.ui.theme import SPACE
from inglenook.ui.widgets.toast import announce

_WHAT = {
    Kind.MODEL: N_("Drop to use this model, where it is"),
    Kind.CHECKPOINT: N_("Drop to convert this checkpoint to a model"),
    Kind.ADAPTER: N_("Drop to merge this adapter with its base, and convert that to a model"),
    Kind.OTHER: N_("This is no model, checkpoint or adapter that Inglenook knows"),
}


class DropSheet(QFrame):
    """Covers `host` while something is dragged over it."""

    def __init__(self, host: QWidget) -> None:
        super().__init__(host)
        self.setObjectName("dropSheet")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._name = QLabel()
        self._name.setProperty("role", "small")
        self._what = QLabel()
        self._what.setProperty("role", "greeting")
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE.xl, SPACE.xl, SPACE.xl, SPACE.xl)
        column.setSpacing(SPACE.s)
        column.addStretch(1)
        for label in (self._what, self._name):
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            label.setWordWrap(True)
            column.addWidget(label)
        column.addStretch(1)
        self.hide()

    def say(self, name: str, what: str) -> None:
        """Shows the name of what is dragged, and what will happen."""
        host = self.parentWidget()
        if host is not None:
            self.setGeometry(host.rect().adjusted(SPACE.s, SPACE.s, -SPACE.s, -SPACE.s))
        self._name.setText(name)
        self._what.setText(what)
        self.setAccessibleName(f"{what}: {name}")
        self.show()
        self.raise_()
        announce(self, self.accessibleName())

    def words(self) -> str:
        """What it says will happen."""
        return self._what.text()


class DropTarget(QObject):
    """Makes `window` take files. `brought` comes for what was dropped."""

    brought = Signal(object)  # Brought
    _recognised = Signal(object, object, bool)  # the path that was asked about, Brought, whether it was dropped

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self.sheet = DropSheet(window)
        self._dragged: Path | None = None
        self._recognised.connect(self._on_recognised)
        window.setAcceptDrops(True)
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Takes what belongs to a drag of files."""
        if watched is not self._window:
            return False
        if isinstance(event, QDragEnterEvent):
            self._dragged = path_of(event.mimeData())
            if self._dragged is None:
                return False
            self.sheet.say(self._dragged.name, tr(N_("Looking at it…")))
            self._look(self._dragged, dropped=False)
            event.setDropAction(Qt.DropAction.CopyAction)
            event.accept()
            return True
        if isinstance(event, QDragMoveEvent):
            if self._dragged is not None:
                event.setDropAction(Qt.DropAction.CopyAction)
                event.accept()
            return self._dragged is not None
        if event.type() is QEvent.Type.DragLeave:
            self._end()
        elif isinstance(event, QDropEvent):
            path = path_of(event.mimeData())
            self._end()
            if path is not None:
                event.setDropAction(Qt.DropAction.CopyAction)
                event.accept()
                self._look(path, dropped=True)
            return path is not None
        return False

    def take(self, path: Path) -> None:
        """As if it had been dropped."""
        self._look(path, dropped=True)

    def _end(self) -> None:
        self._dragged = None
        self.sheet.hide()

    def _look(self, path: Path, *, dropped: bool) -> None:
        def work() -> None:
            found = recognise(path)
            try:
                self._recognised.emit(path, found, dropped)
            except RuntimeError:  # the window was closed meanwhile
                return

        threading.Thread(target=work, name="dropped", daemon=True).start()

    def _on_recognised(self, path: Path, found: Brought, dropped: bool) -> None:
        if dropped:
            self.brought.emit(found)
        elif path == self._dragged:
            self.sheet.say(path.name, tr(_WHAT[found.kind]))


def path_of(data: QMimeData) -> Path | None:
    """The file or folder that is dragged; of several the first by name, which of a model in parts is its first part."""
    paths = sorted(Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile() and url.toLocalFile())
    return paths[0] if paths else None
