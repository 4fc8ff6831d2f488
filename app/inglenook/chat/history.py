"""What the model is told of a conversation: the path to the answer that it is to give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from inglenook.chat.answer import calls_of
from inglenook.chat.calls import error
from inglenook.core.conversation import StoredMessage, Tree
from inglenook.core.messages import Effort, Message, Role, ToolCallPart, ToolResultPart
from inglenook.core.prompt import Prompt, ToolSpec


@dataclass(frozen=True, slots=True)
class History:
    """A prompt with everything that was said, and where its messages are stored.

    `ids` has the id of each message of the prompt, or "" for one that is not stored; `pinned` are the ids of those that
    stay when old turns leave.
    """

    prompt: Prompt
    conversation_id: str = ""
    ids: tuple[str, ...] = ()
    pinned: frozenset[str] = frozenset()

    def then(self, message: Message) -> History:
        """With a message more, which is not stored."""
        prompt = replace(self.prompt, messages=(*self.prompt.messages, message))
        return replace(self, prompt=prompt, ids=(*self.ids, ""))


def history_before(tree: Tree, answer: StoredMessage, tools: tuple[ToolSpec, ...]) -> History:
    """All that was said before `answer`. An answer that failed before its first word is as if it had never been."""
    path = tree.path(answer.parent_id) if answer.parent_id is not None else ()
    return _history(tree, path, answer.effort or Effort.MEDIUM, tools)


def history_of(tree: Tree, tools: tuple[ToolSpec, ...]) -> History:
    """All that is shown: what stands before the next message."""
    return _history(tree, tree.path(), tree.conversation.effort, tools)


def _history(tree: Tree, path: Sequence[StoredMessage], effort: Effort, tools: tuple[ToolSpec, ...]) -> History:
    said = _with_every_result([m for m in path if m.message.parts])
    return History(
        Prompt(
            messages=tuple(message for message, _ in said),
            effort=effort,
            date=tree.conversation.date,
            instructions=tree.conversation.instructions,
            tools=tools,
        ),
        tree.conversation.id,
        tuple(message_id for _, message_id in said),
        frozenset(m.id for m in path if m.pinned),
    )


def _with_every_result(path: Sequence[StoredMessage]) -> list[tuple[Message, str]]:
    """A call without result would be taken up again by the model, whatever the user says next: it is given one."""
    out: list[tuple[Message, str]] = []
    for stored, following in zip_longest(path, path[1:]):
        if stored.message.role is not Role.TOOL:
            out.append((stored.message, stored.id))
            has_results = following is not None and following.message.role is Role.TOOL
            results = following.message.parts if has_results else ()
            missing = calls_of(stored.message)[len(results) :]
            if results or missing:
                message = Message(Role.TOOL, (*results, *map(_stopped, missing)))
                out.append((message, following.id if has_results else ""))
    return out


def _stopped(call: ToolCallPart) -> ToolResultPart:
    return ToolResultPart(call.name, error("This call was stopped before it had a result."), call.call_id)
