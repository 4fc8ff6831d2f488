"""`ChatService`: what a window or a terminal asks of conversations. Nothing here blocks its caller.

Two threads: one answers, turn by turn; the other does all else (reading, writing, titles, drafts), so that the list and
other conversations are at hand while an answer streams. Only that second thread changes conversations, so their
rows need no lock; only the turn changes its answer.
"""

from __future__ import annotations

import datetime
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from inglenook.chat.events import AnswerWaiting, ChatEvent, ChatFailed, ChatsChanged, TreeChanged, Waiting
from inglenook.chat.titles import title_from
from inglenook.chat.turn import Surroundings, Turn
from inglenook.core.conversation import Conversation, ConversationStore, MessageState, StoredMessage, Tree, new_id
from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.i18n import N_
from inglenook.core.inference import InferenceService, ModelSource, Sampling
from inglenook.core.messages import Effort, Message, Role, user
from inglenook.core.settings import EFFORT, INSTRUCTIONS, TEMPERATURE, TOP_P, Settings

SAVE_SECONDS = 0.2
"""A streaming answer is handed to the store this often."""

DRAFT_SECONDS = 0.4
"""What is typed is handed to the store this late at most."""

CLOSE_SECONDS = 10.0
"""How long `close` waits for an engine that does not answer a cancel."""

_Job = Callable[[], None]


class ChatService:
    """Conversations with the model. Methods queue and return at once; what comes of them are events to listeners.

    Listeners are called on worker threads, one event at a time. `today` gives the date that a new conversation keeps.
    """

    def __init__(
        self,
        store: ConversationStore,
        inference: InferenceService,
        model: ModelSource,
        settings: Settings,
        today: Callable[[], datetime.date] = lambda: datetime.datetime.now().astimezone().date(),
    ) -> None:
        self._store = store
        self._settings = settings
        self._today = today
        self._lock = threading.RLock()  # held while listeners are called and while an answer grows
        self._listeners_lock = threading.Lock()
        self._listeners: tuple[Callable[[ChatEvent], None], ...] = ()
        self._surroundings = Surroundings(store, inference, model, self._emit, self._lock, _report_bug)
        self._jobs: queue.SimpleQueue[tuple[str | None, _Job] | None] = queue.SimpleQueue()
        self._unsaved: dict[str, Conversation] = {}  # new ones, on disk from their first message or draft on
        self._drafts: dict[str, str] = {}  # typed and not yet handed to the store
        self._drafts_due = 0.0
        self._save_due = 0.0
        self._turns: deque[Turn] = deque()  # the first is the one that runs
        self._turns_changed = threading.Condition()  # inside it `_lock` is never taken
        self._no_more_turns = False
        self._answers: set[str] = set()  # ids of all that were begun here
        self._closing = False
        self._last_failure: ErrorInfo | None = None
        self._worker = threading.Thread(target=self._work, name="chat", daemon=True)
        self._turn_worker = threading.Thread(target=self._run_turns, name="chat-turns", daemon=True)
        self._worker.start()
        self._turn_worker.start()

    def subscribe(self, listener: Callable[[ChatEvent], None]) -> Callable[[], None]:
        """Calls `listener` with each event from now on; returns the function that ends it."""
        with self._listeners_lock:
            self._listeners += (listener,)

        def unsubscribe() -> None:
            with self._listeners_lock:
                self._listeners = tuple(x for x in self._listeners if x is not listener)

        return unsubscribe

    def list_chats(self) -> None:
        """Asks for `ChatsChanged`."""
        self._queue(None, self._list_chats)

    def new_chat(self) -> str:
        """Begins a conversation with the settings of now and tells its id; `TreeChanged` follows.

        Nothing is stored before its first message or draft.
        """
        now = time.time()
        conversation = Conversation(
            id=new_id(),
            title="",
            created=now,
            updated=now,
            date=self._today().isoformat(),
            instructions=self._settings.get(INSTRUCTIONS),
            effort=Effort(self._settings.get(EFFORT)),
        )

        def begin() -> None:
            self._unsaved[conversation.id] = conversation
            self._show(conversation.id)

        self._queue(conversation.id, begin)
        return conversation.id

    def open(self, conversation_id: str) -> None:
        """Asks for `TreeChanged`, also while it is being answered: what follows continues that tree."""
        self._queue(conversation_id, lambda: self._show(conversation_id))

    def send(self, conversation_id: str, text: str) -> None:
        """Adds the user's message below the leaf that is shown, and answers it. Blank text is ignored."""
        self._queue(conversation_id, lambda: self._send(conversation_id, text))

    def edit(self, conversation_id: str, message_id: str, text: str) -> None:
        """Puts `text` beside the user's message of that id, and answers it."""
        self._queue(conversation_id, lambda: self._edit(conversation_id, message_id, text))

    def regenerate(self, conversation_id: str, message_id: str, effort: Effort | None = None) -> None:
        """Answers anew, beside the answer of that id (or below the user's message of that id)."""
        self._queue(conversation_id, lambda: self._regenerate(conversation_id, message_id, effort))

    def show_sibling(self, conversation_id: str, message_id: str) -> None:
        """Shows the path that leads through that message to its latest leaf."""

        def change() -> None:
            tree = self._tree(conversation_id)
            self._change(replace(tree.conversation, leaf_id=tree.latest_leaf(message_id)))

        self._queue(conversation_id, change)

    def stop(self, conversation_id: str) -> None:
        """Ends its running answer, and those that wait. What came so far stays."""
        self._queue(conversation_id, lambda: self._stop(conversation_id, MessageState.STOPPED))

    def set_effort(self, conversation_id: str, effort: Effort) -> None:
        """The effort of its answers from now on."""
        self._queue(conversation_id, lambda: self._change(replace(self._row(conversation_id), effort=effort)))

    def rename(self, conversation_id: str, title: str) -> None:
        """Gives it a title. A blank one brings back that of its first message."""
        self._queue(conversation_id, lambda: self._rename(conversation_id, title))

    def delete(self, conversation_id: str) -> None:
        """Stops its answers and takes it from the list; `restore` brings it back."""
        self._queue(conversation_id, lambda: self._delete(conversation_id))

    def restore(self, conversation_id: str) -> None:
        """Undoes `delete`."""

        def restore() -> None:
            self._store.restore_conversation(conversation_id)
            self._list_chats()

        self._queue(conversation_id, restore)

    def save_draft(self, conversation_id: str, text: str) -> None:
        """Keeps what is typed and not sent; may be called at each key."""
        self._queue(conversation_id, lambda: self._keep_draft(conversation_id, text), is_draft=True)

    def close(self) -> None:
        """Stops running answers, stores all, ends the threads. Later calls are ignored."""
        if self._closing:
            return
        self._closing = True
        self._jobs.put(None)
        self._worker.join()
        self._turn_worker.join(CLOSE_SECONDS)
        self._flush(None)

    # The first worker: everything but answering.

    def _queue(self, conversation_id: str | None, job: _Job, *, is_draft: bool = False) -> None:
        if self._closing:
            return

        def with_drafts() -> None:
            self._store_drafts()  # so that every other job finds a conversation as the user left it
            job()

        self._jobs.put((conversation_id, job if is_draft else with_drafts))

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._until_due())
            except queue.Empty:
                job = (None, _nothing)
            if job is None:
                break
            self._guarded(*job)
            self._guarded(None, self._tick)
        self._guarded(None, self._store_drafts)
        with self._turns_changed:
            turns = list(self._turns)
            self._no_more_turns = True
            self._turns_changed.notify_all()
        for turn in turns:
            turn.cancel(MessageState.INTERRUPTED)

    def _guarded(self, conversation_id: str | None, job: _Job) -> None:
        try:
            job()
        except UserError as error:
            self._emit(ChatFailed(error.info, conversation_id))
        except Exception as bug:
            _report_bug(bug)

    def _until_due(self) -> float | None:
        """Seconds until `_tick` has something to do."""
        due = [self._drafts_due] if self._drafts else []
        due += [self._save_due] if self._turns else []
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _tick(self) -> None:
        """Saves what streams and what is typed, when it is time to."""
        now = time.monotonic()
        if self._drafts and now >= self._drafts_due:
            self._store_drafts()
        if now >= self._save_due:
            self._save_due = now + SAVE_SECONDS
            if (turn := self._running()) is not None:
                turn.save()

    def _list_chats(self) -> None:
        with self._lock:
            self._emit(ChatsChanged(tuple(self._store.conversations())))

    def _tree(self, conversation_id: str) -> Tree:
        if (unsaved := self._unsaved.get(conversation_id)) is not None:
            return Tree(unsaved)
        try:
            return self._store.tree(conversation_id)
        except KeyError:
            raise UserError(N_("This chat no longer exists. Choose another one, or start a new one.")) from None

    def _row(self, conversation_id: str) -> Conversation:
        return self._tree(conversation_id).conversation

    def _show(self, conversation_id: str) -> None:
        with self._lock:  # nothing grows between the tree and the next event
            if (turn := self._running()) is not None and turn.conversation_id == conversation_id:
                turn.save()
            tree = self._tree(conversation_id)
            if any(self._is_anothers(m) for m in tree.messages):
                as_seen = (
                    replace(m, state=MessageState.INTERRUPTED) if self._is_anothers(m) else m for m in tree.messages
                )
                tree = Tree(tree.conversation, tuple(as_seen))
            self._emit(TreeChanged(tree))

    def _is_anothers(self, message: StoredMessage) -> bool:
        """Whether another program writes it: to wait here for its end, or to try and stop it, would be in vain."""
        return message.state is MessageState.STREAMING and message.id not in self._answers

    def _change(self, conversation: Conversation) -> None:
        """Stores a new form of a conversation (but not what nothing was said or typed in) and shows it."""
        if conversation.id in self._unsaved:
            self._unsaved[conversation.id] = conversation
        else:
            self._store.save_conversation(conversation)
            self._flush(conversation.id)
        self._show(conversation.id)

    def _send(self, conversation_id: str, text: str) -> None:
        conversation = self._row(conversation_id)
        if text.strip():
            self._ask(replace(conversation, draft=""), conversation.leaf_id, text)

    def _edit(self, conversation_id: str, message_id: str, text: str) -> None:
        tree = self._tree(conversation_id)
        if text.strip():
            self._ask(tree.conversation, tree.get(message_id).parent_id, text)

    def _regenerate(self, conversation_id: str, message_id: str, effort: Effort | None) -> None:
        tree = self._tree(conversation_id)
        message = tree.get(message_id)
        question = message.id if message.message.role is Role.USER else message.parent_id
        self._answer(tree.conversation, question, effort)

    def _ask(self, conversation: Conversation, parent_id: str | None, text: str) -> None:
        question = StoredMessage(new_id(), conversation.id, parent_id, user(text), created=time.time())
        conversation = replace(conversation, title=conversation.title or title_from(text), leaf_id=question.id)
        self._unsaved.pop(conversation.id, None)
        self._store.save_conversation(conversation)
        self._store.save_message(question)
        self._answer(conversation, question.id)

    def _answer(self, conversation: Conversation, parent_id: str | None, effort: Effort | None = None) -> None:
        now = time.time()
        answer = StoredMessage(
            id=new_id(),
            conversation_id=conversation.id,
            parent_id=parent_id,
            message=Message(Role.ASSISTANT, ()),
            state=MessageState.STREAMING,
            created=now,
            effort=effort or conversation.effort,
        )
        self._answers.add(answer.id)
        self._store.save_message(answer)
        self._store.save_conversation(replace(conversation, leaf_id=answer.id, updated=now))
        self._show(conversation.id)
        self._list_chats()
        sampling = Sampling(temperature=self._settings.get(TEMPERATURE), top_p=self._settings.get(TOP_P))
        if self._running() is not None:  # said before the turn can begin
            self._emit(AnswerWaiting(conversation.id, answer.id, Waiting.QUEUED))
        with self._turns_changed:
            self._turns.append(Turn(answer, sampling, self._surroundings))
            self._turns_changed.notify_all()
        self._flush(conversation.id)

    def _stop(self, conversation_id: str, state: MessageState) -> None:
        with self._turns_changed:
            running = self._turns[0] if self._turns else None
            waiting = [t for t in self._turns if t.conversation_id == conversation_id and t is not running]
            for turn in waiting:
                self._turns.remove(turn)
        if running is not None and running.conversation_id == conversation_id:
            running.cancel(state)
        for turn in waiting:
            turn.end(state)

    def _rename(self, conversation_id: str, title: str) -> None:
        tree = self._tree(conversation_id)
        title = " ".join(title.split())
        if not title:
            title = next((title_from(m.message.text) for m in tree.path() if m.message.role is Role.USER), "")
        self._change(replace(tree.conversation, title=title))
        self._list_chats()

    def _delete(self, conversation_id: str) -> None:
        self._stop(conversation_id, MessageState.STOPPED)
        if self._unsaved.pop(conversation_id, None) is None:
            self._store.delete_conversation(conversation_id)
        self._list_chats()
        self._flush(conversation_id)

    def _keep_draft(self, conversation_id: str, text: str) -> None:
        if not self._drafts:
            self._drafts_due = time.monotonic() + DRAFT_SECONDS
        self._drafts[conversation_id] = text

    def _store_drafts(self) -> None:
        drafts, self._drafts = self._drafts, {}
        for conversation_id, text in drafts.items():
            self._guarded(conversation_id, partial(self._store_draft, conversation_id, text))

    def _store_draft(self, conversation_id: str, text: str) -> None:
        conversation = self._row(conversation_id)
        if conversation.draft != text:
            self._store.save_conversation(replace(conversation, draft=text))
            if self._unsaved.pop(conversation_id, None) is not None:
                self._list_chats()

    # The second worker: answers.

    def _running(self) -> Turn | None:
        with self._turns_changed:
            return self._turns[0] if self._turns else None

    def _run_turns(self) -> None:
        while True:
            with self._turns_changed:
                self._turns_changed.wait_for(lambda: self._turns or self._no_more_turns)
                if not self._turns:
                    return
                turn = self._turns[0]
            self._jobs.put((None, _nothing))  # wakes the other worker, which saves what grows
            self._guarded(turn.conversation_id, turn.run)
            with self._turns_changed:
                self._turns.popleft()
            self._flush(turn.conversation_id)

    def _flush(self, conversation_id: str | None) -> None:
        """Waits for the disk (this is a worker) and tells of what it met, once."""
        failure: ErrorInfo | None = None
        try:
            self._store.flush()
        except UserError as error:
            failure = error.info
        except Exception as bug:
            _report_bug(bug)
        told, self._last_failure = self._last_failure, failure
        if failure is not None and failure != told:
            self._emit(ChatFailed(failure, conversation_id))

    def _emit(self, event: ChatEvent) -> None:
        with self._lock:
            for listener in self._listeners:
                try:
                    listener(event)
                except Exception as bug:
                    _report_bug(bug)


def _nothing() -> None:
    """A job that only wakes the worker."""


def _report_bug(bug: Exception) -> None:
    """Hands it to the hook for threads' errors (the log, the crash dialog) and lets the thread go on."""
    threading.excepthook(threading.ExceptHookArgs((type(bug), bug, bug.__traceback__, threading.current_thread())))
