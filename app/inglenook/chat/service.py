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
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from inglenook.chat.ahead import WorkAhead
from inglenook.chat.answer import calls_of
from inglenook.chat.counts import TokenCounts
from inglenook.chat.events import AnswerWaiting, ChatEvent, ChatFailed, ChatsChanged, TreeChanged, Waiting
from inglenook.chat.history import history_of
from inglenook.chat.listeners import Listeners, report_bug
from inglenook.chat.rows import Rows
from inglenook.chat.titles import title_from
from inglenook.chat.turn import Limits, Surroundings, Turn
from inglenook.chat.turns import Turns
from inglenook.chat.use import Use
from inglenook.core.conversation import Conversation, ConversationStore, MessageState, StoredMessage, Tree, new_id
from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.inference import InferenceService, ModelSource, Sampling
from inglenook.core.messages import Effort, Message, Role, user
from inglenook.core.settings import EFFORT, INSTRUCTIONS, TEMPERATURE, THOUGHT_TOKENS, TOP_P, Settings
from inglenook.core.tools import Tool
from inglenook.harmony.render import without_surrogates

SAVE_SECONDS = 0.2
"""A streaming answer is handed to the store this often."""

CLOSE_SECONDS = 10.0
"""How long `close` waits for an engine that does not answer a cancel."""

_Job = Callable[[], None]
_LIMITS = Limits()


class ChatService:
    """Conversations with the model. Methods queue and return at once; what comes of them are events to listeners.

    Listeners are called on worker threads, one event at a time. `today` gives the date that a new conversation keeps.
    `tools` are offered to the model in all conversations; `ahead` reads while the user does (and is closed here).
    """

    def __init__(
        self,
        store: ConversationStore,
        inference: InferenceService,
        model: ModelSource,
        settings: Settings,
        today: Callable[[], datetime.date] = lambda: datetime.datetime.now().astimezone().date(),
        tools: Sequence[Tool] = (),
        limits: Limits = _LIMITS,
        ahead: WorkAhead | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._today = today
        self._listeners = Listeners()
        self._emit = self._listeners.emit
        self._lock = self._listeners.lock  # held while listeners are called and while an answer grows
        counts = TokenCounts(store, inference)
        self._surroundings = Surroundings(
            store, inference, model, tuple(tools), limits, self._emit, self._lock, self._grown, report_bug, counts
        )
        self._specs = tuple(tool.spec for tool in tools)
        self._jobs: queue.SimpleQueue[tuple[str | None, _Job] | None] = queue.SimpleQueue()
        self._ahead = ahead
        self._rows = Rows(store)
        self._use = Use(counts, model, self._rows, self._specs, self._emit, report_bug)
        self._leave_engine = inference.subscribe(lambda _: self._use.changed())
        self._save_due = 0.0
        self._answers: set[str] = set()  # ids of all that were begun here
        self._closing = False
        self._last_failure: ErrorInfo | None = None
        self._worker = threading.Thread(target=self._work, name="chat", daemon=True)
        self._turns = Turns(  # what begins wakes the other worker, which saves
            lambda: self._jobs.put((None, _nothing)), self._run_turn, self._turn_ended
        )
        self._worker.start()

    def subscribe(self, listener: Callable[[ChatEvent], None]) -> Callable[[], None]:
        """Calls `listener` with each event from now on; returns the function that ends it."""
        return self._listeners.add(listener)

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
            self._rows.begin(conversation)
            self._show(conversation.id)

        self._queue(conversation.id, begin)
        return conversation.id

    def open(self, conversation_id: str) -> None:
        """Asks for `TreeChanged`, also while it is being answered: what follows continues that tree."""
        self._queue(conversation_id, lambda: self._show(conversation_id))

    def watch(self, conversation_id: str) -> None:
        """Tells `ContextChanged` of this conversation, and no other, from now on, with each change of it."""
        self._queue(conversation_id, lambda: self._use.watch(conversation_id))

    def pin(self, conversation_id: str, message_id: str, *, pinned: bool) -> None:
        """Keeps a question or an answer in the model's context when older turns leave it, or no longer."""
        self._queue(conversation_id, lambda: self._pin(conversation_id, message_id, pinned))

    def send(self, conversation_id: str, text: str) -> None:
        """Adds the user's message below the leaf that is shown, and answers it. Blank text is ignored.

        `ChatFailed` if it alone is too long for the context; it is not added then.
        """
        self._queue(conversation_id, lambda: self._send(conversation_id, text))

    def edit(self, conversation_id: str, message_id: str, text: str) -> None:
        """Puts `text` beside the user's message of that id, and answers it. Refused as by `send`."""
        self._queue(conversation_id, lambda: self._edit(conversation_id, message_id, text))

    def regenerate(self, conversation_id: str, message_id: str, effort: Effort | None = None) -> None:
        """Answers anew, beside the answer of that id (or below the user's message of that id)."""
        self._queue(conversation_id, lambda: self._regenerate(conversation_id, message_id, effort))

    def continue_answer(self, conversation_id: str, message_id: str) -> None:
        """Goes on with the answer of that id where it was cut off (also within the calls of tools), in its place.

        Ignored if it was not, or is being written.
        """
        self._queue(conversation_id, lambda: self._continue(conversation_id, message_id))

    def answer_now(self, conversation_id: str) -> None:
        """Has the model end its reasoning and give the answer at once. Ignored unless it is reasoning."""

        def answer() -> None:
            turn = self._turns.running
            if turn is not None and turn.conversation_id == conversation_id:
                turn.answer_now()

        self._queue(conversation_id, answer)

    def answer_call(self, conversation_id: str, call_id: str, *, allowed: bool, in_chat: bool = False) -> None:
        """The user's answer to `ApprovalAsked`. Ignored if nobody waits for it.

        With `in_chat`, an allowed tool is not asked about again in this conversation, until the program ends.
        """

        def answer() -> None:
            turn = self._turns.running
            if turn is not None and turn.conversation_id == conversation_id:
                turn.answer_call(call_id, allowed=allowed, in_chat=in_chat)

        self._queue(conversation_id, answer)

    def show_sibling(self, conversation_id: str, message_id: str) -> None:
        """Shows the path that leads through that message to its latest leaf."""

        def change() -> None:
            tree = self._rows.tree(conversation_id)
            self._change(replace(tree.conversation, leaf_id=tree.latest_leaf(message_id)))

        self._queue(conversation_id, change)

    def stop(self, conversation_id: str) -> None:
        """Ends its running answer, and those that wait. What came so far stays."""
        self._queue(conversation_id, lambda: self._turns.stop(conversation_id, MessageState.STOPPED))

    def set_effort(self, conversation_id: str, effort: Effort) -> None:
        """The effort of its answers from now on."""
        self._queue(conversation_id, lambda: self._change(replace(self._rows.row(conversation_id), effort=effort)))

    def set_model(self, conversation_id: str, name: str) -> None:
        """The model of its answers from now on, as `ModelSource` names it; "" is the one that the user has chosen."""
        self._queue(conversation_id, lambda: self._change(replace(self._rows.row(conversation_id), model=name)))

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

        def keep() -> None:
            self._rows.keep_draft(conversation_id, text)
            self._use.changed(conversation_id)

        self._queue(conversation_id, keep, is_draft=True)

    def close(self) -> None:
        """Stops running answers, stores all, ends the threads. Later calls are ignored."""
        if self._closing:
            return
        self._closing = True
        self._leave_engine()
        self._use.close()
        self._jobs.put(None)
        self._worker.join()
        self._turns.join(CLOSE_SECONDS)
        self._flush(None)
        if self._ahead is not None:
            self._ahead.close()

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
        self._turns.close(MessageState.INTERRUPTED)

    def _guarded(self, conversation_id: str | None, job: _Job) -> None:
        try:
            job()
        except UserError as error:
            self._emit(ChatFailed(error.info, conversation_id))
        except Exception as bug:
            report_bug(bug)

    def _until_due(self) -> float | None:
        """Seconds until `_tick` has something to do."""
        due = [at for at in (self._rows.drafts_due, self._save_due if self._turns else None) if at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _tick(self) -> None:
        """Saves what streams and what is typed, when it is time to."""
        now = time.monotonic()
        if (due := self._rows.drafts_due) is not None and now >= due:
            self._store_drafts()
        if now >= self._save_due:
            self._save_due = now + SAVE_SECONDS
            if (turn := self._turns.running) is not None:
                turn.save()
                self._use.changed(turn.conversation_id)

    def _list_chats(self) -> None:
        with self._lock:
            self._emit(ChatsChanged(tuple(self._store.conversations())))

    def _show(self, conversation_id: str) -> None:
        with self._lock:  # nothing grows between the tree and the next event
            turn = self._turns.running
            if turn is not None and turn.conversation_id == conversation_id:
                turn.save()
            tree = self._rows.tree(conversation_id)
            if any(self._is_anothers(m) for m in tree.messages):
                as_seen = (
                    replace(m, state=MessageState.INTERRUPTED) if self._is_anothers(m) else m for m in tree.messages
                )
                tree = Tree(tree.conversation, tuple(as_seen))
            self._emit(TreeChanged(tree))
            if turn is not None and turn.conversation_id == conversation_id and turn.asked is not None:
                self._emit(turn.asked)
        self._use.changed(conversation_id)

    def _is_anothers(self, message: StoredMessage) -> bool:
        """Whether another program writes it: to wait here for its end, or to try and stop it, would be in vain."""
        return message.state is MessageState.STREAMING and message.id not in self._answers

    def _change(self, conversation: Conversation) -> None:
        """Stores a new form of a conversation (but not what nothing was said or typed in) and shows it."""
        if self._rows.change(conversation):
            self._flush(conversation.id)
        self._show(conversation.id)

    def _pin(self, conversation_id: str, message_id: str, pinned: bool) -> None:
        if self._rows.tree(conversation_id).get(message_id).message.role is not Role.TOOL:
            self._store.pin_message(message_id, pinned)
            self._flush(conversation_id)
            self._show(conversation_id)

    def _refuse(self, tree: Tree, text: str) -> None:
        """Raises `UserError` if `text` cannot follow what `tree` shows."""
        if (refusal := self._use.refusal(history_of(tree, self._specs), text, tree.conversation.model)) is not None:
            raise refusal

    def _send(self, conversation_id: str, text: str) -> None:
        text = without_surrogates(text)
        if text.strip():
            self._refuse(self._rows.tree(conversation_id), text)
            with self._lock:  # the answer that runs does not grow meanwhile
                conversation = self._rows.row(conversation_id)
                asked = self._ask(replace(conversation, draft=""), conversation.leaf_id, text)
            self._answer(asked, asked.leaf_id)

    def _edit(self, conversation_id: str, message_id: str, text: str) -> None:
        tree = self._rows.tree(conversation_id)
        text = without_surrogates(text)
        if text.strip():
            parent_id = tree.get(message_id).parent_id
            before = tree.path(parent_id) if parent_id is not None else ()
            self._refuse(Tree(replace(tree.conversation, leaf_id=parent_id), before), text)
            asked = self._ask(tree.conversation, parent_id, text)
            self._answer(asked, asked.leaf_id)

    def _regenerate(self, conversation_id: str, message_id: str, effort: Effort | None) -> None:
        """Of the results of tools: calls them all once more."""
        tree = self._rows.tree(conversation_id)
        message = tree.get(message_id)
        if message.message.role is Role.USER:
            self._answer(tree.conversation, message.id, effort)
        else:
            self._answer(tree.conversation, message.parent_id, effort, message.message.role)

    def _continue(self, conversation_id: str, message_id: str) -> None:
        tree = self._rows.tree(conversation_id)
        stored = tree.get(message_id)
        role, state = stored.message.role, stored.state
        if role is not Role.USER and state not in (MessageState.STREAMING, MessageState.COMPLETE):
            self._begin(tree.conversation, replace(stored, state=MessageState.STREAMING, stats=None, error=""))
        elif state is MessageState.COMPLETE and calls_of(stored.message) and not _has_results(tree, message_id):
            self._answer(tree.conversation, message_id, stored.effort, Role.TOOL)

    def _ask(self, conversation: Conversation, parent_id: str | None, text: str) -> Conversation:
        """Stores the question; the conversation that is returned shows it."""
        question = StoredMessage(new_id(), conversation.id, parent_id, user(text), created=time.time())
        conversation = replace(conversation, title=conversation.title or title_from(text), leaf_id=question.id)
        self._rows.save(conversation)
        self._store.save_message(question)
        return conversation

    def _answer(
        self,
        conversation: Conversation,
        parent_id: str | None,
        effort: Effort | None = None,
        role: Role = Role.ASSISTANT,
    ) -> None:
        answer = StoredMessage(
            id=new_id(),
            conversation_id=conversation.id,
            parent_id=parent_id,
            message=Message(role, ()),
            state=MessageState.STREAMING,
            created=time.time(),
            effort=effort or conversation.effort,
        )
        self._begin(replace(conversation, leaf_id=answer.id), answer)

    def _begin(self, conversation: Conversation, answer: StoredMessage) -> None:
        """Has `answer` written, as soon as those before it are."""
        if self._ahead is not None:
            self._ahead.stop()
        self._answers.add(answer.id)
        self._store.save_message(answer)
        model = conversation.model or self._surroundings.model.chosen()
        self._store.save_conversation(replace(conversation, updated=time.time(), model=model))
        self._show(conversation.id)
        self._list_chats()
        sampling = Sampling(temperature=self._settings.get(TEMPERATURE), top_p=self._settings.get(TOP_P))
        if self._turns:  # said before the turn can begin
            self._emit(AnswerWaiting(conversation.id, answer.id, Waiting.QUEUED))
        budget = self._settings.get(THOUGHT_TOKENS[answer.effort or conversation.effort])
        self._turns.add(Turn(answer, sampling, self._surroundings, budget))
        self._flush(conversation.id)

    def _grown(self, message: StoredMessage) -> None:
        """A turn has added `message`: a question that waits for the turn's end goes below it, and it is shown."""
        self._answers.add(message.id)
        tree = self._store.tree(message.conversation_id)
        waiting = [m for m in tree.messages if m.parent_id == message.parent_id and m.message.role is Role.USER]
        if waiting:
            self._store.flush()  # the message is there before any that names it as its parent
        for question in waiting:
            self._store.save_message(replace(question, parent_id=message.id))
        self._queue(message.conversation_id, lambda: self._change(self._rows.row(message.conversation_id)))

    def _rename(self, conversation_id: str, title: str) -> None:
        tree = self._rows.tree(conversation_id)
        title = " ".join(title.split())
        if not title:
            title = next((title_from(m.message.text) for m in tree.path() if m.message.role is Role.USER), "")
        self._change(replace(tree.conversation, title=title))
        self._list_chats()

    def _delete(self, conversation_id: str) -> None:
        self._turns.stop(conversation_id, MessageState.STOPPED)
        self._rows.delete(conversation_id)
        if self._ahead is not None:
            self._ahead.forget(conversation_id)
        self._list_chats()
        self._flush(conversation_id)

    def _store_drafts(self) -> None:
        for conversation_id, text in self._rows.take_drafts().items():
            self._guarded(conversation_id, partial(self._store_draft, conversation_id, text))

    def _store_draft(self, conversation_id: str, text: str) -> None:
        conversation = self._rows.row(conversation_id)
        if conversation.draft != text and self._rows.save(replace(conversation, draft=text)):
            self._list_chats()
        if self._ahead is not None and text and not self._turns and self._is_loaded(conversation):
            self._ahead.typed(conversation_id, history_of(self._rows.tree(conversation_id), self._specs), text)
        self._use.changed(conversation_id)

    # Work ahead of the next turn.

    def _read_ahead(self, conversation_id: str) -> None:
        """After an answer, unless there is one to be written."""
        tree = self._rows.tree(conversation_id)
        path = tree.path()
        is_answered = bool(path) and path[-1].state is MessageState.COMPLETE
        if self._ahead is not None and not self._turns and is_answered and self._is_loaded(tree.conversation):
            self._ahead.answered(conversation_id, history_of(tree, self._specs))

    def _is_loaded(self, conversation: Conversation) -> bool:
        """Whether its model is: another one's work would be in vain."""
        loaded = self._surroundings.inference.status().model
        return loaded is not None and loaded.spec == self._surroundings.model.known(conversation.model)

    # The second worker: answers.

    def _run_turn(self, turn: Turn) -> None:
        self._guarded(turn.conversation_id, turn.run)
        self._flush(turn.conversation_id)

    def _turn_ended(self, turn: Turn) -> None:
        self._queue(turn.conversation_id, lambda: self._read_ahead(turn.conversation_id))

    def _flush(self, conversation_id: str | None) -> None:
        """Waits for the disk (this is a worker) and tells of what it met, once."""
        failure: ErrorInfo | None = None
        try:
            self._store.flush()
        except UserError as error:
            failure = error.info
        except Exception as bug:
            report_bug(bug)
        told, self._last_failure = self._last_failure, failure
        if failure is not None and failure != told:
            self._emit(ChatFailed(failure, conversation_id))


def _nothing() -> None:
    """A job that only wakes the worker."""


def _has_results(tree: Tree, message_id: str) -> bool:
    return any(m.parent_id == message_id and m.message.role is Role.TOOL for m in tree.messages)
