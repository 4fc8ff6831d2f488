"""What openai-harmony makes of a Prompt, and the tokens of our segments: two ways to the same ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import openai_harmony as oh

from inglenook.core.messages import PreamblePart, ReasoningPart, Role, TextPart, ToolCallPart, ToolResultPart
from inglenook.core.prompt import Ids, Prompt, Segment, Special, Text

EFFORTS = {"low": oh.ReasoningEffort.LOW, "medium": oh.ReasoningEffort.MEDIUM, "high": oh.ReasoningEffort.HIGH}
KEEP_ALL = oh.RenderConversationConfig(auto_drop_analysis=False)


def encode(encoding: oh.HarmonyEncoding, ids: Mapping[str, int], segments: Sequence[Segment]) -> list[int]:
    """The tokens of our segments, as the engine makes them."""
    out: list[int] = []
    for segment in segments:
        match segment:
            case Special(name):
                out.append(ids[name])
            case Text(text):
                out += encoding.encode(text, disallowed_special=())
            case Ids(given):
                out += given
    return out


def library_messages(prompt: Prompt) -> list[oh.Message]:
    """`prompt` as the library's messages, all reasoning included."""
    system = oh.SystemContent.new().with_reasoning_effort(EFFORTS[prompt.effort.value])
    if prompt.date:
        system = system.with_conversation_start_date(prompt.date)
    out = [oh.Message.from_role_and_content(oh.Role.SYSTEM, system)]
    if prompt.instructions or prompt.tools:
        developer = oh.DeveloperContent.new()
        if prompt.instructions:
            developer = developer.with_instructions(prompt.instructions)
        if prompt.tools:
            declared = [
                oh.ToolDescription.new(t.name, t.description, None if t.parameters is None else dict(t.parameters))
                for t in prompt.tools
            ]
            developer = developer.with_function_tools(declared)
        out.append(oh.Message.from_role_and_content(oh.Role.DEVELOPER, developer))
    for message in prompt.messages:
        out += [_part(message.role, part) for part in message.parts]
    return out


def _part(role: Role, part) -> oh.Message:
    def assistant(text: str, channel: str) -> oh.Message:
        return oh.Message.from_role_and_content(oh.Role.ASSISTANT, text).with_channel(channel)

    match part:
        case TextPart(text) if role is Role.USER:
            return oh.Message.from_role_and_content(oh.Role.USER, text)
        case TextPart(text):
            return assistant(text, "final")
        case ReasoningPart(text):
            return assistant(text, "analysis")
        case PreamblePart(text):
            return assistant(text, "commentary")
        case ToolCallPart(name, arguments):
            kind = "code" if _is_builtin(name) else "<|constrain|>json"
            return assistant(arguments, _calls_channel(name)).with_recipient(name).with_content_type(kind)
        case ToolResultPart(name, content):
            author = oh.Author.new(oh.Role.TOOL, name)
            return (
                oh.Message.from_author_and_content(author, content)
                .with_recipient("assistant")
                .with_channel(_calls_channel(name))
            )
    raise AssertionError(part)


def _is_builtin(name: str) -> bool:
    return name.split(".")[0] in {"python", "browser"}


def _calls_channel(name: str) -> str:
    return "analysis" if _is_builtin(name) else "commentary"


def without_old_reasoning(messages: Sequence[oh.Message]) -> list[oh.Message]:
    """Our rule, on the library's messages: no analysis before the last final."""
    finals = [i for i, m in enumerate(messages) if m.channel == "final"]
    last = finals[-1] if finals else -1
    return [m for i, m in enumerate(messages) if m.channel != "analysis" or i > last]


def library_tokens(encoding: oh.HarmonyEncoding, messages: Sequence[oh.Message]) -> list[int]:
    """The library's prompt for the assistant's next message."""
    conversation = oh.Conversation.from_messages(messages)
    return encoding.render_conversation_for_completion(conversation, oh.Role.ASSISTANT, KEEP_ALL)
