"""The conversation: its messages below each other, of which only those near the view exist as widgets.

Heights of the others are estimated until they come near. Whatever becomes known or changes, the message that the user
is looking at stays where it is; only while the user is at the end does the view follow what is being written.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from PySide6.QtCore import QEvent, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleAnnouncementEvent,
    QKeyEvent,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QApplication, QFrame, QWidget

from inglenook.chat.events import AnswerEnded, ChatEvent
from inglenook.core.conversation import MessageState, Tree
from inglenook.core.i18n import tr
from inglenook.ui.models.transcript import AnswerEvent, Entry, LiveAnswers, entries_of
from inglenook.ui.panels.column import Anchor, Item, between, estimate, gap, staying
from inglenook.ui.theme import COLUMN, SPACE, Theme
from inglenook.ui.widgets.code_highlight import warm_up
from inglenook.ui.widgets.jump_button import JumpButton
from inglenook.ui.widgets.markdown_style import Style
from inglenook.ui.widgets.message_parts import GUTTER
from inglenook.ui.widgets.message_view import AnswerView, MessageView, UserView
from inglenook.ui.widgets.unseen_marker import UnseenMarker

_MARGIN = 500  # pixels beyond the view within which messages exist as widgets
_KEEP = 2500  # pixels beyond which they are given up
_BUDGET_S = 0.008  # a frame that took longer makes the next one wait
_NEAR_END = 24  # pixels from the end that still count as being at the end


class TranscriptPanel(QAbstractScrollArea):
    """The messages of one conversation."""

    edit_requested = Signal(str, str)  # message id, new text
    regenerate_requested = Signal(str, str)  # message id, effort or ""
    continue_requested = Signal(str)  # id of the answer that was cut off
    answer_now_requested = Signal()
    sibling_requested = Signal(str)  # id of the version to show
    pin_requested = Signal(str, bool)  # message id, whether the model is to see it for ever
    call_answered = Signal(str, bool, bool)  # call id, whether it is allowed, for all such calls of the chat
    link_activated = Signal(str)  # http, https or mailto

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme, self._style = theme, Style.of(theme)
        self._items: list[Item] = []
        self._built: set[Item] = set()  # those with a widget
        self._conversation = ""
        self._live = LiveAnswers()
        self._opened: dict[str, set[int]] = {}  # unfolded parts by message
        self._follow = True
        self._arranging = False
        self._empty: QWidget | None = None
        self._dirty: set[str] = set()
        self._cost_s = 0.0
        self._frame = QTimer(self)
        self._frame.setSingleShot(True)
        self._frame.timeout.connect(self._flush)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setAccessibleName(tr("Conversation"))
        self.viewport().setAutoFillBackground(False)
        self._jump = JumpButton(theme, self)
        self._jump.clicked.connect(self.jump_to_latest)
        self._unseen: frozenset[str] = frozenset()
        self._marker = UnseenMarker(theme, self.viewport())
        self.verticalScrollBar().valueChanged.connect(self._scrolled)
        self.verticalScrollBar().setSingleStep(40)
        theme.changed.connect(self._restyle)
        QApplication.instance().focusChanged.connect(self._focus_moved)  # type: ignore[union-attr]  # a QApplication

    # --- what is shown

    def set_empty_widget(self, widget: QWidget) -> None:
        """Shown in place of messages while an open conversation has none."""
        if self._empty is not None:
            self._empty.deleteLater()
        self._empty = widget
        widget.setParent(self.viewport())
        self._arrange()

    def show_tree(self, tree: Tree | None) -> None:
        """Shows the tree's path. Messages that are already shown keep their widgets and the view its place."""
        entries = entries_of(tree) if tree is not None else []
        conversation = tree.conversation.id if tree is not None else ""
        other = conversation != self._conversation
        self._conversation = conversation
        for entry in entries:
            self._live.adopt(entry.message)
        if other:
            self._opened.clear()
        old = {item.entry.id: item for item in self._items}
        last = entries[-1] if entries else None
        begun = last is not None and last.id not in old and (last.mine or last.message.state is MessageState.STREAMING)
        self._follow = self._follow or other or begun
        top, high = self.verticalScrollBar().value(), self.viewport().height()
        anchor = None if self._follow else staying(self._items, entries, top, high)
        items = [old.pop(entry.id) if entry.id in old else Item(entry) for entry in entries]
        for item in old.values():
            self._give_up(item)
        self._items = items
        above: Entry | None = None
        for item, entry in zip(items, entries, strict=True):
            self._take(item, entry)
            item.gap = gap(above, entry)
            above = entry
        self._arrange(anchor(items) if anchor else None)

    def handle(self, event: ChatEvent) -> None:
        """Takes an event of a streaming answer; it is drawn with the next frame. Others are ignored."""
        if not isinstance(event, AnswerEvent):
            return
        message_id = self._live.handle(event)
        item = next((item for item in reversed(self._items) if item.entry.id == message_id), None)
        if item is None:
            return
        warm_up()
        if isinstance(event, AnswerEnded):
            message = event.message
            if event.error is not None and not message.error:
                message = replace(message, error=event.error.text())
            message = replace(message, pinned=item.entry.message.pinned)  # whoever writes it does not know
            self._take(item, replace(item.entry, message=message))
            if QAccessible.isActive():
                QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, tr("The answer is complete.")))
        self._dirty.add(message_id)
        if not self._frame.isActive():
            wait = min(
                0.25, 3 * max(0.0, self._cost_s - _BUDGET_S)
            )  # a very long paragraph must not take the whole thread
            self._frame.start(int(wait * 1000))

    def show_unseen(self, message_ids: Sequence[str]) -> None:
        """Draws a line below the last of the messages that the model does not see any more."""
        if self._unseen != frozenset(message_ids):
            self._unseen = frozenset(message_ids)
            self._arrange()

    def jump_to_latest(self) -> None:
        """To the end, and follow from there."""
        self._follow = True
        self._arrange()

    @property
    def at_end(self) -> bool:
        """Whether the view follows what is being written."""
        return self._follow

    @property
    def thinking(self) -> bool:
        """Whether the reasoning of the last message is being written."""
        live = self._live.get(self._items[-1].entry.id) if self._items else None
        return live is not None and live.thinking

    def view_of(self, message_id: str) -> MessageView | None:
        """The widget of a message, if it has one now."""
        return next((item.view for item in self._items if item.entry.id == message_id), None)

    # --- items

    def _take(self, item: Item, entry: Entry) -> None:
        """Gives an item a later state of its message."""
        if item.entry == entry and item.known:
            return
        same = item.entry.message == entry.message
        item.entry = entry
        if isinstance(item.view, UserView):
            if not same:
                self._give_up(item)
            else:
                item.view.take(entry)
        elif isinstance(item.view, AnswerView):
            item.view.take(entry, self._live.get(entry.id))
        item.known = False
        if item.view is None:
            item.height = estimate(entry, self._style.em, self._column())

    def _build(self, item: Item) -> None:
        entry = item.entry
        view: MessageView
        if entry.mine:
            view = UserView(self._theme, self._style, entry, self.viewport())
        else:
            opened = self._opened.setdefault(entry.id, set())
            view = AnswerView(self._theme, self._style, entry, self._live.get(entry.id), opened, self.viewport())
            view.fold_changed.connect(lambda part, is_open: (opened.add if is_open else opened.discard)(part))
        view.edit_requested.connect(self.edit_requested)
        view.regenerate_requested.connect(self.regenerate_requested)
        view.continue_requested.connect(self.continue_requested)
        view.answer_now_requested.connect(self.answer_now_requested)
        view.sibling_requested.connect(self.sibling_requested)
        view.pin_requested.connect(self.pin_requested)
        view.call_answered.connect(self.call_answered)
        view.link_activated.connect(self.link_activated)
        view.dragged_to.connect(self._dragged)
        view.resized.connect(lambda: self._resized(item))
        item.view, item.known = view, False
        self._built.add(item)

    def _give_up(self, item: Item) -> None:
        if item.view is not None:
            item.view.hide()
            item.view.deleteLater()
            item.view = None
        self._built.discard(item)

    def _resized(self, item: Item) -> None:
        """Folded or unfolded by the user: its top stays where it is, unless it is being followed."""
        item.known = False
        if self._follow and item.entry.message.state is MessageState.STREAMING:
            self._arrange()
            return
        self._follow = False
        self._arrange(Anchor(item, item.y - self.verticalScrollBar().value()))
        self._follow = self._is_at_end()
        self._show_jump()

    def _flush(self) -> None:
        """Draws what came since the last frame."""
        began = time.perf_counter()
        dirty, self._dirty = self._dirty, set()
        for item in self._items:
            if item.entry.id in dirty:
                if isinstance(item.view, AnswerView):
                    self._renew(item.view, item.entry)
                item.known = False
        self._arrange()
        self._cost_s = time.perf_counter() - began

    def _renew(self, view: AnswerView, entry: Entry) -> None:
        """Shows a later state; a question to the user is said, and the keyboard reaches it in its turn."""
        asked = view.asks
        view.take(entry, self._live.get(entry.id))
        if view.asks and not asked:
            self._chain_tabs()
            if QAccessible.isActive():
                QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(self, view.asks))

    # --- geometry

    def _column(self) -> int:
        return min(COLUMN, max(200, self.viewport().width() - 2 * SPACE.xl))

    def _anchor(self) -> Anchor | None:
        """The first message in sight whose height is known, and where its top is in the view."""
        top = self.verticalScrollBar().value()
        bottom = top + self.viewport().height()
        seen = between(self._items, top, bottom)
        best = next((item for item in seen if item.view is not None and item.y >= top), None)
        best = best or next((item for item in seen if item.view is not None), seen[0] if seen else None)
        return Anchor(best, best.y - top) if best is not None else None

    def _place(self) -> float:
        """Gives every item its y; returns the height of all."""
        y = float(SPACE.xl)
        marked = self._below_marker()
        for item in self._items:
            item.y = y + item.gap
            if item is marked:
                item.y += self._marker.relayout(self._column())
            y = item.y + item.height
        return y + SPACE.xl

    def _arrange(self, anchor: Anchor | None = None) -> None:
        """Builds what comes near, measures what is new, and puts everything in place around what must not move."""
        if self._arranging:
            return
        self._arranging = True
        bar, high, column = self.verticalScrollBar(), self.viewport().height(), self._column()
        if not self._follow and anchor is None:
            anchor = self._anchor()
        built = False
        value = float(bar.value())
        total = 0.0
        for _round in range(8):  # what becomes known moves what is near: a few rounds, mostly two
            total = self._place()
            most = max(0.0, total - high)
            value = most if self._follow or anchor is None else min(max(anchor.value(), 0.0), most)
            changed = False
            near = between(self._items, value - _MARGIN, value + high + _MARGIN)
            for item in near:
                if item.view is None:
                    self._build(item)
                    built = True
            for item in self._built:
                if item.view is not None and (not item.known or item.view.width() != column + 2 * GUTTER):
                    height = float(item.view.relayout(column))
                    changed = changed or height != item.height
                    item.height, item.known = height, True
            if not changed:
                break
        bar.setRange(0, max(0, round(total - high)))
        bar.setPageStep(max(1, high - 60))
        bar.setValue(round(value))
        self._move_views(built)
        self._arranging = False

    def _below_marker(self) -> Item | None:
        """The first message that the model sees after those that it does not."""
        last = max((i for i, item in enumerate(self._items) if item.entry.id in self._unseen), default=len(self._items))
        return self._items[last + 1] if last + 1 < len(self._items) else None

    def _move_views(self, built: bool) -> None:
        value, high, column = self.verticalScrollBar().value(), self.viewport().height(), self._column()
        x = (self.viewport().width() - column) // 2 - GUTTER
        for item in tuple(self._built):
            if item.view is None:
                continue
            far = item.y > value + high + _KEEP or item.y + item.height < value - _KEEP
            if far and not item.view.busy and item.entry.message.state is not MessageState.STREAMING:
                self._give_up(item)
                continue
            item.view.move(x, round(item.y) - value)
            if item.view.isHidden():
                item.view.show()
        marked = self._below_marker()
        self._marker.setVisible(marked is not None)
        if marked is not None:
            self._marker.move(x + GUTTER, round(marked.y) - value - self._marker.height() - SPACE.m)
        if built:
            self._chain_tabs()
        if self._empty is not None:
            self._empty.setGeometry(self.viewport().rect())
            self._empty.setVisible(bool(self._conversation) and not self._items)
        self._show_jump()

    def _chain_tabs(self) -> None:
        """Tab goes through the messages from top to bottom, in whatever order they were built."""
        views = [item.view for item in sorted(self._built, key=lambda item: item.y) if item.view is not None]
        last: QWidget = self
        for view in views:
            for widget in view.findChildren(QWidget):
                if widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
                    QWidget.setTabOrder(last, widget)
                    last = widget

    def _is_at_end(self) -> bool:
        bar = self.verticalScrollBar()
        return bar.value() >= bar.maximum() - _NEAR_END

    def _show_jump(self) -> None:
        size = self._jump.size()
        x = (self.viewport().width() - size.width()) // 2
        self._jump.move(x, self.height() - size.height() - SPACE.m)
        self._jump.setVisible(bool(self._items) and not self._follow and not self._is_at_end())
        self._jump.raise_()

    # --- scrolling

    def _scrolled(self) -> None:
        """The user scrolled (or the bar did, on our behalf)."""
        if not self._arranging:
            anchor = self._anchor()
            self._follow = False
            self._arrange(anchor)
            self._follow = self._is_at_end()
            self._show_jump()

    def scrollContentsBy(self, _dx: int, _dy: int) -> None:
        """Nothing to do: `_scrolled` moves the messages."""

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Another width is another layout."""
        super().resizeEvent(event)
        self._arrange()

    def viewportEvent(self, event: QEvent) -> bool:
        """Children are placed by hand: a request to lay them out is answered."""
        if event.type() is QEvent.Type.LayoutRequest:
            return True
        return super().viewportEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows, pages, Home and End scroll."""
        bar = self.verticalScrollBar()
        steps = {
            Qt.Key.Key_Up: -bar.singleStep(),
            Qt.Key.Key_Down: bar.singleStep(),
            Qt.Key.Key_PageUp: -bar.pageStep(),
            Qt.Key.Key_PageDown: bar.pageStep(),
            Qt.Key.Key_Home: -bar.maximum(),
        }
        if event.key() == Qt.Key.Key_End:
            self.jump_to_latest()
        elif (step := steps.get(Qt.Key(event.key()))) is not None:
            bar.setValue(bar.value() + step)
        else:
            event.ignore()

    def _dragged(self, pointer: QPoint) -> None:
        """Selecting beyond an edge scrolls."""
        y = self.viewport().mapFromGlobal(pointer).y()
        beyond = y if y < 0 else max(0, y - self.viewport().height())
        if beyond:
            self.verticalScrollBar().setValue(self.verticalScrollBar().value() + max(-40, min(40, beyond)))

    def _focus_moved(self, old: QWidget | None, new: QWidget | None) -> None:
        """What the keyboard reached comes into sight."""
        if old is None or new is None or not self.viewport().isAncestorOf(new):
            return
        top = new.mapTo(self.viewport(), QPoint(0, 0)).y()
        high, bar = self.viewport().height(), self.verticalScrollBar()
        if top + new.height() < 0 or (top < 0 and new.height() <= high):
            bar.setValue(bar.value() + top - SPACE.l)
        elif top > high or (top + new.height() > high and new.height() <= high):
            bar.setValue(bar.value() + min(top - SPACE.l, top + new.height() - high + SPACE.l))

    def _restyle(self) -> None:
        """Another look: everything is made anew where it stands."""
        self._style = Style.of(self._theme)
        anchor = self._anchor()
        for item in self._items:
            self._give_up(item)
            item.known = False
        self._arrange(anchor)
        self._jump.update()
