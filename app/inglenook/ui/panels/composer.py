"""Where the user writes: a field that grows with the text, the effort switch, and one button that sends or stops."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QMimeData, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QFocusEvent, QInputMethodEvent, QKeyEvent, QResizeEvent, QTextCursor
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from inglenook.chat.events import ContextUse
from inglenook.core.i18n import N_, tr
from inglenook.core.messages import Effort
from inglenook.core.settings import EFFORT
from inglenook.ui.theme import COLUMN, SPACE, Theme
from inglenook.ui.widgets.segments import Segments
from inglenook.ui.widgets.use_indicator import UseIndicator

MAX_LINES = 8
_LABELLED = 420  # device-independent pixels from which on there is room for a label
DRAFT_PAUSE = 500  # milliseconds without a key after which a draft is kept


class MessageField(QPlainTextEdit):
    """Plain text of one to `MAX_LINES` visible lines. Enter submits, Shift+Enter breaks the line."""

    submitted = Signal()
    focus_changed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._composing = False
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setTabChangesFocus(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.document().setDocumentMargin(0)
        self.document().documentLayout().documentSizeChanged.connect(self._grow)
        self._grow()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Takes text; files are the window's."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.ignore()
        else:
            super().dragEnterEvent(event)

    def sizeHint(self) -> QSize:
        """As high as the text, up to `MAX_LINES`."""
        lines = max(1, min(MAX_LINES, round(self.document().size().height())))
        return QSize(super().sizeHint().width(), lines * self.fontMetrics().lineSpacing() + SPACE.xs)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter submits unless an input method is composing (Enter then belongs to it)."""
        plain = not event.modifiers() & (Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.AltModifier)
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and plain and not self._composing:
            event.accept()
            if not event.isAutoRepeat():
                self.submitted.emit()
            return
        super().keyPressEvent(event)

    def inputMethodEvent(self, event: QInputMethodEvent) -> None:
        """Remembers whether text is being composed."""
        self._composing = bool(event.preeditString())
        super().inputMethodEvent(event)

    def insertFromMimeData(self, source: QMimeData) -> None:
        """Pastes words only."""
        if source.hasText():
            self.insertPlainText(source.text())
            self.ensureCursorVisible()

    def changeEvent(self, event: QEvent) -> None:
        """Another font needs another height."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._grow()

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Says so."""
        super().focusInEvent(event)
        self.focus_changed.emit(True)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Says so."""
        super().focusOutEvent(event)
        self.focus_changed.emit(False)

    def _grow(self) -> None:
        height = self.sizeHint().height()
        full = round(self.document().size().height()) > MAX_LINES
        policy = Qt.ScrollBarPolicy.ScrollBarAsNeeded if full else Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        self.setVerticalScrollBarPolicy(policy)
        if height != self.height():
            self.setFixedHeight(height)


class Composer(QWidget):
    """Emits what the user asks for. Text leaves the field when it is sent; `give_back` returns it if that failed."""

    send_requested = Signal(str)
    stop_requested = Signal()
    effort_chosen = Signal(object)  # Effort
    draft_changed = Signal(str)

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._answering = False
        self.field = MessageField()
        self.button = QToolButton()
        self.effort = Segments(tr(EFFORT.title), [(Effort(value), tr(label)) for value, label in EFFORT.choices])
        self.use = UseIndicator(theme)
        self._box = QFrame()
        self._draft = QTimer(self)
        self._draft.setSingleShot(True)
        self._draft.setInterval(DRAFT_PAUSE)
        self._build()
        self._restyle()
        self.field.textChanged.connect(self._on_text)
        self.field.submitted.connect(self._send)
        self.field.focus_changed.connect(self._on_focus)
        self.button.clicked.connect(self._press)
        self.effort.chosen.connect(self.effort_chosen)
        self._draft.timeout.connect(self._keep_draft)
        theme.changed.connect(self._restyle)
        self.set_answering(False)

    def text(self) -> str:
        """What is typed."""
        return self.field.toPlainText()

    def set_text(self, text: str) -> None:
        """Shows a draft, cursor at its end; it is not announced as a change."""
        self.field.setPlainText(text)
        self.field.moveCursor(QTextCursor.MoveOperation.End)
        self._draft.stop()

    def give_back(self, text: str) -> None:
        """Puts a draft, or text that could not be sent, before what has been typed since."""
        typed = self.text()
        self.field.setPlainText(f"{text}\n{typed}" if typed else text)
        self.field.moveCursor(QTextCursor.MoveOperation.End)

    def set_effort(self, effort: Effort) -> None:
        """Shows the conversation's effort."""
        self.effort.set_value(effort)

    def set_answering(self, answering: bool) -> None:
        """While an answer is written the button stops it, and Enter keeps the text."""
        self._answering = answering
        name, tip = (
            (N_("Stop the answer"), N_("Stop (Esc)")) if answering else (N_("Send the message"), N_("Send (Enter)"))
        )
        self.button.setAccessibleName(tr(name))
        self.button.setToolTip(tr(tip))
        self._show_button()

    def show_use(self, use: ContextUse | None) -> None:
        """Shows how full the context is."""
        self.use.show_use(use)

    def flush_draft(self) -> None:
        """Announces a change that still waits for a pause."""
        if self._draft.isActive():
            self._keep_draft()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """In a narrow window the switch does without its label; its name stays for who cannot see it."""
        super().resizeEvent(event)
        self._effort_label.setVisible(self.width() >= _LABELLED)

    def leave_room(self, right: int) -> None:
        """Keeps clear of the conversation's scroll bar, so that both columns stand one above the other."""
        self.setContentsMargins(0, 0, right, 0)

    def focus_field(self) -> None:
        """Puts the keyboard into the field."""
        self.field.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def _build(self) -> None:
        self.setObjectName("composer")
        self._box.setObjectName("composerBox")
        self._box.setMaximumWidth(COLUMN)
        self.field.setObjectName("composerText")
        self.field.setPlaceholderText(tr(N_("Message")))
        self.field.setAccessibleName(tr(N_("Message")))
        self.field.setAccessibleDescription(tr(N_("Enter sends, Shift+Enter starts a new line.")))
        self.button.setObjectName("sendButton")
        self.button.setProperty("role", "primary")
        self.button.setCursor(Qt.CursorShape.PointingHandCursor)
        self.effort.setToolTip(tr(N_("How long the model thinks before it answers in this chat")))
        self._effort_label = label = QLabel(tr(N_("Thinking")))
        label.setProperty("role", "small")

        bar = QHBoxLayout()
        bar.setSpacing(SPACE.s)
        bar.addWidget(label)
        bar.addWidget(self.effort)
        bar.addStretch(1)
        bar.addWidget(self.use)
        bar.addWidget(self.button)
        inside = QVBoxLayout(self._box)
        inside.setContentsMargins(SPACE.l, SPACE.m, SPACE.s, SPACE.s)
        inside.setSpacing(SPACE.s)
        inside.addWidget(self.field)
        inside.addLayout(bar)
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACE.xl, SPACE.xs, SPACE.xl, SPACE.l)
        row.addStretch(1)
        row.addWidget(self._box, 1000)
        row.addStretch(1)
        self.setFocusProxy(self.field)

    def _restyle(self) -> None:
        side = self._theme.icon_side + SPACE.l
        self.button.setFixedSize(side, side)
        self._show_button()

    def _show_button(self) -> None:
        enabled = self._answering or bool(self.text().strip())
        self.button.setEnabled(enabled)
        palette = self._theme.palette
        colour = palette.on_accent if enabled else palette.text_muted
        self.button.setIcon(self._theme.icon("stop" if self._answering else "send", colour))

    def _on_text(self) -> None:
        self._show_button()
        self._draft.start()

    def _on_focus(self, focused: bool) -> None:
        self._box.setProperty("focused", focused)
        self._box.style().unpolish(self._box)
        self._box.style().polish(self._box)

    def _keep_draft(self) -> None:
        self._draft.stop()
        self.draft_changed.emit(self.text())

    def _press(self) -> None:
        if self._answering:
            self.stop_requested.emit()
        else:
            self._send()
        self.focus_field()

    def _send(self) -> None:
        text = self.text().strip("\n")
        if self._answering or not text.strip():
            return
        self.field.clear()
        self.send_requested.emit(text)
