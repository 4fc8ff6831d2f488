"""One message in the conversation: mine as a calm bubble at the right, the answer as text in the column.

Messages place their children themselves (`relayout`), since the panel must know heights at once and nothing may jump.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPoint, QRectF, Qt, Signal
from PySide6.QtGui import QEnterEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from inglenook.core.conversation import MessageState
from inglenook.core.events import Channel
from inglenook.core.i18n import tr
from inglenook.ui.models.transcript import Entry, LiveAnswer, ShownPart, parts_of
from inglenook.ui.theme import SPACE, Theme
from inglenook.ui.widgets.approval import ApprovalCard
from inglenook.ui.widgets.markdown_style import Style
from inglenook.ui.widgets.markdown_view import EDGE, MarkdownView
from inglenook.ui.widgets.message_actions import ROW, ActionRow, Editor
from inglenook.ui.widgets.message_button import QuietButton
from inglenook.ui.widgets.message_parts import GUTTER, EndingLine, FoldedPart, WaitingLine, ending_text

_FOLD_OVER = 3000  # characters of my own message that are shown before "Show all"
_FOLD_LINES = 30


class MessageView(QWidget):
    """What both kinds have in common."""

    edit_requested = Signal(str, str)
    regenerate_requested = Signal(str, str)
    continue_requested = Signal(str)
    answer_now_requested = Signal()
    sibling_requested = Signal(str)
    pin_requested = Signal(str, bool)
    call_answered = Signal(str, bool, bool)  # call id, allowed, in the whole chat
    link_activated = Signal(str)
    dragged_to = Signal(QPoint)
    resized = Signal()  # its height changed by itself: something was folded, an editor opened

    def __init__(self, theme: Theme, style: Style, entry: Entry, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme, self._style = theme, style
        self.entry = entry
        self._row: ActionRow | None = None

    @property
    def busy(self) -> bool:
        """Whether the user is in the middle of something here, so that it must not be taken away."""
        focus = self.focusWidget()
        return focus is not None and focus.hasFocus()

    def relayout(self, width: int) -> int:
        """Lays out for a column of `width`, to which `GUTTER` comes on both sides; resizes and returns the height."""
        raise NotImplementedError

    def _connect_view(self, view: MarkdownView) -> None:
        view.link_activated.connect(self.link_activated)
        view.dragged_to.connect(self.dragged_to)

    def _make_row(self, source: str) -> None:
        if self._row is not None:
            self._row.deleteLater()
        row = ActionRow(self._theme, self.entry, lambda: source, self)
        row.regenerate.connect(lambda effort: self.regenerate_requested.emit(self.entry.id, effort))
        row.sibling.connect(self.sibling_requested)
        row.pin.connect(lambda pinned: self.pin_requested.emit(self.entry.id, pinned))
        row.edit.connect(self._begin_edit)
        row.show()
        self._row = row

    def _begin_edit(self) -> None:
        """Only one's own messages can be edited."""


class UserView(MessageView):
    """The user's words in a bubble, as typed."""

    def __init__(self, theme: Theme, style: Style, entry: Entry, parent: QWidget) -> None:
        super().__init__(theme, style, entry, parent)
        self.setAccessibleName(tr("Your message"))
        self._text = entry.message.message.text
        self._view = MarkdownView(theme, style, self, plain=True)
        self._connect_view(self._view)
        self._more: QuietButton | None = None
        self._editor: Editor | None = None
        self._bubble = QRectF()
        folded = self._folded()
        self._view.set_text(folded)
        if folded != self._text:
            self._more = QuietButton(theme, "chevron-down", tr("Show all"), self, text=tr("Show all"))
            self._more.clicked.connect(self._unfold)
        self.take(entry)

    def take(self, entry: Entry) -> None:
        """A later state of the same message: its versions may have changed."""
        self.entry = entry
        self._make_row(self._text)
        self._reveal(self.underMouse())

    @property
    def busy(self) -> bool:
        """Also while the editor is open."""
        return self._editor is not None or super().busy

    def _folded(self) -> str:
        lines = self._text.split("\n")
        if len(self._text) <= _FOLD_OVER and len(lines) <= _FOLD_LINES:
            return self._text
        return "\n".join(lines[: _FOLD_LINES - 10])[: _FOLD_OVER - 1000].rstrip() + " …"

    def _unfold(self) -> None:
        if self._more is not None:
            self._more.hide()
            self._more.deleteLater()
            self._more = None
            self._view.set_text(self._text)
            self._view.setFocus()
            self.resized.emit()

    def relayout(self, width: int) -> int:
        """Places the parts for a column of `width`, returns the height."""
        if self._editor is not None:
            height = self._editor.relayout(width)
            self._editor.move(GUTTER, 0)
            self.resize(width + 2 * GUTTER, height)
            return height
        pad, top = SPACE.l, SPACE.s + 2
        room = int(width * 0.82) - 2 * pad
        wide = min(room, int(self._view.natural_width()) + 2)
        high = self._view.relayout(wide)
        more = self._more.sizeHint().height() if self._more is not None else 0
        self._bubble = QRectF(GUTTER + width - wide - 2 * pad, 0, wide + 2 * pad, high + 2 * top + more)
        self._view.move(int(self._bubble.x()) + pad - EDGE, top)
        if self._more is not None:
            self._more.move(int(self._bubble.x()) + pad - SPACE.s, top + high)
        height = int(self._bubble.height()) + SPACE.xs
        if self._row is not None:
            across = self._row.wanted_width()
            self._row.move(GUTTER + width - across, height)
            height += self._row.relayout(across)
        self.resize(width + 2 * GUTTER, height)
        self.update()
        return height

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draws the bubble."""
        if self._editor is None:
            painter = QPainter(self)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(self._theme.palette.user_bubble)
            painter.drawRoundedRect(self._bubble, 16, 16)
            painter.end()

    def enterEvent(self, event: QEnterEvent) -> None:
        """The pointer came."""
        super().enterEvent(event)
        self._reveal(True)

    def leaveEvent(self, event: object) -> None:
        """The pointer left."""
        self._reveal(False)

    def _reveal(self, revealed: bool) -> None:
        if self._row is not None:
            self._row.set_revealed(revealed)

    def _begin_edit(self) -> None:
        editor = Editor(self._theme, self._text, self)
        editor.sent.connect(self._sent)
        editor.cancelled.connect(self._end_edit)
        editor.grown.connect(self.resized)
        self._editor = editor
        self._show_parts(False)
        editor.show()
        self.resized.emit()
        editor.begin()

    def _show_parts(self, shown: bool) -> None:
        for widget in (self._view, self._row, self._more):
            if widget is not None:
                widget.setVisible(shown)

    def _sent(self, text: str) -> None:
        self._end_edit()
        if text != self._text.strip():
            self.edit_requested.emit(self.entry.id, text)

    def _end_edit(self) -> None:
        if self._editor is not None:
            self._editor.hide()
            self._editor.deleteLater()
            self._editor = None
            self._show_parts(True)
            self._view.setFocus(Qt.FocusReason.OtherFocusReason)
            self.resized.emit()


_PartWidget = FoldedPart | MarkdownView


class AnswerView(MessageView):
    """An answer, whole or streaming; also a tool's result."""

    fold_changed = Signal(int, bool)  # part, opened

    def __init__(
        self, theme: Theme, style: Style, entry: Entry, live: LiveAnswer | None, opened: set[int], parent: QWidget
    ) -> None:
        super().__init__(theme, style, entry, parent)
        self.setAccessibleName(tr("Answer"))
        self._opened = opened
        self._parts: list[tuple[Channel | None, _PartWidget]] = []
        self._waiting: WaitingLine | None = None
        self._card: ApprovalCard | None = None
        self._ending: EndingLine | None = None
        self._ended_as: object = None
        self.take(entry, live)

    @property
    def asks(self) -> str:
        """What the user is asked, if anything."""
        return self._card.words if self._card is not None else ""

    @property
    def streaming(self) -> bool:
        """Whether more is to come."""
        return self.entry.message.state is MessageState.STREAMING

    def take(self, entry: Entry, live: LiveAnswer | None) -> None:
        """A later state; widgets of parts that go on stay."""
        changed = entry != self.entry
        self.entry = entry
        parts = parts_of(entry, live)
        self._take_parts(parts)
        self._take_asked(live)
        self._take_waiting(live, bool(parts))
        if not self._ended_as or changed:
            self._take_end()

    def _take_parts(self, parts: Sequence[ShownPart]) -> None:
        for i, part in enumerate(parts):
            if i < len(self._parts) and self._parts[i][0] is not part.channel:
                self._drop_parts(i)
            if i == len(self._parts):
                self._parts.append((part.channel, self._part_widget(i, part)))
            widget = self._parts[i][1]
            if isinstance(widget, FoldedPart):
                widget.take(part)
                continue
            complete = part.seconds is not None or not self.streaming
            if complete or not part.text.startswith(widget.source):
                widget.set_text(part.text)
            elif len(part.text) > len(widget.source):
                widget.append(part.text[len(widget.source) :])
        self._drop_parts(len(parts))

    def _part_widget(self, i: int, part: ShownPart) -> _PartWidget:
        if part.channel in (Channel.FINAL, Channel.PREAMBLE):
            view = MarkdownView(self._theme, self._style, self)
            self._connect_view(view)
            view.show()
            return view
        fold = FoldedPart(self._theme, self._style, part, i in self._opened, self)
        fold.toggled.connect(lambda opened: self._toggled(i, opened))
        fold.answer_now.connect(self.answer_now_requested)
        for view in fold.views:
            self._connect_view(view)
        fold.show()
        return fold

    def _toggled(self, i: int, opened: bool) -> None:
        fold = self._parts[i][1]
        if opened and isinstance(fold, FoldedPart):
            for view in fold.views:
                if not view.property("connected"):
                    view.setProperty("connected", True)
                    self._connect_view(view)
        self.fold_changed.emit(i, opened)
        self.resized.emit()

    def _drop_parts(self, start: int) -> None:
        for _channel, widget in self._parts[start:]:
            widget.hide()
            widget.deleteLater()
        del self._parts[start:]

    def _take_asked(self, live: LiveAnswer | None) -> None:
        asked = live.asked if live is not None and self.streaming else None
        if asked is None:
            if self._card is not None:
                self._card.hide()
                self._card.deleteLater()
                self._card = None
        elif self._card is None:
            self._card = ApprovalCard(self._theme, asked, self)
            self._card.answered.connect(self.call_answered)
            self._card.show()
        else:
            self._card.take(asked)

    def _take_waiting(self, live: LiveAnswer | None, has_parts: bool) -> None:
        wanted = self.streaming and (not has_parts or (live is not None and live.waiting is not None))
        wanted = wanted and self._card is None
        if wanted:
            if self._waiting is None:
                self._waiting = WaitingLine(self._theme, self)
                self._waiting.show()
            self._waiting.take(live.waiting if live else None)
        elif self._waiting is not None:
            self._waiting.hide()
            self._waiting.deleteLater()
            self._waiting = None

    def _take_end(self) -> None:
        if self.streaming:
            return
        message = self.entry.message
        self._ended_as = message.state
        if self._ending is not None:
            self._ending.hide()
            self._ending.deleteLater()
            self._ending = None
        if self.entry.ends_turn and ending_text(message):
            self._ending = EndingLine(self._theme, message, self)
            self._ending.try_again.connect(lambda: self.regenerate_requested.emit(self.entry.id, ""))
            self._ending.go_on.connect(lambda: self.continue_requested.emit(message.id))
            self._ending.show()
        if self._row is not None:
            self._row.hide()
            self._row.deleteLater()
            self._row = None
        if self.entry.ends_turn:
            self._make_row(message.message.text)

    def relayout(self, width: int) -> int:
        """Places the parts for a column of `width`, returns the height."""
        y = 0
        for i, (channel, widget) in enumerate(self._parts):
            if i:
                folds = isinstance(widget, FoldedPart) and isinstance(self._parts[i - 1][1], FoldedPart)
                y += 2 if folds else SPACE.m if channel is not Channel.FINAL else SPACE.s
            widget.move(0 if isinstance(widget, FoldedPart) else GUTTER - EDGE, y)
            y += widget.relayout(width)
        if self._card is not None:
            y += SPACE.s if self._parts else 0
            self._card.move(GUTTER, y)
            y += self._card.relayout(width)
        if self._waiting is not None:
            self._waiting.move(GUTTER, y)
            y += self._waiting.relayout(width)
        if self._ending is not None:
            y += SPACE.m if self._parts else 0
            self._ending.move(GUTTER, y)
            y += self._ending.relayout(width)
        if self._row is not None:
            self._row.move(GUTTER - 6, y + SPACE.xs)
            self._row.relayout(width + 6)
        if self.entry.ends_turn:
            y += SPACE.xs + ROW  # the place of the actions is kept while the answer streams
        self.resize(width + 2 * GUTTER, y)
        return y
