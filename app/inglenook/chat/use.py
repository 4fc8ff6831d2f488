"""How full the context is: measured on a thread of its own, for the conversation that somebody watches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from inglenook.chat.context import Chosen, answer_room, choose, most_tokens, too_long
from inglenook.chat.counts import TokenCounts
from inglenook.chat.events import ContextChanged, ContextUse
from inglenook.chat.history import History, history_before, history_of
from inglenook.chat.rows import Rows
from inglenook.core.conversation import MessageState, StoredMessage
from inglenook.core.errors import UserError
from inglenook.core.inference import ModelSource
from inglenook.core.messages import Role, user
from inglenook.core.prompt import Prompt, Text, ToolSpec
from inglenook.harmony.render import blocks, when_answered

PAUSE = 0.3
"""Seconds at least from one measurement to the next: an answer grows all the time."""

_UNKNOWN = 1 << 40  # a context in which everything fits
_SHORT = 1024  # bytes of a message that fits any context


class Use:
    """Its methods return at once, but for `close` and `refusal`."""

    def __init__(
        self,
        counts: TokenCounts,
        model: ModelSource,
        rows: Rows,
        tools: tuple[ToolSpec, ...],
        emit: Callable[[ContextChanged], None],
        report_bug: Callable[[Exception], None],
    ) -> None:
        self._counts, self._model, self._rows, self._tools = counts, model, rows, tools
        self._emit, self._report_bug = emit, report_bug
        self._changed = threading.Condition()
        self._watched = ""
        self._is_due = False
        self._told: ContextChanged | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def watch(self, conversation_id: str) -> None:
        """Tells of this conversation from now on, instead of another."""
        with self._changed:
            if self._closed:
                return
            self._watched = conversation_id
            self._told = None  # whoever asks has forgotten
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="chat-use", daemon=True)
                self._thread.start()
        self.changed(conversation_id)

    def changed(self, conversation_id: str = "") -> None:
        """It is to be measured again, if it is the one that is watched."""
        with self._changed:
            if self._watched and conversation_id in ("", self._watched):
                self._is_due = True
                self._changed.notify_all()

    def close(self) -> None:
        """Ends the thread; what it waits for in the engine is left to end by itself."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def refusal(self, history: History, text: str, model: str = "") -> UserError | None:
        """Why `text` cannot be sent to `model` after `history`, if it alone is too long. May wait for the engine.

        None also if that cannot be found out now: then the answer will tell.
        """
        spec = self._model.known(model)
        if spec is None or most_tokens((Text(text),)) <= _SHORT:
            return None
        try:
            vocabulary, n_ctx = self._counts.window(spec)
            limit = n_ctx - answer_room(n_ctx)
            alone = _alone(history).then(user(text))
            bound = most_tokens([s for block in blocks(alone.prompt) for s in block])
            if not n_ctx or bound <= limit:
                return None
            chosen = choose(alone, n_ctx, vocabulary, self._counts.counter(spec, vocabulary))
        except UserError:
            return None
        return too_long(alone.prompt, chosen, n_ctx) if chosen.total > limit else None

    # -- the thread --

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_due or self._closed)
                if self._closed:
                    return
                self._is_due = False
                watched = self._watched
            try:
                now = ContextChanged(watched, self._measure(watched))
            except UserError:
                now = ContextChanged(watched, None)
            except Exception as bug:
                if self._closed:  # and with it perhaps the store, in mid-count
                    return
                self._report_bug(bug)
                continue
            with self._changed:
                tells = now != self._told and watched == self._watched and not self._closed
                if tells:
                    self._told = now
            if tells:
                self._emit(now)
            with self._changed:
                self._changed.wait_for(lambda: self._closed, PAUSE)

    def _measure(self, conversation_id: str) -> ContextUse | None:
        spec = self._model.known(self._rows.row(conversation_id).model)
        if spec is None:
            return None
        vocabulary, n_ctx = self._counts.window(spec)
        count = self._counts.counter(spec, vocabulary, conversation_id)
        tree, draft = self._rows.tree(conversation_id), self._rows.draft(conversation_id)
        path = tree.path()
        answer = path[-1] if path and _is_being_written(path[-1]) else None
        history = history_of(tree, self._tools) if answer is None else history_before(tree, answer, self._tools)
        typed = sum(count([when_answered(user(draft))], [""])) if draft.strip() else 0
        written: tuple[int, ...] = ()
        if answer is None:
            chosen = choose(history.then(user(draft)), n_ctx or _UNKNOWN, vocabulary, count)
            said = chosen.total - chosen.fixed - chosen.last
        else:
            written = answer.message.sampled.ids if answer.message.sampled else ()
            chosen = choose(history, n_ctx or _UNKNOWN, vocabulary, count, written)
            said = chosen.total - chosen.fixed - len(written)
        instructions = sum(count([blocks(_only_instructions(history.prompt))[0]], [""]))
        return ContextUse(
            n_ctx=n_ctx,
            instructions=instructions,
            tools=chosen.fixed - instructions,
            history=said,
            draft=typed,
            answer=len(written),
            room=answer_room(n_ctx),
            unseen=_unseen(history, chosen),
        )


def _is_being_written(message: StoredMessage) -> bool:
    return message.state is MessageState.STREAMING and message.message.role is Role.ASSISTANT


def _only_instructions(prompt: Prompt) -> Prompt:
    return replace(prompt, messages=(), tools=(), builtins=(), formats=())


def _alone(history: History) -> History:
    """What can never leave."""
    stays = [i for i, message_id in enumerate(history.ids) if message_id in history.pinned]
    messages = tuple(history.prompt.messages[i] for i in stays)
    return replace(history, prompt=replace(history.prompt, messages=messages), ids=tuple(history.ids[i] for i in stays))


def _unseen(history: History, chosen: Chosen) -> tuple[str, ...]:
    return tuple(i for i in history.ids[: chosen.first] if i and i not in history.pinned)
