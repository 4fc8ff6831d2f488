"""The conversations as a Qt list model: filtered by words of the title, changed row by row.

Rows move, appear and go one at a time (never a reset for a small change), so that a view keeps its scroll position, its
selection and a title that is being edited while an answer arrives.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal

from inglenook.core.conversation import Conversation
from inglenook.core.i18n import N_, tr

Index = QModelIndex | QPersistentModelIndex

UNTITLED = N_("New chat")
_RESET_ABOVE = 50  # so many changed rows cost more, one by one, than building the view anew


def title_of(conversation: Conversation) -> str:
    """The title on one line, or what stands for it while there is none."""
    return " ".join(conversation.title.split()) or tr(UNTITLED)


def section_of(updated: float, today: date) -> str:
    """The name of the group that a time (Unix seconds) belongs to, seen from `today`; local time."""
    day = datetime.fromtimestamp(updated).astimezone().date()
    if day >= today:
        return tr(N_("Today"))
    if day == today - timedelta(days=1):
        return tr(N_("Yesterday"))
    if day > today - timedelta(days=7):
        return tr(N_("Last 7 days"))
    if day > today - timedelta(days=30):
        return tr(N_("Last 30 days"))
    return str(day.year)


class ConversationModel(QAbstractListModel):
    """One row for each conversation that the filter lets through, the one changed last first."""

    ID = Qt.ItemDataRole.UserRole + 1
    SECTION = Qt.ItemDataRole.UserRole + 2  # title of the group that begins with this row, or ""

    renamed = Signal(str, str)  # id, new title: the user has edited it

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._all: tuple[Conversation, ...] = ()
        self._rows: list[Conversation] = []
        self._heads: list[str] = []  # beside each row, the title of the group that begins with it, or ""
        self._words: list[str] = []

    def set_conversations(self, conversations: Sequence[Conversation]) -> None:
        """Shows these, in this order."""
        self._all = tuple(conversations)
        self._update()

    def set_filter(self, text: str) -> None:
        """Shows only titles that contain all the words of `text`, in any case and order."""
        self._words = text.casefold().split()
        self._update()

    def conversations(self) -> tuple[Conversation, ...]:
        """All of them, whatever the filter says."""
        return self._all

    def row_of(self, conversation_id: str | None) -> int:
        """Its row, or -1 if it is not shown."""
        return next((i for i, c in enumerate(self._rows) if c.id == conversation_id), -1)

    def id_at(self, row: int) -> str:
        """The conversation of a row."""
        return self._rows[row].id

    # -- Qt --

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        """See QAbstractItemModel."""
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """See QAbstractItemModel."""
        if not self.checkIndex(index, QAbstractListModel.CheckIndexOption.IndexIsValid):
            return None
        conversation = self._rows[index.row()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole, Qt.ItemDataRole.ToolTipRole):
            return title_of(conversation)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            when = datetime.fromtimestamp(conversation.updated).astimezone()
            return f"{title_of(conversation)}, {section_of(conversation.updated, _today())}, {when:%H:%M}"
        if role == self.ID:
            return conversation.id
        if role == self.SECTION:
            return self._heads[index.row()]
        return None

    def setData(self, index: Index, value: object, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Takes an edited title: it is announced, and comes back with the next `set_conversations`."""
        title = " ".join(str(value).split())
        if role != Qt.ItemDataRole.EditRole or not index.isValid() or not title:
            return False
        if title != title_of(self._rows[index.row()]):
            self.renamed.emit(self._rows[index.row()].id, title)
        return True

    def flags(self, index: Index) -> Qt.ItemFlag:
        """See QAbstractItemModel."""
        return super().flags(index) | Qt.ItemFlag.ItemIsEditable if index.isValid() else Qt.ItemFlag.NoItemFlags

    # -- changes --

    def _update(self) -> None:
        new = [c for c in self._all if all(word in title_of(c).casefold() for word in self._words)]
        before, after = {c.id for c in self._rows}, {c.id for c in new}
        if len(before ^ after) > _RESET_ABOVE:
            self.beginResetModel()
            self._rows, self._heads = new, _heads(new)
            self.endResetModel()
            return
        shown = {c.id: (c, head) for c, head in zip(self._rows, self._heads, strict=True)}
        for row in range(len(self._rows) - 1, -1, -1):
            if self._rows[row].id not in after:
                self.beginRemoveRows(QModelIndex(), row, row)
                del self._rows[row], self._heads[row]
                self.endRemoveRows()
        for row, conversation in enumerate(new):
            self._place(row, conversation, known=conversation.id in before)
        self._heads = _heads(new)
        for row, (conversation, head) in enumerate(zip(self._rows, self._heads, strict=True)):
            if shown.get(conversation.id) != (conversation, head):
                self.dataChanged.emit(self.index(row), self.index(row))

    def _place(self, row: int, conversation: Conversation, *, known: bool) -> None:
        """Brings one conversation to its row; the rows above are right already."""
        top = QModelIndex()
        if not known:
            self.beginInsertRows(top, row, row)
            self._rows.insert(row, conversation)
            self._heads.insert(row, "")
            self.endInsertRows()
            return
        at = self.row_of(conversation.id) if self._rows[row].id != conversation.id else row
        if at != row:
            self.beginMoveRows(top, at, at, top, row)
            self._rows.insert(row, self._rows.pop(at))
            self._heads.insert(row, self._heads.pop(at))
            self.endMoveRows()
        self._rows[row] = conversation


def _heads(conversations: Sequence[Conversation]) -> list[str]:
    today = _today()
    sections = [section_of(c.updated, today) for c in conversations]
    return [section if section != above else "" for above, section in zip(["", *sections], sections, strict=False)]


def _today() -> date:
    return datetime.now().astimezone().date()
