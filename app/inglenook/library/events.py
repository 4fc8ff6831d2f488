"""What `ModelService` tells about the model in use."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from inglenook.core.errors import ErrorInfo
from inglenook.core.inference import ModelInfo, ModelSpec


class ModelState(StrEnum):
    """Where the chosen model stands."""

    NONE = "none"
    PREPARING = "preparing"  # converting a checkpoint; fraction is known
    LOADING = "loading"  # into memory; fraction is known
    READY = "ready"
    FAILED = "failed"  # error says what to do
    ASLEEP = "asleep"  # its memory was freed; the next message loads it again
    CRASHED = "crashed"  # the engine ended; the next message starts it again


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The model in use, for a status line. `title` is for people ("Demo model"); `spec` is set from LOADING on.

    `name` is what a conversation remembers (`core.inference.ModelSource`). `left` is the title of the model that left
    the memory before this one is loaded, since there is not room for both. `refused` is the title of one that could
    not be loaded in place of this one (`error` says why).
    """

    state: ModelState
    title: str = ""
    fraction: float = 0.0
    is_demo: bool = False
    spec: ModelSpec | None = None
    info: ModelInfo | None = None
    error: ErrorInfo | None = None
    name: str = ""
    left: str = ""
    refused: str = ""
