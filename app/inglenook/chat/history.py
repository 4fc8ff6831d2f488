"""What the model is told of a conversation: the path to the answer that it is to give."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from inglenook.chat.answer import calls_of
from inglenook.chat.calls import error
from inglenook.core.conversation import StoredMessage, Tree
from inglenook.core.messages import Effort, Message, Role, ToolCallPart, ToolResultPart
from inglenook.core.prompt import Prompt, ToolSpec


def prompt_for(tree: Tree, answer: StoredMessage, tools: tuple[ToolSpec, ...]) -> Prompt:
    """All that was said before `answer`. An answer that failed before its first word is as if it had never been."""
    path = tree.path(answer.parent_id) if answer.parent_id is not None else ()
    return _prompt(tree, path, answer.effort or Effort.MEDIUM, tools)


def prompt_after(tree: Tree, tools: tuple[ToolSpec, ...]) -> Prompt:
    """All that is shown: what stands before the next message."""
    return _prompt(tree, tree.path(), tree.conversation.effort, tools)


def _prompt(tree: Tree, path: Sequence[StoredMessage], effort: Effort, tools: tuple[ToolSpec, ...]) -> Prompt:
    return Prompt(
        messages=_with_every_result([m.message for m in path if m.message.parts]),
        effort=effort,
        date=tree.conversation.date,
        instructions=tree.conversation.instructions,
        tools=tools,
    )


def _with_every_result(messages: Sequence[Message]) -> tuple[Message, ...]:
    """A call without result would be taken up again by the model, whatever the user says next: it is given one."""
    out: list[Message] = []
    for message, following in zip_longest(messages, messages[1:]):
        if message.role is not Role.TOOL:
            out.append(message)
            results = following.parts if following is not None and following.role is Role.TOOL else ()
            missing = calls_of(message)[len(results) :]
            if results or missing:
                out.append(Message(Role.TOOL, (*results, *map(_stopped, missing))))
    return tuple(out)


def _stopped(call: ToolCallPart) -> ToolResultPart:
    return ToolResultPart(call.name, error("This call was stopped before it had a result."), call.call_id)
