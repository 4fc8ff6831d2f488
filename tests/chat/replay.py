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
    Counts,
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


@dataclass(frozen=True)
class IfTold:
    """The end of a script; what stands after it is said if `ANSWER_NOW` or the like was put in before."""


Item = str | Gate | Crash | IfTold
Script = Sequence[Item]


def answer(final: str, reasoning: str = "") -> list[str]:
    """A script: what a model says for this."""
    thought = [specials.CHANNEL, "analysis", specials.MESSAGE, reasoning, specials.END, specials.START, "assistant"]
    return [*(thought if reasoning else []), specials.CHANNEL, "final", specials.MESSAGE, final, specials.RETURN]


def opening(*items: Item, channel: str = "final") -> list[Item]:
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

    def will_say(self, *script: Item) -> None:
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

    def counts(self, model: ModelSpec, texts: Sequence[Sequence[Segment]]) -> Counts:
        return Counts(tuple(self.count(model, text) for text in texts), "bytes", self.n_ctx)

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
        end = script.index(IfTold()) if IfTold() in script else len(script)
        self._script, self._if_told = script[:end], script[end + 1 :]
        self._prompt_tokens = prompt_tokens
        self._said: list[int] = []
        self._injection: tuple[tuple[int, ...], int] | None = None
        self.injections: list[tuple[tuple[Segment, ...], int]] = []
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()

    def inject(self, segments: Sequence[Segment], after: int) -> None:
        self.injections.append((tuple(segments), after))
        self._injection = tuple(i for segment in segments for i in encoded(segment)), after

    def __iter__(self) -> Iterator[EngineEvent]:
        total = self._prompt_tokens
        yield Prefill(0, total, 0)
        yield Prefill(total // 2, total, 0)
        yield Prefill(total, total, 0)
        script, steps = self._script, _steps(self._script)
        while steps:
            step = steps.pop(0)
            if isinstance(step, Gate):
                step.reached.set()
                while not (step.open.wait(0.01) or self.cancelled.is_set() or self._injection):
                    pass
            if self.cancelled.is_set():
                yield Finished(StopReason.CANCELLED, GenerationStats(total, 0, len(self._said)))
                return
            if isinstance(step, Crash):
                self._engine.is_now(EngineStatus(EngineState.CRASHED, error=CRASH))
                yield Finished(StopReason.FAILED, GenerationStats(total, 0, len(self._said)), CRASH)
                return
            if told := self._put_in():
                script, steps = self._if_told, _steps(self._if_told)
                step = told
            if isinstance(step, tuple):
                self._said += step
                yield Tokens(step, tuple(piece(t) for t in step))
        stopped = script and script[-1] in (specials.RETURN, specials.CALL)
        yield Finished(StopReason.STOP if stopped else StopReason.LENGTH, GenerationStats(total, 0, len(self._said)))

    def _put_in(self) -> tuple[int, ...]:
        """As the real engine decides it."""
        injection, self._injection = self._injection, None
        if injection is None or any(t >= 256 for t in self._said[injection[1] :]):
            return ()
        return injection[0]


def _steps(script: Script) -> list[tuple[int, ...] | Gate | Crash]:
    """Some tokens at a time, characters cut anywhere."""
    steps: list[tuple[int, ...] | Gate | Crash] = []
    for item in script:
        if isinstance(item, str):
            ids = encoded(Special(item) if item in SPECIALS else Text(item))
            steps += [ids[i : i + 3] for i in range(0, len(ids), 3)]
        elif not isinstance(item, IfTold):
            steps.append(item)
    return steps


class ReplayLoad:
    def __init__(self, engine: Replay, model: ModelSpec) -> None:
        self._engine = engine
        self._model = model
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def inject(self, segments: Sequence[Segment], after: int) -> None:
        """Nothing is generated."""

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

    def chosen(self) -> str:
        return "model"

    def known(self, name: str = "") -> ModelSpec | None:
        return self._spec if self.ready and self.error is None else None

    def spec(
        self, cancelled: Callable[[], bool], name: str = "", loading: Callable[[float], None] | None = None
    ) -> ModelSpec:
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
