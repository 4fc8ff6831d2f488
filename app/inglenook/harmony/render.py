"""A conversation as the segments that a gpt-oss model continues.

The text between control tokens equals what openai-harmony renders, token for token, with deviations where that library
is wrong. Here it is one: old reasoning, and the calls of builtin tools that belong to it, leave the prompt once the
turn has a final answer, whatever came between (the library drops them only before the first answer, and not at all
while tools are being called). For those in tool declarations see `harmony.tools`. Nothing here depends on the clock or
on the order of anything but the messages, so that the prompt of the next turn begins with the one of this turn and the
engine's cache is used.
"""

from __future__ import annotations

from inglenook.core.messages import (
    Message,
    Part,
    PreamblePart,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from inglenook.core.prompt import Builtin, Ids, Prompt, Segment, Special, Text
from inglenook.harmony import specials
from inglenook.harmony.tools import builtins_section, formats_section, tools_section

IDENTITY = "You are ChatGPT, a large language model trained by OpenAI."
"""The line that the model was trained with; who it is to be otherwise is said in the instructions."""

KNOWLEDGE_CUTOFF = "2024-06"

_BUILTINS = ("python", "browser")
"""Namespaces of calls on the analysis channel also where a prompt does not declare them any more."""


def render(prompt: Prompt, vocabulary: str = "") -> tuple[Segment, ...]:
    """Segments of the whole prompt, ending where the model is to go on: after `<|start|>assistant`.

    Reasoning is kept only after the last final answer. There, an answer that called a tool is repeated with the very
    ids that the model sampled, if they were sampled under `vocabulary` (`ModelInfo.vocabulary`); the order of words in
    our headers is not quite the model's own. Everything else is rendered from the parts, so that an answer cut off
    anywhere is well-formed. Texts are neither empty nor adjacent to each other.
    """
    return tuple(segment for block in blocks(prompt, vocabulary) for segment in block)


def blocks(prompt: Prompt, vocabulary: str = "") -> tuple[tuple[Segment, ...], ...]:
    """What `render` gives, in pieces: what stands before the messages, each message, and the answer's beginning.

    Each but an empty one begins with a control token, so that the tokens of all are the sum of each one's.
    """
    out = _Segments(_namespaces(prompt.builtins))
    out.message("system", _system(prompt))
    if developer := _developer(prompt):
        out.message("developer", developer)
    ends = [len(out.segments)]
    last_final = _last_final(prompt.messages)
    for i, message in enumerate(prompt.messages):
        if message.role is Role.USER:
            out.message("user", message.text)
        elif i > last_final[0] and _answered_call(prompt.messages, i) and _sampled_under(message, vocabulary):
            out.sampled_call(message)
        else:
            for j, part in enumerate(message.parts):
                if not out.is_reasoning(part) or (i, j) > last_final:
                    out.part(part)
        ends.append(len(out.segments))
    out.special(specials.START)
    out.text("assistant")
    ends.append(len(out.segments))
    return tuple(tuple(out.segments[start:end]) for start, end in zip([0, *ends], ends, strict=False))


def when_answered(message: Message, builtins: tuple[Builtin, ...] = ()) -> tuple[Segment, ...]:
    """How `message` is told once there is a final answer after it: what it will take of every later prompt."""
    out = _Segments(_namespaces(builtins))
    if message.role is Role.USER:
        out.message("user", message.text)
    else:
        for part in message.parts:
            if not out.is_reasoning(part):
                out.part(part)
    return tuple(out.segments)


def _namespaces(builtins: tuple[Builtin, ...]) -> frozenset[str]:
    return frozenset([*_BUILTINS, *(specials.safe_name(b.name) for b in builtins)])


class _Segments:
    """Collects segments, joining texts: ordinary text is tokenized as a whole.

    `builtins`: the namespaces whose calls and results belong to the reasoning.
    """

    def __init__(self, builtins: frozenset[str]) -> None:
        self.segments: list[Segment] = []
        self._builtins = builtins

    def is_reasoning(self, part: Part) -> bool:
        """Whether the part goes to the analysis channel."""
        if isinstance(part, ToolCallPart | ToolResultPart):
            return specials.safe_name(part.name).split(".")[0] in self._builtins
        return isinstance(part, ReasoningPart)

    def special(self, name: str) -> None:
        self.segments.append(Special(name))

    def text(self, text: str) -> None:
        if not text:
            return
        text = without_surrogates(text)
        if self.segments and isinstance(last := self.segments[-1], Text):
            self.segments[-1] = Text(last.text + text)
        else:
            self.segments.append(Text(text))

    def message(self, author: str, content: str, channel: str = "", end: str = specials.END) -> None:
        """A whole message. `author` may carry a recipient (`name to=other`).

        The content of a call is JSON; that of a builtin tool's has the type `code`, as the model was trained.
        """
        self.special(specials.START)
        self.text(author)
        if channel:
            self.special(specials.CHANNEL)
            self.text(channel)
        if end == specials.CALL:
            if channel == specials.ANALYSIS:
                self.text(" code")
            else:
                self.text(" ")
                self.special(specials.CONSTRAIN)
                self.text("json")
        self.special(specials.MESSAGE)
        self.text(content)
        self.special(end)

    def part(self, part: Part) -> None:
        """A part of an answer, or a tool's result, as a message of its own."""
        tools_channel = specials.ANALYSIS if self.is_reasoning(part) else specials.COMMENTARY
        match part:
            case ReasoningPart(text):
                self.message("assistant", text, specials.ANALYSIS)
            case PreamblePart(text):
                self.message("assistant", text, specials.COMMENTARY)
            case TextPart(text):
                self.message("assistant", text, specials.FINAL)
            case ToolCallPart(name, arguments):
                recipient = specials.safe_name(name)
                self.message(f"assistant to={recipient}", arguments, tools_channel, end=specials.CALL)
            case ToolResultPart(name, content):
                self.message(f"{specials.safe_name(name)} to=assistant", content, tools_channel)

    def sampled_call(self, message: Message) -> None:
        """An answer that ended in a call, from its ids: whichever stop token came last, the history says `<|call|>`."""
        assert message.sampled is not None
        self.special(specials.START)
        self.text("assistant")
        self.segments.append(Ids(message.sampled.ids[:-1]))
        self.special(specials.CALL)


def without_surrogates(text: str) -> str:
    """`text` with halves of surrogate pairs joined, or replaced by U+FFFD where the other half is missing."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _system(prompt: Prompt) -> str:
    facts = [IDENTITY, f"Knowledge cutoff: {KNOWLEDGE_CUTOFF}"]
    if prompt.date:
        facts.append(f"Current date: {prompt.date}")
    channels = f"# Valid channels: {specials.ANALYSIS}, {specials.COMMENTARY}, {specials.FINAL}."
    channels += " Channel must be included for every message."
    if prompt.tools:
        channels += f"\nCalls to these tools must go to the commentary channel: '{specials.FUNCTIONS}'."
    builtins = [builtins_section(prompt.builtins)] if prompt.builtins else []
    return "\n\n".join(["\n".join(facts), f"Reasoning: {prompt.effort.value}", *builtins, channels])


def _developer(prompt: Prompt) -> str:
    sections = []
    if prompt.instructions.strip():
        sections += ["# Instructions", prompt.instructions]
    if prompt.tools:
        sections.append(tools_section(prompt.tools))
    if prompt.formats:
        sections.append(formats_section(prompt.formats))
    return "\n\n".join(sections)


def _last_final(messages: tuple[Message, ...]) -> tuple[int, int]:
    """Indices of the message and its part that is the last final answer; (-1, -1) if there is none."""
    for i in range(len(messages) - 1, -1, -1):
        if messages[i].role is Role.ASSISTANT:
            for j in range(len(messages[i].parts) - 1, -1, -1):
                if isinstance(messages[i].parts[j], TextPart):
                    return i, j
    return -1, -1


def _answered_call(messages: tuple[Message, ...], i: int) -> bool:
    """Whether message `i` ends in a call that has a result: then its ids end in a stop token, after a whole message."""
    parts = messages[i].parts
    is_call = messages[i].role is Role.ASSISTANT and bool(parts) and isinstance(parts[-1], ToolCallPart)
    return is_call and i + 1 < len(messages) and messages[i + 1].role is Role.TOOL


def _sampled_under(message: Message, vocabulary: str) -> bool:
    sampled = message.sampled
    return bool(vocabulary) and sampled is not None and sampled.vocabulary == vocabulary and len(sampled.ids) > 1
