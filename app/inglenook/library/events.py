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
    """The chosen model, for a status line. `title` is for people ("Demo model"); `spec` is set from LOADING on."""

    state: ModelState
    title: str = ""
    fraction: float = 0.0
    is_demo: bool = False
    spec: ModelSpec | None = None
    info: ModelInfo | None = None
    error: ErrorInfo | None = None
