"""What happens while a model loads and answers: one frozen dataclass for each thing that can happen.

Three layers, each made from the one before:
  engine -> `EngineEvent`s of one generation (token ids and their bytes),
  harmony -> `HarmonyEvent`s (text of the channels),
  chat -> `inglenook.chat.events` (what a window shows).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from inglenook.core.errors import ErrorInfo


class StopReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"  # the model ended its message: <|return|>, <|call|> or end of text
    LENGTH = "length"  # max_tokens reached
    CONTEXT = "context"  # the context window is full
    CANCELLED = "cancelled"
    FAILED = "failed"  # Finished.error says what and what to do


@dataclass(frozen=True, slots=True)
class Queued:
    """Another's answer goes first: this one has not begun, or is put aside. Whatever comes next ends that."""


@dataclass(frozen=True, slots=True)
class Loading:
    """The model is being loaded; `fraction` in 0..1."""

    fraction: float


@dataclass(frozen=True, slots=True)
class Prefill:
    """The prompt is being evaluated: `done` of `total` tokens that are not in the cache, `cached` tokens that are."""

    done: int
    total: int
    cached: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """One or more sampled tokens: ids and, of equal length, their bytes (UTF-8, possibly cut within a character).

    A control token's bytes are its name, such as b"<|channel|>"; consumers go by id.
    """

    ids: tuple[int, ...]
    pieces: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class GenerationStats:
    """Measured in the engine process. Times in seconds; `ttft_s` from the request's arrival to the first token."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    ttft_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """The one end event of a generation."""

    reason: StopReason
    stats: GenerationStats = field(default_factory=GenerationStats)
    error: ErrorInfo | None = None


EngineEvent = Queued | Loading | Prefill | Tokens | Finished


class Channel(StrEnum):
    """Which kind of text a delta belongs to."""

    REASONING = "reasoning"  # analysis
    PREAMBLE = "preamble"  # commentary without recipient
    FINAL = "final"
    TOOL_CALL = "tool_call"  # arguments of a call


@dataclass(frozen=True, slots=True)
class PartStarted:
    """A new part of the answer begins; `index` counts parts from 0. `name` is the recipient of a tool call, else ''."""

    index: int
    channel: Channel
    name: str = ""


@dataclass(frozen=True, slots=True)
class PartDelta:
    """More text of part `index`; never empty, never half a character, never format text."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class PartEnded:
    """Part `index` is complete."""

    index: int


HarmonyEvent = PartStarted | PartDelta | PartEnded
