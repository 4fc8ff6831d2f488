"""How a conversation looks in the list: one line of title, and above the first of a group the group's name."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QModelIndex, QObject, QPersistentModelIndex, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QKeyEvent, QPainter, QPen
from PySide6.QtWidgets import QLineEdit, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from inglenook.core.i18n import N_, tr
from inglenook.ui.models.conversations import ConversationModel
from inglenook.ui.theme import SPACE, FontRole, Theme
from inglenook.ui.widgets.lines import line_option

Index = QModelIndex | QPersistentModelIndex


class ConversationDelegate(QStyledItemDelegate):
    """Draws and edits rows of a `ConversationModel`."""

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._measure()
        theme.changed.connect(self._measure)

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        """See QStyledItemDelegate."""
        return QSize(0, self._row_height + self._section_height(index))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """See QStyledItemDelegate."""
        palette = self._theme.palette
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if section := index.data(ConversationModel.SECTION):
            head = self.head(option.rect, index).adjusted(SPACE.m, 0, -SPACE.m, -SPACE.xs)
            painter.setFont(self._theme.font(FontRole.SMALL))
            painter.setPen(palette.text_muted)
            painter.drawText(head, Qt.AlignmentFlag.AlignLeading | Qt.AlignmentFlag.AlignBottom, section)
        row = self.row(option.rect, index)
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        if selected or option.state & QStyle.StateFlag.State_MouseOver:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(palette.selection if selected else palette.hover)
            painter.drawRoundedRect(QRectF(row), 8, 8)
        if option.state & QStyle.StateFlag.State_HasFocus and option.widget.hasFocus():
            painter.setPen(QPen(palette.focus, 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(QRectF(row).adjusted(1, 1, -1, -1), 7, 7)
        text = row.adjusted(SPACE.m, 0, -SPACE.m, 0)
        painter.setFont(self._theme.font(FontRole.BODY))
        painter.setPen(palette.text)
        title = painter.fontMetrics().elidedText(
            index.data(Qt.ItemDataRole.DisplayRole), Qt.TextElideMode.ElideRight, text.width() - 2
        )
        painter.drawText(QRectF(text), title, line_option(title))
        painter.restore()

    def row(self, rect: QRect, index: Index) -> QRect:
        """The part of an item's rectangle that holds the title."""
        return rect.adjusted(SPACE.s, self._section_height(index) + 1, -SPACE.s, -1)

    def head(self, rect: QRect, index: Index) -> QRect:
        """The part of an item's rectangle that holds the group's name."""
        return QRect(rect.left() + SPACE.s, rect.top(), rect.width() - 2 * SPACE.s, self._section_height(index))

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:
        """A line for the title."""
        editor = QLineEdit(parent)
        editor.setAccessibleName(tr(N_("Title of the chat")))
        editor.setMaxLength(200)
        return editor

    def setEditorData(self, editor: QWidget, index: Index) -> None:
        """Shows the title; the list may change while the user types, which is then left alone."""
        assert isinstance(editor, QLineEdit)
        if not editor.isModified():
            editor.setText(index.data(Qt.ItemDataRole.EditRole))
            editor.selectAll()

    def setModelData(self, editor: QWidget, model: object, index: Index) -> None:
        """See QStyledItemDelegate."""
        assert isinstance(editor, QLineEdit)
        assert isinstance(model, ConversationModel)
        model.setData(index, editor.text())

    def updateEditorGeometry(self, editor: QWidget, option: QStyleOptionViewItem, index: Index) -> None:
        """See QStyledItemDelegate."""
        editor.setGeometry(self.row(option.rect, index))

    def eventFilter(self, editor: QObject, event: QEvent) -> bool:
        """Lets Tab leave the editor for good, instead of opening the next row's."""
        if isinstance(event, QKeyEvent) and event.key() in (Qt.Key.Key_Tab, Qt.Key.Key_Backtab):
            assert isinstance(editor, QLineEdit)
            self.commitData.emit(editor)
            self.closeEditor.emit(editor, QStyledItemDelegate.EndEditHint.NoHint)
            return True
        return super().eventFilter(editor, event)

    def _section_height(self, index: Index) -> int:
        if not index.data(ConversationModel.SECTION):
            return 0
        return self._small + (SPACE.xs if index.row() == 0 else SPACE.l) + SPACE.xs

    def _measure(self) -> None:
        self._small = QFontMetrics(self._theme.font(FontRole.SMALL)).height()
        self._row_height = QFontMetrics(self._theme.font(FontRole.BODY)).height() + 2 * SPACE.s + 2
