"""The window: the only place that connects panels with each other and with the rooms below.

Panels say what the user wants; services say what happened; here, and nowhere else, one leads to the other. Of all
conversations one is current: its events reach the transcript, of the others only the list knows.
"""

from __future__ import annotations

from PySide6.QtCore import QByteArray, Qt, QUrl
from PySide6.QtGui import QCloseEvent, QDesktopServices
from PySide6.QtWidgets import QFrame, QMainWindow, QMessageBox, QSplitter, QVBoxLayout

import inglenook
from inglenook.chat.events import (
    AnswerDelta,
    AnswerEnded,
    AnswerPartEnded,
    AnswerPartStarted,
    AnswerRetried,
    AnswerWaiting,
    ApprovalAsked,
    ChatEvent,
    ChatFailed,
    ChatsChanged,
    ContextChanged,
    ContextUse,
    TreeChanged,
)
from inglenook.core.conversation import MessageState, Tree
from inglenook.core.i18n import N_, tr
from inglenook.core.inference import DEMO
from inglenook.core.messages import Effort
from inglenook.core.paths import Paths
from inglenook.core.settings import ALL, Settings
from inglenook.library.events import ModelState, ModelStatus
from inglenook.ui import window_state
from inglenook.ui.actions import Actions
from inglenook.ui.bridge import Bridge
from inglenook.ui.chat_model import ChatModel
from inglenook.ui.model_desk import ModelDesk
from inglenook.ui.models.conversations import title_of
from inglenook.ui.models.transcript import AnswerEvent
from inglenook.ui.panels.composer import Composer
from inglenook.ui.panels.empty import EmptyState
from inglenook.ui.panels.header import Header
from inglenook.ui.panels.sidebar import Sidebar
from inglenook.ui.panels.status import StatusPanel
from inglenook.ui.panels.transcript import TranscriptPanel
from inglenook.ui.services import Chats, Models, Shelf, Token
from inglenook.ui.theme import Theme
from inglenook.ui.widgets.toast import Toast
from inglenook.ui.window_state import WindowState

_LINKS = ("http", "https", "mailto")  # what a model's answer may ask the system to open, on the user's click


class MainWindow(QMainWindow):
    """One window of the program."""

    def __init__(
        self,
        chats: Chats,
        models: Models,
        shelf: Shelf,
        token: Token,
        settings: Settings,
        paths: Paths,
        theme: Theme,
    ) -> None:
        super().__init__()
        self._token = token
        self._chats, self._models, self._settings, self._theme = chats, models, settings, theme
        self._state_file = paths.config / "window.json"
        self._current: str | None = None  # the conversation that the user is in
        self._tree: Tree | None = None  # what is shown of it; None until it has been read
        self._answering: set[str] = set()
        self._sending: dict[str, str] = {}  # conversation -> text that no event has answered yet
        self.setWindowTitle("Inglenook")
        self.setMinimumSize(560, 400)
        self.actions_ = Actions(self, theme)
        self.sidebar = Sidebar(theme)
        self.header = Header(theme, self.actions_.sidebar, self.actions_.new_chat, self.actions_.menu())
        self.status = StatusPanel(theme)
        self.transcript = TranscriptPanel(theme)
        self.composer = Composer(theme)
        self._empty = EmptyState()
        self.desk = ModelDesk(self, models, shelf, settings, theme, self._empty)
        self.chat_model = ChatModel(chats, models, self.header.chip, self.status, self)
        self._splitter = QSplitter(Qt.Orientation.Horizontal)
        self.toast = self._lay_out()
        self._connect_panels()
        self._connect_actions()
        self._restore()
        self.bridge = Bridge(chats, models, shelf, self)
        self.bridge.chat_event.connect(self._on_chat_event)
        self.bridge.model_status.connect(self._on_model_status)
        self.bridge.shelf_event.connect(self.desk.on_shelf)
        self._on_model_status(models.status())
        self._show_answering()
        chats.list_chats()
        self.composer.focus_field()

    @property
    def current(self) -> str | None:
        """The conversation that is shown."""
        return self._current

    @property
    def answering(self) -> bool:
        """Whether an answer of the current conversation is being written."""
        return self._current in self._answering

    def closeEvent(self, event: QCloseEvent) -> None:
        """Keeps the draft and the window's place, and stops listening."""
        self.composer.flush_draft()
        geometry = bytes(self.saveGeometry().toHex().data()).decode()
        width = self._splitter.sizes()[0] if self.sidebar.isVisible() else self._sidebar_width
        window_state.save(self._state_file, WindowState(geometry, width, not self.sidebar.isHidden()))
        self.bridge.close()
        super().closeEvent(event)

    # -- building --

    def _lay_out(self) -> Toast:
        conversation = QFrame()
        conversation.setObjectName("conversation")
        column = QVBoxLayout(conversation)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.header)
        column.addWidget(self.status)
        column.addWidget(self.desk.bar)
        column.addWidget(self.desk.conversions.bar)
        column.addWidget(self.desk.transfers.bar)
        column.addWidget(self.transcript, 1)
        column.addWidget(self.composer)
        self.composer.leave_room(self.transcript.verticalScrollBar().sizeHint().width())
        self._splitter.setHandleWidth(1)
        self._splitter.setChildrenCollapsible(False)
        self._splitter.addWidget(self.sidebar)
        self._splitter.addWidget(conversation)
        self._splitter.setStretchFactor(1, 1)
        self.sidebar.setMinimumWidth(200)
        self.sidebar.setMaximumWidth(420)
        self.setCentralWidget(self._splitter)
        self._empty.prompt_chosen.connect(self._send)
        self.transcript.set_empty_widget(self._empty)
        self.desk.toast = Toast(conversation, self.composer)
        return self.desk.toast

    def _restore(self) -> None:
        state = window_state.load(self._state_file)
        if not (state.geometry and self.restoreGeometry(QByteArray.fromHex(state.geometry.encode()))):
            self.resize(1280, 800)
        self._sidebar_width = state.sidebar
        self._splitter.setSizes([state.sidebar, max(1, self.width() - state.sidebar)])
        self._show_sidebar(state.sidebar_shown)

    def _connect_panels(self) -> None:
        self.sidebar.new_requested.connect(self._new_chat)
        self.sidebar.open_requested.connect(self._open)
        self.sidebar.write_requested.connect(self.composer.focus_field)
        self.sidebar.rename_requested.connect(self._chats.rename)
        self.sidebar.delete_requested.connect(self._delete)
        self.composer.send_requested.connect(self._send)
        self.composer.stop_requested.connect(self._stop)
        self.composer.effort_chosen.connect(self._set_effort)
        self.composer.draft_changed.connect(self._save_draft)
        self.status.choose_requested.connect(self.desk.open_models)
        self.status.retry_requested.connect(self._models.retry)
        self.status.demo_requested.connect(lambda: self.chat_model.use(DEMO))
        self.desk.use_requested.connect(self.chat_model.use)
        self.desk.arrived.connect(self.chat_model.await_)
        self.chat_model.changed.connect(self.desk.show_answering)
        self.chat_model.stood.connect(self._on_stood)
        self.transcript.edit_requested.connect(self._edit)
        self.transcript.regenerate_requested.connect(self._regenerate)
        self.transcript.continue_requested.connect(self._continue)
        self.transcript.answer_now_requested.connect(self._answer_now)
        self.transcript.sibling_requested.connect(self._show_sibling)
        self.transcript.pin_requested.connect(self._pin)
        self.transcript.call_answered.connect(self._answer_call)
        self.transcript.link_activated.connect(self._open_link)

    def _connect_actions(self) -> None:
        actions = self.actions_
        actions.new_chat.triggered.connect(self._new_chat)
        actions.rename.triggered.connect(self._rename)
        actions.delete.triggered.connect(self._delete_current)
        actions.filter.triggered.connect(self._filter)
        actions.sidebar.triggered.connect(lambda: self._show_sidebar(self.sidebar.isHidden()))
        actions.message.triggered.connect(self.composer.focus_field)
        actions.stop.triggered.connect(self._stop)
        actions.answer_now.triggered.connect(self._answer_now)
        actions.models.triggered.connect(self.desk.open_models)
        actions.choose_model.triggered.connect(lambda: self.desk.choose_file())
        actions.convert.triggered.connect(lambda: self.desk.conversions.choose())
        actions.network.triggered.connect(self.desk.open_network)
        actions.use_demo.triggered.connect(lambda: self.chat_model.use(DEMO))
        actions.retry_model.triggered.connect(self._models.retry)
        actions.settings.triggered.connect(self._show_settings)
        actions.about.triggered.connect(self._show_about)
        actions.quit.triggered.connect(self.close)
        actions.open_menu.triggered.connect(self.header.open_menu)

    # -- what the user wants --

    def _open(self, conversation_id: str) -> None:
        self._leave()
        self._current = conversation_id
        self.sidebar.show_current(conversation_id)
        self._chats.open(conversation_id)
        self._chats.watch(conversation_id)

    def _new_chat(self) -> None:
        """Begins a conversation, unless the one that is shown has not begun yet."""
        if self._tree is None or self._tree.messages:
            self._begin_chat()
        self.composer.focus_field()

    def _begin_chat(self) -> str:
        self._leave()
        self._current = self._chats.new_chat()
        self.sidebar.show_current(self._current)
        self._chats.watch(self._current)
        return self._current

    def _leave(self) -> None:
        """Keeps the draft; what is typed from here on belongs to the conversation that comes."""
        self.composer.flush_draft()
        self._tree = None
        self._show_use(None)
        if self._current is not None:
            self.composer.set_text("")

    def _send(self, text: str) -> None:
        if self.answering:
            return
        current = self._current or self._begin_chat()
        self._sending[current] = text
        self._answering.add(current)
        self._show_answering()
        self._chats.send(current, text)
        self.composer.focus_field()

    def _stop(self) -> None:
        if self._current is not None and self.answering:
            self._chats.stop(self._current)

    def _answer_now(self) -> None:
        if self._current is not None and self.answering:
            self._chats.answer_now(self._current)

    def _answer_call(self, call_id: str, allowed: bool, in_chat: bool) -> None:
        if self._current is not None:
            self._chats.answer_call(self._current, call_id, allowed=allowed, in_chat=in_chat)
            self.composer.focus_field()

    def _edit(self, message_id: str, text: str) -> None:
        if self._current is not None:
            self._sending[self._current] = text
            self._chats.edit(self._current, message_id, text)

    def _pin(self, message_id: str, pinned: bool) -> None:
        if self._current is not None:
            self._chats.pin(self._current, message_id, pinned=pinned)

    def _regenerate(self, message_id: str, effort: str) -> None:
        if self._current is not None:
            self._chats.regenerate(self._current, message_id, Effort(effort) if effort else None)

    def _continue(self, message_id: str) -> None:
        if self._current is not None:
            self._chats.continue_answer(self._current, message_id)

    def _show_sibling(self, message_id: str) -> None:
        if self._current is not None:
            self._chats.show_sibling(self._current, message_id)

    def _set_effort(self, effort: Effort) -> None:
        if self._current is not None:
            self._chats.set_effort(self._current, effort)

    def _save_draft(self, text: str) -> None:
        if self._current is not None:
            self._chats.save_draft(self._current, text)

    def _rename(self) -> None:
        if self._current is not None:
            self._show_sidebar(True)
            self.sidebar.start_rename(self._current)

    def _delete_current(self) -> None:
        if self._current is not None:
            self._delete(self._current)

    def _delete(self, conversation_id: str) -> None:
        """Deletes at once and offers to undo it: asking first would teach people to say yes."""
        title = next((title_of(c) for c in self.sidebar.model.conversations() if c.id == conversation_id), "")
        neighbour = self.sidebar.neighbour_of(conversation_id)
        self.composer.flush_draft()
        self._chats.delete(conversation_id)
        if conversation_id == self._current:
            if neighbour is None:
                self._begin_chat()
            else:
                self._open(neighbour)

        def undo() -> None:
            self._chats.restore(conversation_id)
            self._open(conversation_id)

        self.toast.show_notice(tr(N_("“{title}” was deleted."), title=_short(title)), tr(N_("&Undo")), undo)

    def _filter(self) -> None:
        self._show_sidebar(True)
        self.sidebar.focus_filter()

    def _show_sidebar(self, shown: bool) -> None:
        if not shown and self.sidebar.isVisible():
            self._sidebar_width = self._splitter.sizes()[0]
            if self.sidebar.isAncestorOf(self.focusWidget() or self):
                self.composer.focus_field()
        self.sidebar.setVisible(shown)
        self.header.show_new_chat(not shown)

    def _show_settings(self) -> None:
        from inglenook.ui.dialogs.settings import SettingsDialog  # not needed for the first paint

        dialog = SettingsDialog(self._settings, ALL, self._theme, self._token, self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _show_about(self) -> None:
        box = QMessageBox(self)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.setWindowTitle(tr(N_("About Inglenook")))
        box.setIconPixmap(self.windowIcon().pixmap(64, 64))
        box.setText(f"<b>Inglenook {inglenook.__version__}</b>")
        box.setInformativeText(
            tr(N_("Chat with gpt-oss-20b on your own computer. Free software under the Apache License 2.0."))
        )
        box.open()

    def _open_link(self, address: str) -> None:
        url = QUrl(address)
        if url.scheme().lower() in _LINKS:
            QDesktopServices.openUrl(url)
        else:
            self.toast.show_notice(tr(N_("Inglenook opens web and mail addresses only.")))

    # -- what happened --

    def _on_model_status(self, status: ModelStatus) -> None:
        self.chat_model.show_status(status)
        self.actions_.use_demo.setEnabled(not status.is_demo)
        self.actions_.retry_model.setEnabled(status.state in (ModelState.FAILED, ModelState.CRASHED, ModelState.NONE))

    def _on_chat_event(self, event: ChatEvent) -> None:
        match event:
            case ChatsChanged():
                self._on_chats(event)
            case TreeChanged():
                self._on_tree(event.tree)
            case ChatFailed():
                self._on_failed(event)
            case ContextChanged() if event.conversation_id == self._current:
                self._show_use(event.use)
            case AnswerEnded():
                self._answering.discard(event.conversation_id)
                self._sending.pop(event.conversation_id, None)
                self._to_transcript(event)
            case ApprovalAsked() if event.conversation_id != self._current:
                self._tell_of_question(event.conversation_id)
            case (
                AnswerWaiting()
                | AnswerPartStarted()
                | AnswerDelta()
                | AnswerPartEnded()
                | AnswerRetried()
                | ApprovalAsked()
            ):
                self._answering.add(event.conversation_id)
                self._sending.pop(event.conversation_id, None)
                self._to_transcript(event)

    def _tell_of_question(self, conversation_id: str) -> None:
        """An answer elsewhere waits for the user, and all other answers for it."""
        self._answering.add(conversation_id)
        title = next((title_of(c) for c in self.sidebar.model.conversations() if c.id == conversation_id), "")
        words = tr(N_("“{title}” asks to use a tool."), title=_short(title))
        self.toast.show_notice(words, tr(N_("&Show")), lambda: self._open(conversation_id), seconds=60)

    def _on_stood(self, title: str) -> None:
        """The model that was fetched is ready: a chat with it begins, unless the user is at something."""
        if self._tree is not None and not self._tree.messages:
            return  # this one is with it
        if self.answering or self.composer.text().strip():
            self.toast.show_notice(
                tr(N_("{title} is ready."), title=title), tr(N_("&New chat with it")), self._new_chat
            )
        else:
            self._new_chat()

    def _to_transcript(self, event: AnswerEvent) -> None:
        if event.conversation_id == self._current and self._tree is not None:
            self.transcript.handle(event)
            now_offered = self.actions_.answer_now.isVisible()
            if not isinstance(event, AnswerDelta) or self.transcript.thinking is not now_offered:
                self._show_answering()

    def _on_chats(self, event: ChatsChanged) -> None:
        self.sidebar.show_conversations(event.conversations)
        self.desk.show_remembered(event.conversations)
        if self._current is None:
            if event.conversations:
                self._open(event.conversations[0].id)
            else:
                self._begin_chat()
        self._show_title()

    def _on_tree(self, tree: Tree) -> None:
        conversation = tree.conversation
        if any(m.state is MessageState.STREAMING for m in tree.path()):
            self._answering.add(conversation.id)
        elif conversation.id not in self._sending:
            self._answering.discard(conversation.id)
        if conversation.id != self._current:
            return
        opened, self._tree = self._tree is None, tree
        self.chat_model.show_tree(tree)
        self.transcript.show_tree(tree)
        self.composer.set_effort(conversation.effort)
        if opened and conversation.draft:
            self.composer.give_back(conversation.draft)
        self._show_title()
        self._show_answering()

    def _on_failed(self, event: ChatFailed) -> None:
        text = self._sending.pop(event.conversation_id or "", "")
        self._answering.discard(event.conversation_id or "")
        if text and event.conversation_id == self._current:
            self.composer.give_back(text)
        elif text and event.conversation_id:
            self._chats.save_draft(event.conversation_id, text)
        self._show_answering()
        self.toast.show_notice(event.error.text(), seconds=15)

    def _show_use(self, use: ContextUse | None) -> None:
        self.composer.show_use(use)
        self.transcript.show_unseen(use.unseen if use is not None else ())

    def _show_answering(self) -> None:
        self.composer.set_answering(self.answering)
        self.actions_.stop.setEnabled(self.answering)
        self.actions_.answer_now.setVisible(self.answering and self.transcript.thinking)

    def _show_title(self) -> None:
        listed = next((c for c in self.sidebar.model.conversations() if c.id == self._current), None)
        conversation = listed or (self._tree.conversation if self._tree else None)
        title = title_of(conversation) if conversation else ""
        self.header.title.set_text(title)
        self.setWindowTitle(f"{title} – Inglenook" if title else "Inglenook")


def _short(title: str) -> str:
    return title if len(title) <= 40 else f"{title[:39]}…"
