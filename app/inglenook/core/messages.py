"""What people and the model say: pure values, without identity.

Ids, parents and conversations are a matter of storage (see `core.conversation`); here are only the things that
are said, so that rendering, parsing and exporting need nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Effort(StrEnum):
    """How long the model reasons before it answers (harmony's `Reasoning:` line)."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class TextPart:
    """A user's words, or the final answer of the model."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """The analysis channel: shown folded, dropped from history once its turn has a final answer.

    `seconds` is the wall time from its first to its last token, `tokens` how many it took (0: not known).
    """

    text: str
    seconds: float = 0.0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class PreamblePart:
    """The commentary channel without a recipient: the model says what it is about to do. Visible, kept in history."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A call of a tool.

    `name` is the recipient as harmony has it (`functions.weather`, `python`), `arguments` the text exactly as sampled
    (it should be JSON, it may not be).
    """

    name: str
    arguments: str
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """What a tool answered; `name` as in the call."""

    name: str
    content: str
    call_id: str = ""


Part = TextPart | ReasoningPart | PreamblePart | ToolCallPart | ToolResultPart


@dataclass(frozen=True, slots=True)
class SampledTokens:
    """The token ids of an answer as they were sampled, the truth from which its parts are derived.

    They begin after the `<|start|>assistant` of the prompt and include the stop token if one came. `vocabulary` is the
    hash of the vocabulary (`ModelInfo.vocabulary`): ids mean nothing under another.
    """

    ids: tuple[int, ...]
    vocabulary: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message: a user's, the model's answer of one generation, or a tool's result."""

    role: Role
    parts: tuple[Part, ...]
    sampled: SampledTokens | None = None

    @property
    def text(self) -> str:
        """The words for search, copying and titles: user text or final answer; else the preambles."""
        final = "\n\n".join(p.text for p in self.parts if isinstance(p, TextPart) and p.text)
        return final or "\n\n".join(p.text for p in self.parts if isinstance(p, PreamblePart))

    @property
    def reasoning(self) -> str:
        """All reasoning of this message, paragraphs apart."""
        return "\n\n".join(p.text for p in self.parts if isinstance(p, ReasoningPart) and p.text)


def user(text: str) -> Message:
    """A user's message."""
    return Message(Role.USER, (TextPart(text),))
