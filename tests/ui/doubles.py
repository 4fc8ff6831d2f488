"""Real, small implementations of what the window needs: conversations in memory, answers that a test writes itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from inglenook.chat.events import (
    AnswerDelta,
    AnswerEnded,
    AnswerPartEnded,
    AnswerPartStarted,
    ChatEvent,
    ChatFailed,
    ChatsChanged,
    TreeChanged,
)
from inglenook.core.conversation import Conversation, MessageState, StoredMessage, Tree, new_id
from inglenook.core.errors import ErrorInfo
from inglenook.core.events import Channel
from inglenook.core.inference import DEMO
from inglenook.core.messages import Effort, Message, ReasoningPart, Role, TextPart, user
from inglenook.library.events import ModelState, ModelStatus


class MemoryChats:
    """Keeps conversations in memory and tells of changes at once, on the thread that asked."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[ChatEvent], None]] = []
        self.trees: dict[str, Tree] = {}
        self.calls: list[tuple[object, ...]] = []
        self.refusal: ErrorInfo | None = None  # `send` fails with this

    # -- as the window uses it --

    def subscribe(self, listener: Callable[[ChatEvent], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def list_chats(self) -> None:
        alive = [t.conversation for t in self.trees.values() if not t.conversation.deleted]
        self.emit(ChatsChanged(tuple(sorted(alive, key=lambda c: -c.updated))))

    def new_chat(self) -> str:
        made = self.add("", days_ago=0)
        self.open(made)
        return made

    def open(self, conversation_id: str) -> None:
        self.emit(TreeChanged(self.trees[conversation_id]))

    def send(self, conversation_id: str, text: str) -> None:
        self.calls.append(("send", conversation_id, text))
        if self.refusal is not None:
            self.emit(ChatFailed(self.refusal, conversation_id))
            return
        tree = self.trees[conversation_id]
        question = StoredMessage(new_id(), conversation_id, tree.conversation.leaf_id, user(text), created=time.time())
        answer = StoredMessage(
            new_id(), conversation_id, question.id, Message(Role.ASSISTANT, ()), MessageState.STREAMING, time.time()
        )
        title = tree.conversation.title or text[:60]
        conversation = replace(tree.conversation, leaf_id=answer.id, title=title, updated=time.time(), draft="")
        self.trees[conversation_id] = Tree(conversation, (*tree.messages, question, answer))
        self.open(conversation_id)
        self.list_chats()

    def watch(self, conversation_id: str) -> None:
        self.watched = conversation_id

    def pin(self, conversation_id: str, message_id: str, *, pinned: bool) -> None:
        self.calls.append(("pin", conversation_id, message_id, pinned))

    def edit(self, conversation_id: str, message_id: str, text: str) -> None:
        self.calls.append(("edit", conversation_id, message_id, text))

    def regenerate(self, conversation_id: str, message_id: str, effort: Effort | None = None) -> None:
        self.calls.append(("regenerate", conversation_id, message_id, effort))

    def continue_answer(self, conversation_id: str, message_id: str) -> None:
        self.calls.append(("continue_answer", conversation_id, message_id))

    def answer_now(self, conversation_id: str) -> None:
        self.calls.append(("answer_now", conversation_id))

    def answer_call(self, conversation_id: str, call_id: str, *, allowed: bool, in_chat: bool = False) -> None:
        self.calls.append(("answer_call", conversation_id, call_id, allowed, in_chat))

    def show_sibling(self, conversation_id: str, message_id: str) -> None:
        self.calls.append(("show_sibling", conversation_id, message_id))

    def stop(self, conversation_id: str) -> None:
        self.calls.append(("stop", conversation_id))
        self.end(conversation_id, MessageState.STOPPED)

    def set_effort(self, conversation_id: str, effort: Effort) -> None:
        self._change(conversation_id, effort=effort)

    def set_model(self, conversation_id: str, name: str) -> None:
        self._change(conversation_id, model=name)

    def rename(self, conversation_id: str, title: str) -> None:
        self._change(conversation_id, title=title)

    def delete(self, conversation_id: str) -> None:
        self._change(conversation_id, deleted=True)

    def restore(self, conversation_id: str) -> None:
        self._change(conversation_id, deleted=False)

    def save_draft(self, conversation_id: str, text: str) -> None:
        tree = self.trees[conversation_id]
        self.trees[conversation_id] = Tree(replace(tree.conversation, draft=text), tree.messages)

    # -- as a test uses it --

    def emit(self, event: ChatEvent) -> None:
        for listener in tuple(self.listeners):
            listener(event)

    def add(self, title: str, days_ago: float = 0, draft: str = "") -> str:
        """A conversation without messages, last changed that long ago."""
        made, then = new_id(), time.time() - days_ago * 86400
        self.trees[made] = Tree(Conversation(made, title, then, then, "2026-01-01", draft=draft))
        return made

    def answer_id(self, conversation_id: str) -> str:
        """The last message of its path."""
        leaf = self.trees[conversation_id].conversation.leaf_id
        assert leaf is not None
        return leaf

    def part(self, conversation_id: str, index: int, channel: Channel, pieces: list[str], seconds: float = 1.0) -> None:
        """Streams one whole part of the answer."""
        message = self.answer_id(conversation_id)
        self.emit(AnswerPartStarted(conversation_id, message, index, channel))
        for piece in pieces:
            self.emit(AnswerDelta(conversation_id, message, index, piece))
        self.emit(AnswerPartEnded(conversation_id, message, index, seconds))
        kind = {Channel.REASONING: ReasoningPart("".join(pieces), seconds)}.get(channel, TextPart("".join(pieces)))
        tree = self.trees[conversation_id]
        changed = tuple(
            replace(m, message=replace(m.message, parts=(*m.message.parts, kind))) if m.id == message else m
            for m in tree.messages
        )
        self.trees[conversation_id] = Tree(tree.conversation, changed)

    def end(self, conversation_id: str, state: MessageState = MessageState.COMPLETE) -> None:
        """Ends the answer."""
        tree = self.trees[conversation_id]
        ended = replace(tree.get(self.answer_id(conversation_id)), state=state)
        self.trees[conversation_id] = Tree(
            tree.conversation, tuple(ended if m.id == ended.id else m for m in tree.messages)
        )
        self.emit(AnswerEnded(conversation_id, ended))

    def _change(self, conversation_id: str, **changes: object) -> None:
        self.calls.append((*changes.items(), conversation_id))
        tree = self.trees[conversation_id]
        self.trees[conversation_id] = Tree(replace(tree.conversation, **changes), tree.messages)
        self.open(conversation_id)
        self.list_chats()


class MemoryModels:
    """A model whose state a test sets."""

    def __init__(self, status: ModelStatus | None = None) -> None:
        self.listeners: list[Callable[[ModelStatus], None]] = []
        self.calls: list[tuple[object, ...]] = []
        self.now = status or ModelStatus(ModelState.READY, "Demo model", 1.0, is_demo=True, name=DEMO)
        self.choice = DEMO

    def status(self) -> ModelStatus:
        return self.now

    def subscribe(self, listener: Callable[[ModelStatus], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def tell(self, status: ModelStatus) -> None:
        """Changes the state."""
        self.now = status
        for listener in tuple(self.listeners):
            listener(status)

    def use_file(self, path: Path) -> None:
        self.calls.append(("use_file", path))

    def use_demo(self) -> None:
        self.calls.append(("use_demo",))

    def retry(self) -> None:
        self.calls.append(("retry",))

    def cancel(self) -> None:
        self.calls.append(("cancel",))

    def answering(self, name: str) -> str:
        return name or self.choice
