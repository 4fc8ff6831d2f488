"""The engine as the rest of the program sees it: implements `core.inference.InferenceService`.

Importing this loads neither llama.cpp nor numpy: they live in the engine process.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.events import Finished, StopReason
from inglenook.core.inference import Counts, EngineState, EngineStatus, GenerateRequest, ModelInfo, ModelSpec
from inglenook.core.prompt import Segment
from inglenook.engine.generation import EngineGeneration, Reply
from inglenook.engine.launch import describe
from inglenook.engine.protocol import Ahead, Bench, Count, Load, Run
from inglenook.engine.supervise import CLOSED, Supervisor

__all__ = ["EngineClient", "describe"]
_log = logging.getLogger(__name__)


class EngineClient:
    """Starts the user's engine process or attaches to it, with the first request and after a crash."""

    def __init__(
        self,
        runtime: Path,
        logs: Path,
        *,
        idle_seconds: float = 0.0,
        states: Path | None = None,
        sleep_after: Callable[[], float] = lambda: 0.0,
        spares: Callable[[], bool] = lambda: False,
    ) -> None:
        """`runtime` is the folder of the socket, `states` that of saved states, if there are to be any.

        The engine ends `idle_seconds` after its last client closed. It is left `sleep_after()` seconds after
        the last request (0: never), until the next. While `spares()` it computes with half its threads.
        """
        self._states = states
        self._numbers = itertools.count(1)
        self._status = EngineStatus(EngineState.OFF)
        self._listeners: list[Callable[[EngineStatus], None]] = []
        self._lock = threading.Lock()
        self._supervisor = Supervisor(runtime, logs, idle_seconds, self._set_status, states, sleep_after, spares)

    def generate(self, request: GenerateRequest) -> EngineGeneration:
        """See `InferenceService.generate`."""
        generation = EngineGeneration(next(self._numbers), self._supervisor)
        self._supervisor.request(Run(generation.number, request), generation)
        return generation

    def load(self, model: ModelSpec) -> EngineGeneration:
        """See `InferenceService.load`."""
        generation = EngineGeneration(next(self._numbers), self._supervisor)
        self._supervisor.request(Load(generation.number, model), generation)
        return generation

    def prefill(self, model: ModelSpec, segments: Sequence[Segment], keep: str = "") -> EngineGeneration:
        """See `InferenceService.prefill`."""
        generation = EngineGeneration(next(self._numbers), self._supervisor)
        self._supervisor.request(Ahead(generation.number, model, tuple(segments), keep), generation)
        return generation

    def forget(self, conversation_id: str) -> None:
        """See `InferenceService.forget`."""
        if self._states is not None:
            from inglenook.engine.saved_names import forget

            forget(self._states, conversation_id)

    def unload(self) -> None:
        """See `InferenceService.unload`. Running generations end as cancelled."""
        self._supervisor.unload()

    def count(self, model: ModelSpec, segments: Sequence[Segment]) -> int:
        """See `InferenceService.count`."""
        return self.counts(model, (segments,)).tokens[0]

    def counts(self, model: ModelSpec, texts: Sequence[Sequence[Segment]]) -> Counts:
        """See `InferenceService.counts`."""
        reply = Reply(next(self._numbers))
        self._supervisor.request(Count(reply.number, model, tuple(map(tuple, texts))), reply)
        counts = reply.wait()
        assert isinstance(counts, Counts)
        return counts

    def bench_raw(self, model: ModelSpec, prefill: int, decode: int) -> float:
        """Tokens a second of llama_decode alone, measured in the engine; see `protocol.Bench`. Raises `UserError`."""
        reply = Reply(next(self._numbers))
        self._supervisor.request(Bench(reply.number, model, prefill, decode), reply)
        speed = reply.wait()
        assert isinstance(speed, float)
        return speed

    def model_info(self, model: ModelSpec) -> ModelInfo:
        """See `InferenceService.model_info`."""
        status = self._status
        if status.model is not None and status.model.spec == model:
            return status.model
        for event in self.load(model):
            if isinstance(event, Finished) and event.reason is not StopReason.STOP:
                raise UserError.of(event.error or ErrorInfo(CLOSED))
        return self._supervisor.infos[model]

    def status(self) -> EngineStatus:
        """See `InferenceService.status`."""
        return self._status

    def subscribe(self, listener: Callable[[EngineStatus], None]) -> Callable[[], None]:
        """See `InferenceService.subscribe`."""
        with self._lock:
            self._listeners.append(listener)

        def end() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return end

    def close(self) -> None:
        """See `InferenceService.close`. Running generations end as cancelled."""
        self._supervisor.close()

    def _set_status(self, status: EngineStatus) -> None:
        """On the inference thread."""
        if status == self._status:
            return
        self._status = status
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            try:
                listener(status)
            except Exception:  # a listener's bug must not stop the tokens of everybody
                _log.exception("a listener of the engine's status failed")
