"""One turn: from the user's stored message to the end of the answer to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from inglenook.chat.context import fit
from inglenook.chat.events import (
    AnswerDelta,
    AnswerEnded,
    AnswerPartEnded,
    AnswerPartStarted,
    AnswerWaiting,
    ChatEvent,
    Waiting,
)
from inglenook.core.conversation import ConversationStore, MessageState, StoredMessage, Tree
from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.events import (
    EngineEvent,
    Finished,
    GenerationStats,
    HarmonyEvent,
    Loading,
    PartDelta,
    PartEnded,
    PartStarted,
    Prefill,
    StopReason,
    Tokens,
)
from inglenook.core.i18n import N_
from inglenook.core.inference import (
    Cancelled,
    EngineState,
    GenerateRequest,
    Generation,
    InferenceService,
    ModelInfo,
    ModelSource,
    ModelSpec,
    Sampling,
)
from inglenook.core.messages import Effort, Message, Part, ReasoningPart, Role, SampledTokens
from inglenook.core.prompt import Prompt
from inglenook.harmony.parse import Parser

_STATES = {
    StopReason.STOP: MessageState.COMPLETE,
    StopReason.LENGTH: MessageState.LENGTH,
    StopReason.CONTEXT: MessageState.LENGTH,
    StopReason.FAILED: MessageState.FAILED,
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a turn works with. `lock` is held while the answer grows and listeners hear of it."""

    store: ConversationStore
    inference: InferenceService
    model: ModelSource
    emit: Callable[[ChatEvent], None]
    lock: threading.RLock
    report_bug: Callable[[Exception], None]


class Turn:
    """`run` it once, on the turn worker; `cancel` and `save` it from any thread meanwhile."""

    def __init__(self, answer: StoredMessage, sampling: Sampling, surroundings: Surroundings) -> None:
        self._message = answer  # as stored last, or to be stored next
        self._sampling = sampling
        self._at = surroundings
        self._cancelled = threading.Event()
        self._cancel_state = MessageState.STOPPED
        self._generation: Generation | None = None
        self._answer: _Answer | None = None
        self._ended = False

    @property
    def conversation_id(self) -> str:
        """Whose answer this is."""
        return self._message.conversation_id

    @property
    def message_id(self) -> str:
        """The answer's id."""
        return self._message.id

    def cancel(self, state: MessageState) -> None:
        """Asks it to end soon, its message in `state`; the first such state stands."""
        if not self._cancelled.is_set():
            self._cancel_state = state
            self._cancelled.set()
        if (generation := self._generation) is not None:
            generation.cancel()

    def save(self) -> None:
        """Queues for disk what there is of the answer, if it grew since the last time."""
        with self._at.lock:
            if self._answer is not None and self._answer.grown and not self._ended:
                self._message = replace(self._message, message=self._answer.message())
                self._at.store.save_message(self._message)

    def run(self) -> None:
        """Answers; returns after `AnswerEnded` was emitted, whatever happens."""
        stats: GenerationStats | None = None
        error: ErrorInfo | None = None
        try:
            finished = self._generate()
            stats, error = finished.stats, finished.error
            state = _STATES.get(finished.reason, self._cancel_state)
        except Cancelled:
            state = self._cancel_state
        except UserError as failure:
            state, error = MessageState.FAILED, failure.info
        except Exception as bug:
            state = MessageState.FAILED
            error = ErrorInfo(N_("Inglenook made a mistake ({kind}). The log has the details."), (("kind", repr(bug)),))
            self._at.report_bug(bug)
            if self._generation is not None:
                self._generation.cancel()
        self.end(state, stats, error)

    def end(self, state: MessageState, stats: GenerationStats | None = None, error: ErrorInfo | None = None) -> None:
        """Stores the final form and tells of it. Called from outside only if it never ran."""
        with self._at.lock:
            message = self._message.message
            if self._answer is not None:
                for event in self._answer.finish():
                    self._tell(event)
                message = self._answer.message()
            self._ended = True
            text = "" if error is None else error.text()
            self._message = replace(self._message, message=message, state=state, stats=stats, error=text)
            self._at.store.save_message(self._message)
            self._at.emit(AnswerEnded(self.conversation_id, self._message, error))

    def _generate(self) -> Finished:
        spec = self._at.model.spec(self._cancelled.is_set)
        info = self._load(spec)
        tree = self._at.store.tree(self.conversation_id)
        segments = fit(
            _prompt(tree, self._message), info.n_ctx, info.vocabulary, lambda s: self._at.inference.count(spec, s)
        )
        self._wait_for(Waiting.READING)
        with self._at.lock:
            self._message = replace(self._message, model=info.name)
            self._answer = _Answer(info)
        reading = _Estimate()
        for event in self._events(self._at.inference.generate(GenerateRequest(spec, segments, self._sampling))):
            match event:
                case Loading(fraction):  # the engine crashed since, or another program loaded another model
                    self._wait_for(Waiting.LOADING, fraction)
                case Prefill(done, total, _):
                    fraction = done / total if total else 1.0
                    self._wait_for(Waiting.READING, fraction, reading.seconds_left(fraction))
                case Tokens(ids, pieces):
                    with self._at.lock:
                        for token_id, piece in zip(ids, pieces, strict=True):
                            for harmony_event in self._answer.feed(token_id, piece):
                                self._tell(harmony_event)
                case Finished():
                    return event
        raise RuntimeError("a generation ended without Finished")

    def _load(self, spec: ModelSpec) -> ModelInfo:
        """Loads the model if need be, telling of the progress (which `model_info` alone would not)."""
        status = self._at.inference.status()
        if status.state is not EngineState.READY or status.model is None or status.model.spec != spec:
            self._wait_for(Waiting.STARTING)
            loading = _Estimate()
            for event in self._events(self._at.inference.load(spec)):
                match event:
                    case Loading(fraction):
                        self._wait_for(Waiting.LOADING, fraction, loading.seconds_left(fraction))
                    case Finished(StopReason.FAILED, _, ErrorInfo() as error):
                        raise UserError.of(error)
                    case Finished(StopReason.CANCELLED):
                        raise Cancelled
        if self._cancelled.is_set():
            raise Cancelled
        return self._at.inference.model_info(spec)

    def _events(self, generation: Generation) -> Iterator[EngineEvent]:
        self._generation = generation
        if self._cancelled.is_set():  # perhaps before `cancel` could see the generation
            generation.cancel()
        yield from generation
        self._generation = None

    def _wait_for(self, waiting: Waiting, fraction: float = 0.0, seconds_left: float | None = None) -> None:
        self._at.emit(AnswerWaiting(self.conversation_id, self.message_id, waiting, fraction, seconds_left))

    def _tell(self, event: HarmonyEvent) -> None:
        ids = self.conversation_id, self.message_id
        match event:
            case PartStarted(index, channel, name):
                self._at.emit(AnswerPartStarted(*ids, index, channel, name))
            case PartDelta(index, text):
                self._at.emit(AnswerDelta(*ids, index, text))
            case PartEnded(index):
                assert self._answer is not None
                self._at.emit(AnswerPartEnded(*ids, index, self._answer.seconds(index)))


class _Answer:
    """The sampled tokens, their parser, and the clock of the parts."""

    def __init__(self, info: ModelInfo) -> None:
        self._vocabulary = info.vocabulary
        self._parser = Parser(dict(info.specials))
        self._ids: list[int] = []
        self._started: dict[int, float] = {}
        self._ended: dict[int, float] = {}
        self.grown = False
        """Whether there is more than at the last call of `message`."""

    def feed(self, token_id: int, piece: bytes) -> Iterator[HarmonyEvent]:
        self._ids.append(token_id)
        self.grown = True
        yield from self._timed(self._parser.feed(token_id, piece))

    def finish(self) -> Iterator[HarmonyEvent]:
        yield from self._timed(self._parser.finish())

    def seconds(self, index: int) -> float:
        """How long part `index` took, or has taken."""
        now = time.monotonic()
        return self._ended.get(index, now) - self._started.get(index, now)

    def message(self) -> Message:
        self.grown = False
        parts = tuple(self._with_seconds(i, part) for i, part in enumerate(self._parser.parts))
        return Message(Role.ASSISTANT, parts, SampledTokens(tuple(self._ids), self._vocabulary) if self._ids else None)

    def _with_seconds(self, index: int, part: Part) -> Part:
        return replace(part, seconds=self.seconds(index)) if isinstance(part, ReasoningPart) else part

    def _timed(self, events: Iterable[HarmonyEvent]) -> Iterator[HarmonyEvent]:
        for event in events:
            if isinstance(event, PartStarted):
                self._started[event.index] = time.monotonic()
            elif isinstance(event, PartEnded):
                self._ended[event.index] = time.monotonic()
            yield event


class _Estimate:
    """The time that is left of something, from how fast its fraction grew so far."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None  # time, fraction

    def seconds_left(self, fraction: float) -> float | None:
        now = time.monotonic()
        if self._first is None:
            self._first = now, fraction
            return None
        start, first = self._first
        grown = fraction - first
        return (now - start) / grown * (1.0 - fraction) if grown > 0 else None


def _prompt(tree: Tree, answer: StoredMessage) -> Prompt:
    """All that was said before `answer`. An answer that failed before its first word is as if it had never been."""
    path = tree.path(answer.parent_id) if answer.parent_id is not None else ()
    return Prompt(
        messages=tuple(m.message for m in path if m.message.parts),
        effort=answer.effort or Effort.MEDIUM,
        date=tree.conversation.date,
        instructions=tree.conversation.instructions,
    )
