"""The work of the thread that owns llama.cpp: one job after the other, counts in between."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.events import EngineEvent, Finished, GenerationStats, Loading, Prefill, StopReason
from inglenook.core.i18n import N_
from inglenook.core.inference import EngineState, EngineStatus, GenerateRequest, ModelSpec
from inglenook.engine import llama
from inglenook.engine.llama import DecodeError, LoadCancelled
from inglenook.engine.loaded import Identity, Loaded, Vocabulary, check_model_file
from inglenook.engine.protocol import Answer, Bench, Count, Happened, Load, Run
from inglenook.engine.sampling import Sampler
from inglenook.engine.schedule import Job, Schedule

_log = logging.getLogger(__name__)
FAILED = N_("The engine failed inside. Try again; if it happens again, please report it with the engine's log.")
_SMALLEST_PIECE = 32  # tokens for which a checkpoint is worth an evaluation of its own


class _CancelledError(Exception):
    """The running job was cancelled."""


class Runner:
    """Works on the jobs of a `Schedule`, for ever. `publish` tells every client the engine's state."""

    def __init__(self, publish: Callable[[EngineStatus], None]) -> None:
        self.schedule = Schedule(self._interrupt)
        self._publish = publish
        self._loaded: Loaded | None = None
        self._vocabulary: Vocabulary | None = None  # of another model than the loaded one

    def run(self) -> None:
        """Never returns: the process ends from another thread."""
        llama.start()
        while True:
            job = self.schedule.next()
            match job.command:
                case Count():
                    self._count(job)
                case Bench():
                    self._bench(job, job.command)
                case Run() | Load():
                    self._work(job)

    def _interrupt(self, stop: bool) -> None:
        """Called by any thread."""
        if (loaded := self._loaded) is not None:
            (loaded.context.abort if stop else loaded.context.resume)()

    # -- jobs with events --

    def _work(self, job: Job) -> None:
        finished = Finished(StopReason.FAILED, error=ErrorInfo(FAILED))
        try:
            if isinstance(job.command, Run):
                self._ensure(job.command.request.model, job)
                finished = _Generating(self, job, job.command.request, self._loaded_now()).run()
            elif isinstance(job.command, Load):
                self._ensure(job.command.model, job)
                finished = Finished(StopReason.CANCELLED if job.cancelled else StopReason.STOP)
        except (LoadCancelled, _CancelledError):
            finished = Finished(StopReason.CANCELLED)
        except UserError as error:
            finished = Finished(StopReason.FAILED, error=error.info)
        except Exception:  # our bug: it is logged and told, and the engine goes on
            _log.exception("a job failed")
        job.client.outbox.put(Happened(job.command.id, finished))

    def tell(self, job: Job, event: EngineEvent) -> None:
        """Sends an event of `job`."""
        job.client.outbox.put(Happened(job.command.id, event))

    def between(self, job: Job) -> None:
        """To be called often while a job runs: serves counts. Raises `_CancelledError`."""
        if job.cancelled:
            raise _CancelledError
        while self.schedule.has_counts and (count := self.schedule.next_count()):
            self._count(count)

    # -- the model --

    def _loaded_now(self) -> Loaded:
        assert self._loaded is not None
        return self._loaded

    def _ensure(self, spec: ModelSpec, job: Job) -> None:
        """Loads `spec` unless it is loaded. Raises `UserError`, `LoadCancelled`."""
        path = Path(spec.path)
        if self._loaded is not None and self._loaded.identity == _identity(spec):
            return
        check_model_file(path)
        self._unload()
        told, when = -1.0, 0.0

        def progress(fraction: float) -> bool:
            nonlocal told, when
            now = time.monotonic()
            if (fraction - told >= 0.01 and now - when >= 0.02) or fraction >= 1.0 > told:
                told, when = fraction, now
                self.tell(job, Loading(fraction))
                self._publish(EngineStatus(EngineState.LOADING, fraction=fraction, pid=os.getpid()))
            return not job.cancelled

        started = time.monotonic()
        try:
            progress(0.0)
            loaded = Loaded(_identity(spec), progress)
        except BaseException as error:
            told_error = error.info if isinstance(error, UserError) else None
            self._publish(EngineStatus(EngineState.OFF, error=told_error, pid=os.getpid()))
            raise
        _log.info("loaded in %.2f s: %s", time.monotonic() - started, loaded.describe())
        self._loaded = loaded
        self._publish(EngineStatus(EngineState.READY, loaded.info, 1.0, pid=os.getpid()))

    def _unload(self) -> None:
        if (loaded := self._loaded) is not None:
            self._loaded = None
            loaded.close()

    # -- jobs with an answer --

    def _count(self, job: Job) -> None:
        command = job.command
        assert isinstance(command, Count)
        try:
            tokenizer = self._vocabulary_of(command.model).tokenizer
            answer = Answer(command.id, len(tokenizer.tokenize(command.segments)))
        except UserError as error:
            answer = Answer(command.id, error=error.info)
        except Exception:  # as in _work
            _log.exception("counting failed")
            answer = Answer(command.id, error=ErrorInfo(FAILED))
        job.client.outbox.put(answer)

    def _vocabulary_of(self, spec: ModelSpec) -> Vocabulary:
        if self._loaded is not None and self._loaded.info.spec.path == spec.path:
            return self._loaded.vocabulary
        if self._vocabulary is None or self._vocabulary.path != spec.path:
            check_model_file(Path(spec.path))
            if self._vocabulary is not None:
                self._vocabulary.model.close()
                self._vocabulary = None
            self._vocabulary = Vocabulary(llama.Model(Path(spec.path), vocabulary_only=True), spec.path)
        return self._vocabulary

    def _bench(self, job: Job, command: Bench) -> None:
        try:
            self._ensure(command.model, job)
            answer = Answer(command.id, self._loaded_now().bench(command.prefill, command.decode))
        except LoadCancelled:
            answer = Answer(command.id)
        except UserError as error:
            answer = Answer(command.id, error=error.info)
        except Exception:  # as in _work
            _log.exception("a benchmark failed")
            answer = Answer(command.id, error=ErrorInfo(FAILED))
        job.client.outbox.put(answer)


def _identity(spec: ModelSpec) -> Identity:
    """What a loaded model must match; a file that was written anew is another one."""
    try:
        found = Path(spec.path).stat()
    except OSError:
        return spec, 0, 0
    return spec, found.st_size, found.st_mtime_ns


class _Generating:
    """One generation: tokenize, reuse what the cache has, prefill, decode."""

    def __init__(self, runner: Runner, job: Job, request: GenerateRequest, loaded: Loaded) -> None:
        self._runner = runner
        self._job = job
        self._request = request
        self._loaded = loaded
        self._prompt = loaded.vocabulary.tokenizer.tokenize(request.segments)
        self._turn = self._turn_start()
        self._cached = 0
        self._output = 0
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
        try:
            self._prefill()
            reason = self._decode(n_ctx)
        except _CancelledError:
            reason = StopReason.CANCELLED
        except DecodeError as error:
            self._loaded.cache.after_failure()
            if not self._job.cancelled:
                _log.error("llama_decode returned %d", error.code)
                raise UserError(
                    N_("The model could not read the text (code {code}). Try again, or restart Inglenook."),
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
        done = self._cached = cache.reuse(self._prompt)
        total = len(self._prompt) - done
        tokens = np.asarray(self._prompt, np.int32)
        self._runner.tell(self._job, Prefill(0, total, self._cached))
        try:
            for end in self._piece_ends(done):
                self._runner.between(self._job)
                context.decode(tokens[done:end], done, output=end == len(tokens))
                cache.extend(self._prompt[done:end])
                done = end
                if end in (self._turn, len(tokens)):
                    cache.checkpoint()
                if end < len(tokens):
                    self._runner.tell(self._job, Prefill(done - self._cached, total, self._cached))
            context.synchronize()
        finally:
            self._prefill_s = time.monotonic() - started
        self._runner.tell(self._job, Prefill(total, total, self._cached))

    def _piece_ends(self, start: int) -> list[int]:
        """Where the pieces to evaluate end: each at most a batch, and one before the last message."""
        stops = [len(self._prompt)]
        if self._turn >= start + _SMALLEST_PIECE:
            stops.insert(0, self._turn)
        ends = []
        for stop in stops:
            while start < stop:
                start = min(start + self._loaded.context.batch_size, stop)
                ends.append(start)
        return ends

    def _turn_start(self) -> int:
        """Where the last message before the answer begins (the one that people edit); 0 if there is none."""
        mark = self._loaded.message_start
        starts = [i for i, token in enumerate(self._prompt) if token == mark]
        return starts[-2] if len(starts) > 1 else 0

    def _decode(self, n_ctx: int) -> StopReason:
        """The inner loop: what it does for each token is what the path costs over llama.cpp alone."""
        loaded, job, runner, request = self._loaded, self._job, self._runner, self._request
        context, cache, piece = loaded.context, loaded.cache, loaded.model.piece
        put, number = job.client.outbox.put_token, job.command.id
        stops = frozenset[int]() if request.ignore_stop else loaded.model.stops
        sampler = Sampler(request.sampling, loaded.model.n_vocab)
        position = len(self._prompt)
        limit = n_ctx - position
        reason = StopReason.CONTEXT
        if 0 < request.max_tokens <= limit:
            limit, reason = request.max_tokens, StopReason.LENGTH
        started = time.monotonic()
        try:
            while True:
                token = sampler.pick(context.logits())
                put(number, token, piece(token))
                self._output += 1
                if self._output == 1:
                    self._first_token = time.monotonic() - job.arrived
                if token in stops:
                    return StopReason.STOP
                if self._output >= limit:
                    return reason
                runner.between(job)
                context.decode_one(token, position)
                cache.append(token)
                position += 1
        finally:
            self._decode_s = time.monotonic() - started
