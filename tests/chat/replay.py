"""A second real `InferenceService`: it replays recorded token ids, so that tests decide what comes when.

The normal engine of the chat tests is the real one on the demo model (test_with_engine.py); this one is for orders of
events and failures that no model produces on demand. Vocabulary: a token for each byte, and the harmony control tokens.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from inglenook.core.errors import ErrorInfo
from inglenook.core.events import EngineEvent, Finished, GenerationStats, Loading, Prefill, StopReason, Tokens
from inglenook.core.inference import (
    Cancelled,
    EngineState,
    EngineStatus,
    GenerateRequest,
    Generation,
    ModelInfo,
    ModelSpec,
)
from inglenook.core.prompt import Ids, Segment, Special, Text
from inglenook.harmony import specials

NAMES = (
    specials.START, specials.END, specials.MESSAGE, specials.CHANNEL, specials.CONSTRAIN, specials.RETURN, specials.CALL
)  # fmt: skip
SPECIALS = {name: 256 + i for i, name in enumerate(NAMES)}
CRASH = ErrorInfo("The engine ended.")


@dataclass(frozen=True)
class Gate:
    """Something in a script that waits: `reached` is set when the replay is there, and it goes on once `open` is."""

    reached: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Crash:
    """Something in a script that ends the engine."""


Script = Sequence[str | Gate | Crash]


def answer(final: str, reasoning: str = "") -> list[str]:
    """A script: what a model says for this."""
    thought = [specials.CHANNEL, "analysis", specials.MESSAGE, reasoning, specials.END, specials.START, "assistant"]
    return [*(thought if reasoning else []), specials.CHANNEL, "final", specials.MESSAGE, final, specials.RETURN]


def opening(*items: str | Gate | Crash, channel: str = "final") -> list[str | Gate | Crash]:
    """A script that begins a channel and goes on with `items`."""
    return [specials.CHANNEL, channel, specials.MESSAGE, *items]


def calling(name: str, arguments: str, reasoning: str = "Look it up.") -> list[str]:
    """A script that calls a tool, as gpt-oss does."""
    thought = [specials.CHANNEL, "analysis", specials.MESSAGE, reasoning, specials.END, specials.START, "assistant"]
    header = [specials.CHANNEL, f"commentary to={name} ", specials.CONSTRAIN, "json", specials.MESSAGE]
    return [*thought, *header, arguments, specials.CALL]


class Replay:
    """Plays the scripts given to `will_say`, one for each generation, in order."""

    def __init__(self, n_ctx: int = 4096) -> None:
        self._scripts: queue.SimpleQueue[Script] = queue.SimpleQueue()
        self._listeners: list[Callable[[EngineStatus], None]] = []
        self._status = EngineStatus(EngineState.OFF)
        self.n_ctx = n_ctx
        self.requests: list[GenerateRequest] = []
        self.generations: list[ReplayGeneration] = []

    def will_say(self, *script: str | Gate | Crash) -> None:
        self._scripts.put(script)

    def generate(self, request: GenerateRequest) -> Generation:
        self.requests.append(request)
        generation = ReplayGeneration(self, self._scripts.get_nowait(), self.count(request.model, request.segments))
        self.generations.append(generation)
        return generation

    def load(self, model: ModelSpec) -> Generation:
        return ReplayLoad(self, model)

    def unload(self) -> None:
        self.is_now(EngineStatus(EngineState.OFF))

    def count(self, model: ModelSpec, segments: Sequence[Segment]) -> int:
        return sum(len(encoded(segment)) for segment in segments)

    def model_info(self, model: ModelSpec) -> ModelInfo:
        return ModelInfo(model, "replay", "bytes", self.n_ctx, self.n_ctx, 512, 1, tuple(SPECIALS.items()))

    def status(self) -> EngineStatus:
        return self._status

    def subscribe(self, listener: Callable[[EngineStatus], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def close(self) -> None:
        self.unload()

    def is_now(self, status: EngineStatus) -> None:
        self._status = status
        for listener in self._listeners:
            listener(status)


class ReplayGeneration:
    def __init__(self, engine: Replay, script: Script, prompt_tokens: int) -> None:
        self._engine = engine
        self._script = script
        self._prompt_tokens = prompt_tokens
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()

    def __iter__(self) -> Iterator[EngineEvent]:
        total, made = self._prompt_tokens, 0
        yield Prefill(0, total, 0)
        yield Prefill(total // 2, total, 0)
        yield Prefill(total, total, 0)
        for item in self._script:
            if isinstance(item, Gate):
                item.reached.set()
                while not item.open.wait(0.01) and not self.cancelled.is_set():
                    pass
            if self.cancelled.is_set():
                yield Finished(StopReason.CANCELLED, GenerationStats(total, 0, made))
                return
            if isinstance(item, Crash):
                self._engine.is_now(EngineStatus(EngineState.CRASHED, error=CRASH))
                yield Finished(StopReason.FAILED, GenerationStats(total, 0, made), CRASH)
                return
            if isinstance(item, str):
                ids = encoded(Special(item) if item in SPECIALS else Text(item))
                made += len(ids)
                for i in range(0, len(ids), 3):  # some at a time, characters cut anywhere
                    yield Tokens(ids[i : i + 3], tuple(piece(t) for t in ids[i : i + 3]))
        stopped = self._script and self._script[-1] in (specials.RETURN, specials.CALL)
        yield Finished(StopReason.STOP if stopped else StopReason.LENGTH, GenerationStats(total, 0, made))


class ReplayLoad:
    def __init__(self, engine: Replay, model: ModelSpec) -> None:
        self._engine = engine
        self._model = model
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def __iter__(self) -> Iterator[EngineEvent]:
        for fraction in (0.0, 0.5, 1.0):
            yield Loading(fraction)
        if self._cancelled:
            yield Finished(StopReason.CANCELLED)
            return
        self._engine.is_now(EngineStatus(EngineState.READY, self._engine.model_info(self._model)))
        yield Finished(StopReason.STOP)


class Chosen:
    """A `ModelSource` whose model is ready, or will never be (`ready` False), or fails (`error`)."""

    def __init__(self, path: str = "model.gguf") -> None:
        self.ready = True
        self.error: Exception | None = None
        self._spec = ModelSpec(path, n_ctx=4096, gpu_layers=0, threads=1)

    def spec(self, cancelled: Callable[[], bool]) -> ModelSpec:
        if self.error is not None:
            raise self.error
        while not self.ready:
            if cancelled():
                raise Cancelled
            threading.Event().wait(0.02)
        return self._spec


def encoded(segment: Segment) -> tuple[int, ...]:
    match segment:
        case Special(name):
            return (SPECIALS[name],)
        case Text(text):
            return tuple(text.encode())
        case Ids(ids):
            return ids


def piece(token_id: int) -> bytes:
    return bytes([token_id]) if token_id < 256 else NAMES[token_id - 256].encode()
