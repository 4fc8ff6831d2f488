"""Which model answers the conversation that is shown: what the window says of it, and switching to another one.

Each conversation remembers its model. To open one loads nothing; its next message does. While a model is on its way the
old one stays, and if it does not get there, the conversation is back with the one that it had.
"""

from __future__ import annotations

import threading
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from inglenook.core.conversation import Tree
from inglenook.core.i18n import N_, tr
from inglenook.core.inference import DEMO
from inglenook.library.events import ModelState, ModelStatus
from inglenook.ui.panels.status import ModelChip, StatusPanel
from inglenook.ui.services import Chats, Models

_BUSY = (ModelState.PREPARING, ModelState.LOADING)


class ChatModel(QObject):
    """Made by the window, which tells it of conversations and models.

    `changed` comes with another answering model, `stood` with one that was announced by `await_` and is ready.
    """

    changed = Signal(str)
    stood = Signal(str)
    _looked = Signal(str, bool)  # from a thread: a disk may be slow to say that it is gone

    def __init__(self, chats: Chats, models: Models, chip: ModelChip, panel: StatusPanel, parent: QObject) -> None:
        super().__init__(parent)
        self._chats, self._models, self._chip, self._panel = chats, models, chip, panel
        self._chat = ""
        self._remembered = ""
        self._status = models.status()
        self._titles: dict[str, str] = {}  # by name, of models that were in use
        self._gone: set[str] = set()
        self._switched: tuple[str, str, str] | None = None  # chat, what it remembered, the model that is on its way
        self._awaited = ""
        self._told = ""
        self._looked.connect(self._on_looked)
        chip.cancel_requested.connect(self.cancel)
        panel.stay_requested.connect(self.stay)
        self._show()

    @property
    def name(self) -> str:
        """Of the model that answers the conversation that is shown."""
        return self._models.answering(self._remembered)

    @property
    def is_gone(self) -> bool:
        """Whether its file is not there."""
        return self.name in self._gone and self.name != self._status.name

    def title(self, name: str) -> str:
        """For people."""
        known = self._titles.get(name)
        return known or (tr(N_("Demo model")) if name == DEMO else Path(name).stem)

    # -- what the user wants --

    def use(self, name: str) -> None:
        """Answers this conversation, and new ones, with another model."""
        if self._remembered:
            self._switched = (self._chat, self._remembered, name)
            self._remember(name)
        if name == DEMO:
            self._models.use_demo()
        else:
            self._models.use_file(Path(name))

    def stay(self) -> None:
        """Goes on with the model that is in use, in place of the one that this conversation remembers."""
        self._remember(self._status.name)

    def cancel(self) -> None:
        """Ends loading, and the answer that waits for it."""
        self._models.cancel()
        if self._chat:
            self._chats.stop(self._chat)

    def await_(self, path: Path) -> None:
        """A model has arrived and is being loaded: `stood` tells when it is ready."""
        self._awaited = str(path)
        self._tell_if_it_stands()

    # -- what happened --

    def show_tree(self, tree: Tree) -> None:
        """The conversation that is shown, in a new form."""
        self._chat, self._remembered = tree.conversation.id, tree.conversation.model
        name = self.name
        if name not in ("", DEMO, self._status.name):
            threading.Thread(target=self._look, args=(name,), name="model-there", daemon=True).start()
        self._show()

    def show_status(self, status: ModelStatus) -> None:
        """The model in use."""
        self._status = status
        if status.state is ModelState.READY:
            self._titles[status.name] = status.title
            self._gone.discard(status.name)
        if self._switched is not None and status.state not in _BUSY:
            chat, before, name = self._switched
            self._switched = None
            if status.name != name:  # it could not be loaded, or was cancelled
                self._chats.set_model(chat, before)
        self._show()
        self._tell_if_it_stands()

    # -- within --

    def _remember(self, name: str) -> None:
        self._remembered = name
        self._chats.set_model(self._chat, name)
        self._show()

    def _show(self) -> None:
        name = self.name
        if name == self._status.name or not self._status.name or self._status.state in _BUSY:
            self._chip.show_status(self._status)
            self._panel.show_status(self._status)
        else:
            title, in_use = self.title(name), self.title(self._status.name)
            self._chip.show_other(title, gone=self.is_gone)
            self._panel.show_other(self._status, title, name if self.is_gone else "", in_use)
        if name != self._told:
            self._told = name
            self.changed.emit(name)

    def _tell_if_it_stands(self) -> None:
        if self._awaited and self._status.state is ModelState.READY and self._status.name == self._awaited:
            self._awaited = ""
            self.stood.emit(self._status.title)

    def _look(self, name: str) -> None:
        try:
            there = Path(name).is_file()
        except OSError:
            there = False
        try:
            self._looked.emit(name, there)
        except RuntimeError:  # the window was closed meanwhile
            return

    def _on_looked(self, name: str, there: bool) -> None:
        (self._gone.discard if there else self._gone.add)(name)
        self._show()
