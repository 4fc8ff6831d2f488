"""The list of conversations: choose, filter, rename, delete, start a new one. It only asks; the window acts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from PySide6.QtCore import QEvent, QModelIndex, QObject, QPoint, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListView,
    QMenu,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from inglenook.core.conversation import Conversation
from inglenook.core.i18n import N_, tr
from inglenook.ui.models.conversations import ConversationModel
from inglenook.ui.theme import SPACE, Theme
from inglenook.ui.widgets.rows import ConversationDelegate

_DELETE = Qt.Key.Key_Backspace if sys.platform == "darwin" else Qt.Key.Key_Delete  # what "delete" is on the keyboard


class Sidebar(QFrame):
    """Emits what the user asks for; `show_current` says which conversation is shown."""

    new_requested = Signal()
    open_requested = Signal(str)  # id: moved onto, by key or pointer
    write_requested = Signal()  # the user has chosen and wants to type
    rename_requested = Signal(str, str)  # id, title
    delete_requested = Signal(str)  # id

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._current: str | None = None
        self._changing = False  # the list changes by itself: a move of the cursor is not the user's
        self.setObjectName("sidebar")
        self.model = ConversationModel(self)
        self.filter = QLineEdit()
        self.list = QListView()
        self._empty = QLabel()
        self._new = QToolButton()
        self._build()
        self._retint()
        theme.changed.connect(self._retint)
        self.model.renamed.connect(self.rename_requested)
        self.filter.textChanged.connect(self._on_filter)
        selection = self.list.selectionModel()
        selection.currentChanged.connect(self._on_current)
        self.list.activated.connect(self.write_requested)
        self.list.clicked.connect(self.write_requested)

    def show_conversations(self, conversations: Sequence[Conversation]) -> None:
        """Shows these; what is selected, edited or scrolled to stays."""
        with self._change():
            self.model.set_conversations(conversations)
        self._tell_empty()

    def show_current(self, conversation_id: str | None) -> None:
        """Selects the row of the conversation that is shown."""
        self._current = conversation_id
        with self._change():
            pass

    def focus_filter(self) -> None:
        """Puts the keyboard into the filter."""
        self.filter.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.filter.selectAll()

    def start_rename(self, conversation_id: str) -> None:
        """Opens the line for a conversation's title in its row."""
        if self.model.row_of(conversation_id) < 0:
            self.filter.clear()
        row = self.model.row_of(conversation_id)
        if row >= 0:
            index = self.model.index(row)
            self.list.scrollTo(index)
            self.list.edit(index)

    def neighbour_of(self, conversation_id: str) -> str | None:
        """The conversation to show when that one goes: the one below, else above; None if it is the only one."""
        row, count = self.model.row_of(conversation_id), self.model.rowCount()
        if row < 0 or count < 2:
            return next((c.id for c in self.model.conversations() if c.id != conversation_id), None)
        return self.model.id_at(row + 1 if row + 1 < count else row - 1)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Keys of the list (Delete) and of the filter (Down to the list, Escape to clear)."""
        if watched is self.filter and isinstance(event, QKeyEvent):
            return self._filter_key(event)
        if watched is self.list and event.type() == QEvent.Type.KeyPress:
            assert isinstance(event, QKeyEvent)
            if event.key() == _DELETE and self.list.currentIndex().isValid():
                self.delete_requested.emit(self.model.id_at(self.list.currentIndex().row()))
                return True
        return super().eventFilter(watched, event)

    def _build(self) -> None:
        title = QLabel("Inglenook")
        title.setProperty("role", "title")
        self._new.setObjectName("newChatButton")
        self._new.setProperty("role", "flat")
        self._new.setAccessibleName(tr(N_("New chat")))
        self._new.setToolTip(tr(N_("New chat (Ctrl+N)")))
        self._new.setCursor(Qt.CursorShape.PointingHandCursor)
        self._new.clicked.connect(self.new_requested)
        top = QHBoxLayout()
        top.setContentsMargins(SPACE.l + SPACE.xs, SPACE.xs, SPACE.s, SPACE.xs)
        top.addWidget(title, 1)
        top.addWidget(self._new)

        self.filter.setObjectName("chatFilter")
        self.filter.setPlaceholderText(tr(N_("Filter chats")))
        self.filter.setAccessibleName(tr(N_("Filter chats by title")))
        self.filter.setClearButtonEnabled(True)
        self.filter.installEventFilter(self)
        search = QHBoxLayout()
        search.setContentsMargins(SPACE.s, 0, SPACE.s, SPACE.s)
        search.addWidget(self.filter)

        self.list.setObjectName("conversationList")
        self.list.setAccessibleName(tr(N_("Chats")))
        self.list.setModel(self.model)
        self.list.setItemDelegate(ConversationDelegate(self._theme, self.list))
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setResizeMode(QListView.ResizeMode.Adjust)
        self.list.setMouseTracking(True)
        self.list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.list.customContextMenuRequested.connect(self._menu)
        self.list.installEventFilter(self)

        self._empty.setProperty("role", "small")
        self._empty.setWordWrap(True)
        self._empty.setContentsMargins(SPACE.l + SPACE.xs, SPACE.s, SPACE.l, 0)
        self._empty.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, SPACE.xs, 0, 0)
        column.setSpacing(0)
        column.addLayout(top)
        column.addLayout(search)
        column.addWidget(self._empty)
        column.addWidget(self.list, 1)

    def _retint(self) -> None:
        self._new.setIcon(self._theme.icon("new-chat"))
        self.list.scheduleDelayedItemsLayout()

    def _on_filter(self, text: str) -> None:
        with self._change():
            self.model.set_filter(text)
        self._tell_empty()

    def _tell_empty(self) -> None:
        nothing = self.model.rowCount() == 0
        text = N_("No chat has these words in its title.") if self.filter.text().strip() else N_("No chats yet.")
        self._empty.setText(tr(text))
        self._empty.setVisible(nothing)

    def _filter_key(self, event: QKeyEvent) -> bool:
        if event.key() == Qt.Key.Key_Escape and self.filter.text():
            if event.type() == QEvent.Type.ShortcutOverride:
                event.accept()  # Escape is ours here, not the window's "stop"
            elif event.type() == QEvent.Type.KeyPress:
                self.filter.clear()
            return True
        if event.type() == QEvent.Type.KeyPress and event.key() in (Qt.Key.Key_Down, Qt.Key.Key_Return):
            if not self.list.currentIndex().isValid() and self.model.rowCount():
                self.list.setCurrentIndex(self.model.index(0))
            self.list.setFocus(Qt.FocusReason.TabFocusReason)
            return True
        return False

    def _on_current(self, current: QModelIndex) -> None:
        if not self._changing and current.isValid() and self.model.id_at(current.row()) != self._current:
            self._current = self.model.id_at(current.row())
            self.open_requested.emit(self._current)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Around a change of the list: afterwards the row of what is shown is selected, without asking to open it."""
        self._changing = True
        try:
            yield
            index = self.model.index(self.model.row_of(self._current))
            if not index.isValid():
                self.list.selectionModel().clear()
            elif index != self.list.currentIndex() or not self.list.selectionModel().isSelected(index):
                self.list.setCurrentIndex(index)
        finally:
            self._changing = False

    def _menu(self, at: QPoint) -> None:
        index = self.list.indexAt(at)
        if not index.isValid():
            return
        conversation_id = self.model.id_at(index.row())
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        rename = menu.addAction(self._theme.icon("edit"), tr(N_("&Rename")))
        rename.triggered.connect(lambda: self.start_rename(conversation_id))
        delete = menu.addAction(self._theme.icon("trash"), tr(N_("&Delete")))
        delete.triggered.connect(lambda: self.delete_requested.emit(conversation_id))
        menu.popup(self.list.viewport().mapToGlobal(at))
