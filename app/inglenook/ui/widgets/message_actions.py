"""What can be done with a message: copy, edit, regenerate, another version; and the editor for one's own."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMenu, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from inglenook.core.i18n import tr
from inglenook.core.messages import Effort, Role
from inglenook.ui.models.transcript import Entry
from inglenook.ui.theme import SPACE, FontRole, Theme
from inglenook.ui.widgets.message_button import QuietButton

ROW = 32  # height of the actions, in pixels


class ActionRow(QWidget):
    """The actions of one message in a line. Its place is kept while it is not to be seen, so that nothing moves."""

    edit = Signal()
    regenerate = Signal(str)  # an effort, or "" for the conversation's
    sibling = Signal(str)  # id of the version to show
    pin = Signal(bool)

    def __init__(self, theme: Theme, entry: Entry, source: Callable[[], str], parent: QWidget) -> None:
        super().__init__(parent)
        self._theme, self._source = theme, source
        self._buttons: list[QuietButton] = []
        self._label = QLabel(self)
        self._label.setFont(theme.font(FontRole.SMALL))
        self._label.setProperty("role", "small")
        self._place = -1
        siblings = entry.siblings
        if len(siblings) > 1:
            at = siblings.index(entry.id)
            self._place = len(self._buttons)
            self._add_sibling("chevron-left", tr("Previous version"), siblings[at - 1] if at else "")
            self._add_sibling("chevron-right", tr("Next version"), siblings[at + 1] if at + 1 < len(siblings) else "")
            self._label.setText(f"{at + 1}/{len(siblings)}")
            self._label.setAccessibleName(tr("Version {number} of {count}", number=at + 1, count=len(siblings)))
        self._label.setVisible(len(siblings) > 1)
        self._copy = self._add("copy", tr("Copy"), self._copy_source)
        self._pin: QuietButton | None = None
        if entry.message.message.role is not Role.TOOL:
            pinned = entry.message.pinned
            name = tr("Unpin") if pinned else tr("Pin: the model sees it for ever")
            self._pin = self._add("pin", name, lambda: self.pin.emit(not pinned))
            self._pin.setCheckable(True)
            self._pin.setChecked(pinned)
        if entry.mine:
            self._add("edit", tr("Edit"), self.edit.emit)
        else:
            self._add("refresh", tr("Regenerate"), lambda: self.regenerate.emit(""))
            more = self._add("chevron-down", tr("Regenerate with another effort"), self._choose_effort)
            more.setMaximumWidth(20)
        self.setFixedHeight(ROW)

    def _add(self, icon: str, name: str, action: Callable[[], None]) -> QuietButton:
        button = QuietButton(self._theme, icon, name, self)
        button.clicked.connect(lambda _checked=False: action())
        self._buttons.append(button)
        return button

    def _add_sibling(self, icon: str, name: str, target: str) -> None:
        self._add(icon, name, lambda: self.sibling.emit(target)).setEnabled(bool(target))

    def set_revealed(self, revealed: bool) -> None:
        """Whether the eye sees it (the version numbers, and the pin of what is pinned, are always seen)."""
        for i, button in enumerate(self._buttons):
            is_pin = button is self._pin and button.isChecked()
            button.set_revealed(revealed or is_pin or 0 <= self._place <= i < self._place + 2)

    def wanted_width(self) -> int:
        """Of all its buttons."""
        return self._arrange()

    def _arrange(self) -> int:
        x = 0
        for i, button in enumerate(self._buttons):
            size = button.sizeHint()
            width = min(size.width(), button.maximumWidth())
            if i == self._place + 1 and self._place >= 0:
                wide = self._label.fontMetrics().horizontalAdvance(self._label.text()) + 2
                self._label.setGeometry(x + 1, 0, wide, ROW)
                x += wide + 2
            button.setGeometry(x, (ROW - size.height()) // 2, width, size.height())
            x += width + (0 if i == self._place else 2)
        return x

    def relayout(self, width: int) -> int:
        """Resizes to `width`, returns the height."""
        self._arrange()
        self.resize(width, ROW)
        return ROW

    def _copy_source(self) -> None:
        QGuiApplication.clipboard().setText(self._source())
        self._copy.set_look("check")
        self._copy.setAccessibleName(tr("Copied"))
        QTimer.singleShot(1500, self._copy, self._copied_over)

    def _copied_over(self) -> None:
        self._copy.set_look("copy")
        self._copy.setAccessibleName(tr("Copy"))

    def _choose_effort(self) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(tr("Low effort: fastest"), lambda: self.regenerate.emit(Effort.LOW.value))
        menu.addAction(tr("Medium effort"), lambda: self.regenerate.emit(Effort.MEDIUM.value))
        menu.addAction(tr("High effort: thinks longest"), lambda: self.regenerate.emit(Effort.HIGH.value))
        menu.popup(self.mapToGlobal(self._buttons[-1].geometry().bottomLeft()))


class _Field(QPlainTextEdit):
    done = Signal()
    cancelled = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
                self.done.emit()
                return
        elif event.key() == Qt.Key.Key_Escape:
            self.cancelled.emit()
            return
        super().keyPressEvent(event)


class Editor(QWidget):
    """Edits a message in its place. Enter sends, Shift+Enter breaks the line, Esc leaves it as it was."""

    sent = Signal(str)
    cancelled = Signal()
    grown = Signal()

    def __init__(self, theme: Theme, text: str, parent: QWidget) -> None:
        super().__init__(parent)
        self._field = _Field(self)
        self._field.setAccessibleName(tr("Edit your message"))
        self._field.setFont(theme.font(FontRole.BODY))
        self._field.setPlainText(text)
        self._field.setTabChangesFocus(True)
        self._field.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        cancel, self._send = QPushButton(tr("Cancel"), self), QPushButton(tr("Send"), self)
        self._send.setProperty("role", "primary")
        cancel.clicked.connect(self.cancelled)
        self._send.clicked.connect(self._finish)
        self._field.done.connect(self._finish)
        self._field.cancelled.connect(self.cancelled)
        self._field.textChanged.connect(self._changed)
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(cancel)
        buttons.addWidget(self._send)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(SPACE.s)
        box.addWidget(self._field)
        box.addLayout(buttons)

    def begin(self) -> None:
        """Takes the focus, the cursor at the end."""
        self._field.moveCursor(self._field.textCursor().MoveOperation.End)
        self._field.setFocus(Qt.FocusReason.OtherFocusReason)

    def _changed(self) -> None:
        self._send.setEnabled(bool(self._field.toPlainText().strip()))
        self.grown.emit()

    def _finish(self) -> None:
        if text := self._field.toPlainText().strip():
            self.sent.emit(text)

    def relayout(self, width: int) -> int:
        """Resizes to `width`, returns the height: up to twelve lines of text."""
        self.resize(QSize(width, self.height()))
        line = self._field.fontMetrics().lineSpacing()
        document = self._field.document()
        document.setTextWidth(width - 24)
        lines = min(max(int(document.size().height()), 2), 12)
        self._field.setFixedHeight(lines * line + 24)
        height = self._field.height() + SPACE.s + self._send.sizeHint().height()
        self.resize(width, height)
        return height
