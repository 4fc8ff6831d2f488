"""The Protocols and values with which other rooms use the engine, without importing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from inglenook.core.constraint import Constraint
from inglenook.core.errors import ErrorInfo
from inglenook.core.events import EngineEvent
from inglenook.core.memory import Plan, Use
from inglenook.core.prompt import Segment


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model file to run, and how. Equal specs share one copy of the weights.

    `n_ctx` 0 means: what the engine finds best for this machine. `gpu_layers` -1 means all that fit.
    """

    path: str
    n_ctx: int = 0
    gpu_layers: int = -1
    threads: int = 0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a loaded model. `vocabulary` is a hash of all token texts and types, `specials` name -> id."""

    spec: ModelSpec
    name: str
    vocabulary: str
    n_ctx: int
    n_ctx_train: int
    n_vocab: int
    size_bytes: int
    specials: tuple[tuple[str, int], ...]
    devices: tuple[str, ...] = ()
    is_demo: bool = False
    plan: Plan | None = None  # how it was loaded, with the memory foreseen
    allocated: tuple[Use, ...] = ()  # by llama.cpp, as its log has it
    process: int = 0  # that of the engine


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Defaults are OpenAI's recommendation: temperature 1, no cut.

    temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 switch their cut off; seed None is a new one each time.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One generation. The engine loads `model` first if it is not the one loaded.

    Generation ends at `max_tokens` (0: what the context leaves), at a stop token, or when the context is full.
    `ignore_stop` goes on past stop tokens (benchmarks only). With a `constraint`, what cannot follow by it is not said.
    Without `speculate` one token is evaluated after the other, as benchmarks want it. What `gives_way` is put aside
    when another request for the same model comes, and goes on after it.
    """

    model: ModelSpec
    segments: tuple[Segment, ...]
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = 0
    ignore_stop: bool = False
    constraint: Constraint | None = None
    speculate: bool = True
    gives_way: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens of several texts, each by itself, under one vocabulary (its hash).

    `n_ctx` is the context window that the model has, or would be loaded with now; 0 if it cannot be loaded.
    """

    tokens: tuple[int, ...]
    vocabulary: str
    n_ctx: int


class EngineState(StrEnum):
    """What the engine is doing, for a status line."""

    OFF = "off"  # no process, or no model loaded
    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    CRASHED = "crashed"  # it ended unexpectedly; the next request starts it anew


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """State of the engine as this client sees it; `fraction` is load progress in 0..1.

    While another model is LOADING, `model` is the one that stays until then; None if it had to go first.
    """

    state: EngineState
    model: ModelInfo | None = None
    fraction: float = 0.0
    error: ErrorInfo | None = None
    pid: int = 0


class Generation(Protocol):
    """One running request: iterate it (once, from one thread) for events; the last one is always `Finished`."""

    def __iter__(self) -> Iterator[EngineEvent]: ...

    def cancel(self) -> None:
        """Asks it to end soon; from any thread, any number of times. `Finished(CANCELLED)` follows."""
        ...

    def inject(self, segments: Sequence[Segment], after: int) -> None:
        """Has it go on with a few tokens that were not sampled, in place of the next one; from any thread.

        Ignored if a control token has come since its first `after` tokens: what the caller knew of it is over. The
        tokens are told like sampled ones, and what was evaluated stays. They wait for the end of a character.
        """
        ...


class InferenceService(Protocol):
    """The engine as a client process sees it. No method blocks on the engine but where it says so."""

    def generate(self, request: GenerateRequest) -> Generation:
        """Queues a generation."""
        ...

    def load(self, model: ModelSpec) -> Generation:
        """Loads a model ahead of use: events are `Loading` and `Finished`."""
        ...

    def prefill(self, model: ModelSpec, segments: Sequence[Segment], keep: str = "") -> Generation:
        """Evaluates a prompt that is likely to come, so that less is left to do then: events `Prefill` and `Finished`.

        Only while `model` is loaded and nothing else is asked for; other work cancels it. What was evaluated stays.
        With `keep`, a conversation's id, its state is also written to disk if that is worth it, before `Finished`.
        """
        ...

    def forget(self, conversation_id: str) -> None:
        """Removes what `prefill` kept on disk of that conversation. Raises `OSError`."""
        ...

    def unload(self) -> None:
        """Ends the engine process if this client is its only one, so that its memory is free."""
        ...

    def count(self, model: ModelSpec, segments: Sequence[Segment]) -> int:
        """Tokens that `segments` take. Waits for the engine. Raises `UserError`."""
        ...

    def counts(self, model: ModelSpec, texts: Sequence[Sequence[Segment]]) -> Counts:
        """Tokens of each of `texts`, by the vocabulary of `model`, which need not be loaded. Otherwise as `count`."""
        ...

    def model_info(self, model: ModelSpec) -> ModelInfo:
        """Loads `model` if necessary and tells about it. Waits for the engine. Raises `UserError`."""
        ...

    def status(self) -> EngineStatus:
        """As last heard of; at once."""
        ...

    def subscribe(self, listener: Callable[[EngineStatus], None]) -> Callable[[], None]:
        """Calls `listener` on each change, on a thread of the service; returns the function that ends it."""
        ...

    def close(self) -> None:
        """Leaves the engine (which ends when nobody else uses it)."""
        ...


class Cancelled(Exception):  # noqa: N818 - not an error: the user asked for it
    """The user cancelled what the caller waited for."""


DEMO = "demo"
"""The name of the model that comes with the program; that of any other is its file."""


class ModelSource(Protocol):
    """Which model answers; offered by `library`, used by `chat`.

    A `name` is what a conversation remembers: `DEMO` or the path of a file; "" is the one that the user has chosen.
    """

    def chosen(self) -> str:
        """The name of the model that the user has chosen, and that new conversations begin with."""
        ...

    def known(self, name: str = "") -> ModelSpec | None:
        """That model, if it is ready to load; at once, and nothing is begun."""
        ...

    def spec(
        self, cancelled: Callable[[], bool], name: str = "", loading: Callable[[float], None] | None = None
    ) -> ModelSpec:
        """That model, ready to load; if another one is in use, it is loaded when this returns.

        Waits while it is being prepared (converted) or loaded, asking `cancelled` about ten times a second and telling
        `loading` how far it is. Raises `UserError` if there is no model or that failed, `Cancelled` if `cancelled()`
        became true or the user ended the loading.
        """
        ...
