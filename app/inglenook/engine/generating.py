"""One generation in the engine: what the cache has is reused, the rest of the prompt evaluated, tokens are picked."""

from __future__ import annotations

import bisect
import codecs
import logging
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from inglenook.core.errors import UserError
from inglenook.core.events import EngineEvent, Finished, GenerationStats, Prefill, StopReason
from inglenook.core.i18n import N_
from inglenook.core.inference import GenerateRequest
from inglenook.engine.constrain import Guard
from inglenook.engine.llama import ABORTED, DecodeError, Grammar
from inglenook.engine.loaded import Loaded
from inglenook.engine.protocol import Inject
from inglenook.engine.sampling import Sampler
from inglenook.engine.schedule import Job
from inglenook.engine.speculation import Adaptive
from inglenook.engine.states import SHORTEST
from inglenook.engine.steps import Policy, Steps

_log = logging.getLogger(__name__)
_FAR = 64  # tokens from a place to return to: from there on another one is worth its memory
_SMALLEST_PIECE = 32  # tokens for which a checkpoint is worth an evaluation of its own
_PIECE_AHEAD = 64  # tokens to evaluate at once ahead: what is broken off for somebody who comes is lost; 4% slower
_LONGEST_CHARACTER = 4  # bytes, so as many tokens at most
_ANY = 0  # a token, whichever: of a prompt the last one is never reused


class JobCancelled(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The running job was cancelled."""


class Aside(Protocol):
    """What can be put aside for another's work."""

    def leave(self) -> None:
        """The context is about to be another's."""

    def come_back(self, seconds: float, begin: Callable[[], None]) -> bool:
        """The context is to be as it was before the others' work of so many seconds; False if that was interrupted.

        `begin` is called before each evaluation. Raises `DecodeError`.
        """
        ...


class Service(Protocol):
    """What a generation needs of the runner."""

    def tell(self, job: Job, event: EngineEvent) -> None:
        """Sends an event of `job`."""

    def between(self, job: Job, work: Aside) -> None:
        """To be called often; `work` may be put aside meanwhile. Raises `JobCancelled`, `DecodeError`."""

    def interruptible(self, job: Job, wanted: bool) -> bool:
        """Whether an evaluation may be broken off for others from now on; returns whether it could."""
        ...


class Generating:
    """One generation: tokenize, reuse what the cache has, prefill, decode."""

    def __init__(
        self,
        runner: Service,
        job: Job,
        request: GenerateRequest,
        loaded: Loaded,
        *,
        ahead: bool = False,
        policy: Policy | None = None,
    ) -> None:
        """`ahead`: for `run_ahead`. `policy` decides about drafts; tests have their own."""
        self._runner = runner
        self._job = job
        self._request = request
        self._loaded = loaded
        self._policy = policy or (Adaptive(loaded.costs) if request.speculate else None)
        self._prompt = loaded.vocabulary.tokenizer.tokenize(request.segments)
        mark = loaded.message_start
        # Where messages start, but for the answer's: places that people come back to, the last one most of all.
        self._starts = [i for i, token in enumerate(self._prompt) if token == mark and i > 0]
        if self._starts and not ahead:
            self._starts.pop()
        self._ahead = ahead
        self._cached = 0
        self._guard: Guard | None = None
        self._output = 0
        self._steps: Steps | None = None
        self._left: list[int] | None = None  # what was in the cache when this was put aside
        self._away = 0.0  # seconds that it was
        self._first_token = 0.0
        self._prefill_s = 0.0
        self._decode_s = 0.0

    def run(self) -> Finished:
        """Does it all and tells the events but the last, which is returned. Raises `UserError`."""
        n_ctx = self._loaded.context.n_ctx
        if not self._prompt:
            raise UserError(N_("There is nothing to answer. Write a message first."))
        if len(self._prompt) >= n_ctx:
            raise UserError(
                N_("The text has {tokens} tokens; the context window has {n_ctx}. Shorten it or enlarge the window."),
                tokens=len(self._prompt),
                n_ctx=n_ctx,
            )
        if (constraint := self._request.constraint) is None:
            return self._finished(decode=True)
        model = self._loaded.model
        self._guard = Guard(constraint, self._loaded.vocabulary.lexicon, lambda grammar: Grammar(model, grammar))
        try:
            self._guard.resume(self._prompt)
            return self._finished(decode=True)
        finally:
            self._guard.close()

    def run_ahead(self, *, alone: bool) -> Finished:
        """Evaluates the prompt, if it fits and is not all there; `alone`: so that the cache holds nothing after it."""
        if len(self._prompt) >= self._loaded.context.n_ctx:
            return Finished(StopReason.CONTEXT)
        cache = self._loaded.cache
        if cache.holds(self._prompt) and not (alone and len(cache) > len(self._prompt)):
            return Finished(StopReason.STOP)
        return self._finished(decode=False)

    def _finished(self, *, decode: bool) -> Finished:
        """The end event of it all, or of the prefill alone. Raises `UserError`."""
        try:
            self._prefill()
            reason = self._decode(self._loaded.context.n_ctx) if decode else StopReason.STOP
        except JobCancelled:
            reason = StopReason.CANCELLED
        except DecodeError as error:
            self._loaded.cache.after_failure()
            if not self._job.cancelled:
                _log.error("llama_decode returned %d", error.code)
                self._loaded.is_broken = True
                raise UserError(
                    N_("The model could not read the text (code {code}). Try again: it is loaded anew."),
                    code=error.code,
                ) from error
            reason = StopReason.CANCELLED
        stats = GenerationStats(
            len(self._prompt), self._cached, self._output, self._first_token, self._prefill_s, self._decode_s
        )
        return Finished(reason, stats)

    def _prefill(self) -> None:
        cache, context = self._loaded.cache, self._loaded.context
        started = time.monotonic()
        self._restore()
        done = self._cached = cache.reuse(self._prompt)
        total = len(self._prompt) - done
        if not self._ahead:
            self._mark(done)
        tokens = np.asarray(self._prompt, np.int32)
        places = {*self._starts, len(tokens)}
        self._runner.tell(self._job, Prefill(0, total, self._cached))
        self._runner.interruptible(self._job, True)
        try:
            for end in self._piece_ends(done):
                self._evaluate(tokens[done:end], output=end == len(tokens))
                done = end
                if end in places:
                    cache.checkpoint()
                if end < len(tokens):
                    self._runner.tell(self._job, Prefill(done - self._cached, total, self._cached))
            self._runner.interruptible(self._job, False)
            context.synchronize()
        finally:
            self._prefill_s = time.monotonic() - started - self._away
        self._runner.tell(self._job, Prefill(total, total, self._cached))

    def _mark(self, done: int) -> None:
        """Makes where the evaluation begins a place to return to, if there is none nearby: after an answer, mostly."""
        cache, end = self._loaded.cache, len(self._prompt)
        if done - cache.place >= _FAR or end - cache.place > self._loaded.context.batch_size:
            cache.checkpoint()

    def _evaluate(self, tokens: npt.NDArray[np.int32], *, output: bool) -> None:
        """A piece of the prompt; again, if that was broken off for others. Raises `DecodeError`, `JobCancelled`."""
        cache, start = self._loaded.cache, len(self._loaded.cache)
        while True:
            self._runner.between(self._job, self)
            try:
                self._loaded.context.decode(tokens, start, output=output)
            except DecodeError as error:
                cache.after_failure()
                mine = self._job.gives_way and not self._job.cancelled  # nobody else breaks it off to begin it again
                if error.code != ABORTED or not mine or len(cache) != start:
                    raise
            else:
                cache.extend(tokens.tolist())
                return

    # -- put aside for others --

    def leave(self) -> None:
        """See `Aside`."""
        if self._steps is not None:
            self._steps.drop()
        self._left = list(self._loaded.cache.tokens)

    def come_back(self, seconds: float, begin: Callable[[], None]) -> bool:
        """See `Aside`. What is not kept in memory is evaluated again."""
        assert self._left is not None
        cache, context = self._loaded.cache, self._loaded.context
        tokens = np.asarray(self._left, np.int32)
        may = self._runner.interruptible(self._job, True)
        try:
            done = cache.reuse([*self._left, _ANY])
            while done < len(tokens):
                begin()
                end = min(done + context.batch_size, len(tokens))
                context.decode(tokens[done:end], done, output=False)
                cache.extend(self._left[done:end])
                done = end
        except DecodeError as error:
            cache.after_failure()
            if error.code != ABORTED:
                raise
            return False
        finally:
            self._runner.interruptible(self._job, may)
        self._away += seconds
        return True

    def _restore(self) -> None:
        """Takes a saved state where it has more of the prompt than the cache."""
        states, cache = self._loaded.states, self._loaded.cache
        if states is None:
            return
        saved = states.best(self._prompt, cache.reusable(self._prompt) + SHORTEST, cache.room())
        if saved is None or (state := states.read(saved)) is None:
            return
        cache.keep_for(self._prompt)
        if self._loaded.context.restore(state):
            cache.restored(saved.tokens.tolist())
        else:
            _log.warning("llama.cpp refused a saved state of %d tokens", len(saved.tokens))
            cache.clear()

    def _piece_ends(self, start: int) -> list[int]:
        """Where pieces to evaluate end: at most a batch each, at the start of a message if one is in its second half.

        After a piece or more without such an end, at any start of one: places to return to are not far apart.
        The last message begins a piece of its own, unless the one before that would be very small. While somebody
        waits, what goes on from the cache and fits a batch is one piece: two take longer, and to evaluate as much again
        when that message is edited does not.
        """
        size, end = self._loaded.context.batch_size, len(self._prompt)
        if self._ahead:
            size = min(size, _PIECE_AHEAD)
        elif start > 0 and end - start <= size:
            return [end]
        last = self._starts[-1] if self._starts else 0
        ends, place = [], start
        while start < end:
            reach = min(start + size, end)
            if start + _SMALLEST_PIECE <= last <= reach:
                reach = last
            elif reach < end:
                at = bisect.bisect_right(self._starts, reach) - 1
                least = 1 if start - place >= size else size // 2
                if at >= 0 and self._starts[at] >= start + least:
                    reach = place = self._starts[at]
            ends.append(reach)
            start = reach
        return ends

    def _decode(self, n_ctx: int) -> StopReason:
        """The inner loop: what it does for each token is what the path costs over llama.cpp alone."""
        loaded, job, runner, request = self._loaded, self._job, self._runner, self._request
        piece, steps = loaded.model.piece, Steps(loaded.context, loaded.cache, self._policy)
        self._steps = steps
        put, number = job.client.outbox.put_token, job.command.id
        stops = frozenset[int]() if request.ignore_stop else loaded.model.stops
        sampler, guard = Sampler(request.sampling, loaded.model.n_vocab), self._guard
        limit = n_ctx - len(self._prompt)
        reason = StopReason.CONTEXT
        if 0 < request.max_tokens <= limit:
            limit, reason = request.max_tokens, StopReason.LENGTH
        started = time.monotonic() - self._away
        try:
            while True:
                if job.injection is not None:
                    self._inject(job.injection, limit, steps)
                token = sampler.pick(steps.logits(), guard)
                if guard is not None:
                    guard.take(token)
                put(number, token, piece(token))
                self._output += 1
                if not self._first_token:
                    self._first_token = time.monotonic() - job.arrived
                if token in stops:
                    return StopReason.STOP
                if self._output >= limit:
                    return reason
                runner.between(job, self)
                steps.take(token, limit - self._output)
        finally:
            steps.drop()
            self._decode_s = time.monotonic() - started - self._away

    def _inject(self, injection: Inject, limit: int, steps: Steps) -> None:
        """Goes on with tokens that were not sampled, if they are still of use."""
        job, loaded = self._job, self._loaded
        cache, piece = loaded.cache, loaded.model.piece
        ids = loaded.vocabulary.tokenizer.tokenize(injection.segments)
        said = cache.tokens[len(self._prompt) :]
        came = said[injection.after :]
        control = loaded.model.specials.values()
        late = any(token in control for token in came) or self._output + len(ids) >= limit
        if not late and _ends_within_a_character(b"".join(map(piece, said[-_LONGEST_CHARACTER:]))):
            return  # with the next token, or a later one
        job.injection = None
        if late or not ids or (self._guard is not None and not self._guard.takes(ids)):
            return
        for token in ids:
            job.client.outbox.put_token(job.command.id, token, piece(token))
        self._output += len(ids)
        steps.drop()
        loaded.context.decode(ids, len(cache))
        cache.extend(ids)
        steps.put_in(ids)


def _ends_within_a_character(data: bytes) -> bool:
    """Whether UTF-8 text, which may begin anywhere, ends in the first bytes of a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data)
    return bool(decoder.getstate()[0])
