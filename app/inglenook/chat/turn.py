"""One turn: from the user's stored message to the end of the answer to it, with the calls of tools in between.

Each generation and each round of results is a message of its own, stored when it begins and while it grows, so that
a turn that is killed anywhere is found as far as it came. A turn may begin at any of its messages: so it is continued.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from inglenook.chat.answer import Answer, Estimate, calls_of
from inglenook.chat.calls import Calls, Cancel
from inglenook.chat.context import fit
from inglenook.chat.counts import TokenCounts
from inglenook.chat.events import (
    AnswerDelta,
    AnswerEnded,
    AnswerPartEnded,
    AnswerPartStarted,
    AnswerRetried,
    AnswerWaiting,
    ApprovalAsked,
    ChatEvent,
    Waiting,
)
from inglenook.chat.history import history_before
from inglenook.chat.watch import Act, Watch
from inglenook.core.conversation import ConversationStore, MessageState, StoredMessage, new_id
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
    Queued,
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
from inglenook.core.messages import Message, Role, ToolResultPart
from inglenook.core.tools import Tool
from inglenook.harmony.inject import ANSWER_NOW

_STATES = {
    StopReason.STOP: MessageState.COMPLETE,
    StopReason.LENGTH: MessageState.LENGTH,
    StopReason.CONTEXT: MessageState.LENGTH,
    StopReason.FAILED: MessageState.FAILED,
}
_TOO_MANY_CALLS = N_("The model has called tools {count} times and not answered. Continue if it should go on.")
_WRONG_CALLS = N_("The model has called tools wrongly {count} times in a row. Continue if it should go on.")
_MISTAKE = N_("Inglenook made a mistake ({kind}). The log has the details.")
_NO_ANSWER = N_("The model ended without a final answer. What it said before is all there is; try again.")
_CIRCLES = N_("The reasoning went round in circles, so the model was made to answer.")
_LOOP = N_("The answer repeated the same words again and again, so it was ended. Continue if that is as it should be.")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one turn: calls of tools, such in a row that cannot be made, tokens, and retries of what was malformed."""

    calls: int = 32
    wrong_calls: int = 4
    tokens: int = 32_768
    retries: int = 2


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a turn works with. `lock` is held while the answer grows and listeners hear of it.

    `grown` is called, with the lock held, with each message that the turn has added to the tree. `approved` has the
    tools that may be called in a conversation without asking again, until the program ends; only turns use it.
    """

    store: ConversationStore
    inference: InferenceService
    model: ModelSource
    tools: tuple[Tool, ...]
    limits: Limits
    emit: Callable[[ChatEvent], None]
    lock: threading.RLock
    grown: Callable[[StoredMessage], None]
    report_bug: Callable[[Exception], None]
    counts: TokenCounts
    approved: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Ending:
    """How it ended. `remark` is for the user where `error` is None."""

    state: MessageState
    stats: GenerationStats | None = None
    error: ErrorInfo | None = None
    remark: ErrorInfo | None = None


class Turn:
    """`run` it once, on the turn worker; `cancel`, `save` and `answer_call` from any thread meanwhile."""

    def __init__(
        self, message: StoredMessage, sampling: Sampling, surroundings: Surroundings, thought_budget: int = 0
    ) -> None:
        """`message` is the model's, empty or to be continued, or that of tools' results, all or some still missing.

        `thought_budget`: tokens of reasoning for each answer or call of the model; 0 is as many as it likes.
        """
        self._message = message  # as stored last, or to be stored next
        self._sampling = sampling
        self._thought_budget = thought_budget
        self._at = surroundings
        self._cancelled = Cancel()
        self._cancel_state = MessageState.STOPPED
        self._calls = Calls(surroundings.tools, self._ask, self._runs_tool, self._cancelled, surroundings.report_bug)
        self._generation: Generation | None = None
        self._heard = 0  # tokens of that generation
        self._answer: Answer | None = None
        self._remark: ErrorInfo | None = None  # for the user, of that answer
        self._asked: ApprovalAsked | None = None
        self._allowed: bool | None = None
        self._allowed_in_chat = False
        self._called = self._written = self._retried = 0  # see Limits
        self._ended = False

    @property
    def conversation_id(self) -> str:
        """Whose answer this is."""
        return self._message.conversation_id

    @property
    def asked(self) -> ApprovalAsked | None:
        """The approval that it waits for."""
        return self._asked

    def cancel(self, state: MessageState) -> None:
        """Asks it to end soon, its message in `state`; the first such state stands."""
        if not self._cancelled.is_set():
            self._cancel_state = state
            self._cancelled.set()
        if (generation := self._generation) is not None:
            generation.cancel()

    def answer_now(self) -> None:
        """Has the model end its reasoning and answer; ignored unless it is reasoning."""
        with self._at.lock:
            if self._answer is not None and self._answer.thinking is not None and self._generation is not None:
                self._generation.inject(ANSWER_NOW, self._heard)

    def answer_call(self, call_id: str, *, allowed: bool, in_chat: bool = False) -> None:
        """The user's answer to `asked`, perhaps for all such calls; ignored if it is not about that call."""

        def answer() -> None:
            if self._asked is not None and self._asked.call_id == call_id:
                self._asked = None  # at once: it is not to be asked of whoever opens the chat now
                self._allowed, self._allowed_in_chat = allowed, in_chat

        self._cancelled.changed(answer)

    def save(self) -> None:
        """Queues for disk what there is of the answer, if it grew since the last time."""
        with self._at.lock:
            if self._answer is not None and self._answer.grown and not self._ended:
                self._store(replace(self._message, message=self._answer.message()))

    def run(self) -> None:
        """Answers; returns after `AnswerEnded` was emitted, whatever happens."""
        try:
            ending = self._go()
        except Cancelled:
            ending = _Ending(self._cancel_state)
        except UserError as failure:
            ending = _Ending(MessageState.FAILED, error=failure.info)
        except Exception as bug:
            mistake = ErrorInfo(_MISTAKE, (("kind", repr(bug)),))
            ending = _Ending(MessageState.FAILED, error=mistake)
            self._at.report_bug(bug)
            if self._generation is not None:
                self._generation.cancel()
        self._end(ending)

    def end(self, state: MessageState) -> None:
        """Ends it in place of `run`."""
        self._end(_Ending(state))

    def _end(self, ending: _Ending) -> None:
        """Stores the final form and tells of it."""
        with self._at.lock:
            message = self._message.message
            if self._answer is not None:
                self._tell(self._answer.finish())
                message = self._answer.message()
            self._ended = True
            said = ending.error or ending.remark
            text = said.text() if said is not None else ""
            self._store(replace(self._message, message=message, state=ending.state, stats=ending.stats, error=text))
            self._at.emit(AnswerEnded(self.conversation_id, self._message, ending.error))

    def _go(self) -> _Ending:
        """The loop: results of tools and generations by turns, until there is nothing to call."""
        while True:
            if self._message.message.role is Role.TOOL:
                if self._called >= self._at.limits.calls:
                    too_many = ErrorInfo(_TOO_MANY_CALLS, (("count", str(self._called)),))
                    return _Ending(MessageState.LENGTH, remark=too_many)
                self._run_tools()
                if self._calls.wrong >= self._at.limits.wrong_calls:
                    wrong = ErrorInfo(_WRONG_CALLS, (("count", str(self._calls.wrong)),))
                    return _Ending(MessageState.LENGTH, remark=wrong)
                self._go_on(Message(Role.ASSISTANT, ()))
            finished = self._generate()
            state = _STATES.get(finished.reason, self._cancel_state)
            assert self._answer is not None
            if finished.reason is not StopReason.STOP:
                return _Ending(state, finished.stats, finished.error, self._remark)
            if not self._answer.calls:
                remark = ErrorInfo(_NO_ANSWER) if self._answer.is_unanswered else self._remark
                return _Ending(state, finished.stats, remark=remark)
            self._go_on(Message(Role.TOOL, ()), finished.stats)

    def _go_on(self, message: Message, stats: GenerationStats | None = None) -> None:
        """The message is complete, and `message` begins below it."""
        with self._at.lock:
            done = replace(self._message, state=MessageState.COMPLETE)
            if self._answer is not None:
                self._tell(self._answer.finish())
                done = replace(done, message=self._answer.message(), stats=stats)
            begun = StoredMessage(
                id=new_id(),
                conversation_id=done.conversation_id,
                parent_id=done.id,
                message=message,
                state=MessageState.STREAMING,
                created=time.time(),
                effort=done.effort,
            )
            self._store(done)
            self._answer = None
            self._store(begun)
            self._at.grown(begun)

    def _store(self, message: StoredMessage) -> None:
        self._message = message
        self._at.store.save_message(message)

    # Tools.

    def _run_tools(self) -> None:
        """Adds the results that are missing, one by one."""
        assert self._message.parent_id is not None
        calls = calls_of(self._at.store.tree(self.conversation_id).get(self._message.parent_id).message)
        longest = self._longest_result()
        for call in calls[len(self._message.message.parts) :]:
            if self._cancelled.is_set():
                raise Cancelled
            self._called += 1
            result = ToolResultPart(call.name, self._calls.result(call, longest), call.call_id)
            with self._at.lock:
                said = self._message.message
                self._store(replace(self._message, message=replace(said, parts=(*said.parts, result))))
        if self._cancelled.is_set():
            raise Cancelled

    def _longest_result(self) -> int:
        """Characters of a result: as many as the context has tokens, which is about a quarter of it."""
        spec = self._spec()
        return self._load(spec).n_ctx

    def _ask(self, call_id: str, name: str, arguments: str) -> bool:
        """Waits for the user's word on a call, as long as it takes."""
        if (self.conversation_id, name) in self._at.approved:
            return True
        with self._at.lock:
            self._allowed, self._allowed_in_chat = None, False
            self._asked = ApprovalAsked(self.conversation_id, self._message.id, call_id, name, arguments)
            self._at.emit(self._asked)
        try:
            self._cancelled.wait_for(lambda: self._allowed is not None)
        finally:
            self._asked = None
        if self._allowed and self._allowed_in_chat:
            self._at.approved.add((self.conversation_id, name))
        return bool(self._allowed)

    def _runs_tool(self) -> None:
        self._wait_for(Waiting.TOOL)

    # The model.

    def _generate(self) -> Finished:
        """Has the model write one message, and write again what was malformed."""
        spec = self._spec()
        info = self._load(spec)
        history = history_before(self._at.store.tree(self.conversation_id), self._message, self._calls.specs)
        count = self._at.counts.counter(spec, info.vocabulary, self.conversation_id)
        answer = Answer(info, self._message.id, self._message.message, self._calls.recipients)
        segments = fit(history, info.n_ctx, info.vocabulary, count, answer.ids)
        with self._at.lock:
            self._message = replace(self._message, model=info.name)
            self._answer, self._remark = answer, None
        while True:
            left = self._at.limits.tokens - self._written
            if left <= 0:
                return Finished(StopReason.LENGTH)
            held = None if answer.ids else self._calls.constraint  # what was begun without one may not be by it
            request = GenerateRequest(spec, segments, self._sampling_now(), left, constraint=held)
            finished = self._sample(request, answer)
            retry = self._retried < self._at.limits.retries and answer.is_broken
            if finished.reason is not StopReason.STOP or not retry:
                return finished
            try:
                segments = fit(history, info.n_ctx, info.vocabulary, count, answer.good_ids)
            except UserError:  # no room for another try: what there is has to do
                return finished
            self._retried += 1
            with self._at.lock:
                self._at.emit(AnswerRetried(self.conversation_id, self._message.id, answer.go_back()))

    def _sampling_now(self) -> Sampling:
        """For a retry another chance than before, the same one each time where the first try left nothing to it."""
        sampling, retried = self._sampling, self._retried
        if not retried:
            return sampling
        if sampling.temperature == 0:
            return replace(sampling, temperature=1.0, seed=retried)
        return sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + retried)

    def _sample(self, request: GenerateRequest, answer: Answer) -> Finished:
        self._wait_for(Waiting.READING)
        reading = Estimate()
        watch = Watch(answer, self._thought_budget)
        is_loop = False
        self._heard = 0
        for event in self._events(self._at.inference.generate(request)):
            match event:
                case Queued():
                    self._wait_for(Waiting.QUEUED)
                case Loading(fraction):  # the engine crashed since, or another program loaded another model
                    self._wait_for(Waiting.LOADING, fraction)
                case Prefill(done, total, _):
                    fraction = done / total if total else 1.0
                    self._wait_for(Waiting.READING, fraction, reading.seconds_left(fraction))
                case Tokens(ids, pieces) if not is_loop:
                    self._written += len(ids)
                    is_loop = self._take(zip(ids, pieces, strict=True), answer, watch)
                case Finished(reason, stats) if is_loop and not self._cancelled.is_set():
                    self._remark = ErrorInfo(_LOOP)
                    return event if reason is StopReason.FAILED else Finished(StopReason.LENGTH, stats)
                case Finished():
                    if watch.thought_in_circles and event.reason is StopReason.STOP:
                        self._remark = ErrorInfo(_CIRCLES)
                    return event
        raise RuntimeError("a generation ended without Finished")

    def _take(self, tokens: Iterable[tuple[int, bytes]], answer: Answer, watch: Watch) -> bool:
        """Adds to the answer; returns whether it is a loop, so that no more is to be added."""
        generation = self._generation
        assert generation is not None
        with self._at.lock:
            for token_id, piece in tokens:
                self._heard += 1
                self._tell(answer.feed(token_id, piece))
                match watch.feed(token_id, piece):
                    case Act.ANSWER_NOW:
                        generation.inject(ANSWER_NOW, self._heard)
                    case Act.END:
                        generation.cancel()
                        return True
        return False

    def _spec(self) -> ModelSpec:
        """Of the model that the conversation remembers; it is loaded, where another one was in use."""
        remembered = self._at.store.tree(self.conversation_id).conversation.model
        return self._at.model.spec(
            self._cancelled.is_set, remembered, lambda fraction: self._wait_for(Waiting.LOADING, fraction)
        )

    def _load(self, spec: ModelSpec) -> ModelInfo:
        """Loads the model if need be, telling of the progress (which `model_info` alone would not)."""
        status = self._at.inference.status()
        if status.state is not EngineState.READY or status.model is None or status.model.spec != spec:
            self._wait_for(Waiting.STARTING)
            loading = Estimate()
            for event in self._events(self._at.inference.load(spec)):
                match event:
                    case Queued():
                        self._wait_for(Waiting.QUEUED)
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
        self._at.emit(AnswerWaiting(self.conversation_id, self._message.id, waiting, fraction, seconds_left))

    def _tell(self, events: Sequence[HarmonyEvent]) -> None:
        answer = self._answer
        assert answer is not None
        ids = self.conversation_id, self._message.id
        for event in events:
            match event:
                case PartStarted(index, channel, name):
                    self._at.emit(AnswerPartStarted(*ids, index, channel, name))
                case PartDelta(index, text):
                    self._at.emit(AnswerDelta(*ids, index, text, answer.tokens(index)))
                case PartEnded(index):
                    self._at.emit(AnswerPartEnded(*ids, index, answer.seconds(index), answer.tokens(index)))
