"""The work of the thread that owns llama.cpp: one job after the other, counts in between."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.events import EngineEvent, Finished, Loading, Prefill, Queued, StopReason
from inglenook.core.i18n import N_
from inglenook.core.inference import Counts, EngineState, EngineStatus, GenerateRequest, ModelSpec
from inglenook.engine import llama, memory
from inglenook.engine.generating import Aside, Generating, JobCancelled
from inglenook.engine.llama import LoadCancelled
from inglenook.engine.loaded import Identity, Loaded, Vocabulary, check_model_file
from inglenook.engine.protocol import Ahead, Answer, Bench, Count, Happened, Load, Run
from inglenook.engine.pulse import Pulse
from inglenook.engine.schedule import Job, Schedule
from inglenook_convert.headers import HeaderError

_log = logging.getLogger(__name__)
LOOK_SECONDS = 10.0  # between two looks at the memory while there is nothing to do but states are kept in it
FAILED = N_("The engine failed inside. Try again; if it happens again, please report it with the engine's log.")


class Runner:
    """Works on the jobs of a `Schedule`, for ever. `publish` tells every client the engine's state."""

    def __init__(self, publish: Callable[[EngineStatus], None], states: Path | None = None) -> None:
        self.schedule = Schedule(self._interrupt)
        self.pulse = Pulse()
        self._publish = publish
        self._states = states
        self._loaded: Loaded | None = None
        self._vocabulary: Vocabulary | None = None  # of another model than the loaded one
        self._is_aside = False  # a job is put aside

    def run(self) -> None:
        """Never returns: the process ends from another thread. Raises MemoryError: nothing is to be relied on then."""
        llama.start()
        while True:
            self.pulse.end()
            job = self.schedule.next(LOOK_SECONDS if self._loaded and self._loaded.cache.kept_bytes else None)
            self.pulse.begin()
            if job is None:
                self._loaded_now().cache.heed_memory()
                continue
            match job.command:
                case Count():
                    self._count(job)
                case Bench():
                    self._bench(job, job.command)
                case Run() | Load() | Ahead():
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
                finished = Generating(self, job, job.command.request, self._loaded_now()).run()
            elif isinstance(job.command, Ahead):
                finished = self._work_ahead(job, job.command)
                if finished.reason is StopReason.STOP and job.command.keep and self._keep(job, job.command, finished):
                    return
            elif isinstance(job.command, Load):
                self._ensure(job.command.model, job)
                finished = Finished(StopReason.CANCELLED if job.cancelled else StopReason.STOP)
        except (LoadCancelled, JobCancelled):
            finished = Finished(StopReason.CANCELLED)
        except UserError as error:
            finished = Finished(StopReason.FAILED, error=error.info)
        except MemoryError:
            raise
        except Exception:  # our bug: it is logged and told, and the engine goes on
            _log.exception("a job failed")
        self._drop_broken()
        job.client.outbox.put(Happened(job.command.id, finished))

    def _work_ahead(self, job: Job, command: Ahead) -> Finished:
        """Never loads a model: what may be of use is not worth a loaded one."""
        if self._loaded is None or self._loaded.identity != _identity(command.model):
            return Finished(StopReason.CANCELLED)
        request = GenerateRequest(command.model, command.segments)
        return Generating(self, job, request, self._loaded, ahead=True).run_ahead(alone=bool(command.keep))

    def _keep(self, job: Job, command: Ahead, finished: Finished) -> bool:
        """Writes the cache's state, on a thread that then tells the end of `job`; False if it is not worth it."""
        loaded = self._loaded_now()
        states, tokens = loaded.states, list(loaded.cache.tokens)
        prompt = loaded.vocabulary.tokenizer.tokenize(command.segments)
        if states is None or prompt != tokens or not states.wants(command.keep, tokens):
            return False
        state = loaded.context.save()

        def write() -> None:
            try:
                states.save(command.keep, tokens, state)
            except OSError as error:  # it only costs time later
                _log.warning("the state could not be saved: %s", error)
            finally:  # somebody waits for it, whatever happens
                job.client.outbox.put(Happened(job.command.id, finished))

        threading.Thread(target=write, name="states").start()
        return True

    def tell(self, job: Job, event: EngineEvent) -> None:
        """Sends an event of `job`."""
        if isinstance(event, Prefill):
            self.pulse.read(event)
        job.client.outbox.put(Happened(job.command.id, event))

    def between(self, job: Job, work: Aside) -> None:
        """To be called often while a job runs: serves counts, and those that go first. Raises `JobCancelled`."""
        if job.cancelled:
            raise JobCancelled
        self.pulse.step()
        self._loaded_now().spare(job.client.spares)
        while self.schedule.has_counts and (count := self.schedule.next_count()):
            with self.pulse.aside():
                self._count(count)
        if self.schedule.has_first:
            if _identity(job.model) == self._loaded_now().identity:
                self._give_way(job, work)
            else:  # the file is another one now: its model would take this one's place
                self.schedule.go_on(job)

    def _give_way(self, job: Job, work: Aside) -> None:
        """Puts `job` aside for those that go first. Raises `JobCancelled`, `DecodeError`."""
        began = time.monotonic()
        work.leave()
        with self.pulse.aside():
            while True:
                while first := self.schedule.first(job):
                    if isinstance(first.command, Run):  # anything else takes no time
                        self.tell(job, Queued())
                    self.pulse.begin()
                    self._is_aside = True
                    self._work(first)
                    self._is_aside = False
                    self.schedule.back(job)
                if job.cancelled:
                    raise JobCancelled
                if self._loaded_now().is_broken:
                    raise UserError(N_("The model failed meanwhile. Try again: it is loaded anew."))
                if work.come_back(time.monotonic() - began, self.pulse.begin):
                    return

    def interruptible(self, job: Job, wanted: bool) -> bool:
        """Whether an evaluation of `job` may be broken off from now on. Tells whether it could, for somebody else."""
        was = job.interruptible
        self.schedule.interruptible(job, wanted)
        return was

    # -- the model --

    def _loaded_now(self) -> Loaded:
        assert self._loaded is not None
        return self._loaded

    def _ensure(self, spec: ModelSpec, job: Job) -> None:
        """Loads `spec` unless it is loaded. Raises `UserError`, `LoadCancelled`: the old model is there then.

        It stays until the new one stands, unless the memory is not enough for both: then it goes first.
        """
        path = Path(spec.path)
        before = self._loaded
        if before is not None and before.identity == _identity(spec):
            return
        if self._is_aside:  # what is put aside needs the loaded one
            raise UserError(N_("The model's file has just changed. Send it again."))
        check_model_file(path)
        if before is not None and not memory.fits_beside(spec, before.info.allocated):
            self._unload()
        try:
            loaded = self._load(_identity(spec), job)
        except BaseException as error:
            self._bring_back(before, error)
            raise
        self._unload()
        self._loaded = loaded
        self._publish(EngineStatus(EngineState.READY, loaded.info, 1.0, pid=os.getpid()))

    def _bring_back(self, before: Loaded | None, error: BaseException) -> None:
        """Has the model of before in memory again, and tells of it; without one there is none."""
        if before is not None and self._loaded is None and not isinstance(error, MemoryError):
            try:
                self._loaded = self._load(before.identity)
            except UserError as second:
                _log.warning("the model of before could not be loaded again: %s", second)
        if (loaded := self._loaded) is not None:
            self._publish(EngineStatus(EngineState.READY, loaded.info, 1.0, pid=os.getpid()))
        else:
            told_error = error.info if isinstance(error, UserError) else None
            self._publish(EngineStatus(EngineState.OFF, error=told_error, pid=os.getpid()))

    def _load(self, identity: Identity, job: Job | None = None) -> Loaded:
        """Loads a model, for `job` if there is one. Raises `UserError`, `LoadCancelled`."""
        stays = self._loaded.info if self._loaded is not None else None
        told, when = -1.0, 0.0

        def progress(fraction: float) -> bool:
            nonlocal told, when
            self.pulse.begin()
            now = time.monotonic()
            if (fraction - told >= 0.01 and now - when >= 0.02) or fraction >= 1.0 > told:
                told, when = fraction, now
                if job is not None:
                    self.tell(job, Loading(fraction))
                self._publish(EngineStatus(EngineState.LOADING, stays, fraction, pid=os.getpid()))
            return job is None or not job.cancelled

        started = time.monotonic()
        progress(0.0)
        self._forget_vocabulary()  # the model has its own, and needs the memory
        loaded = Loaded(identity, progress, self._states)
        _log.info("loaded in %.2f s: %s", time.monotonic() - started, loaded.describe())
        return loaded

    def _drop_broken(self) -> None:
        """After a failed evaluation the model goes: the next load finds the devices that are there then."""
        if self._loaded is not None and self._loaded.is_broken and not self._is_aside:
            self._unload()
            self._publish(EngineStatus(EngineState.OFF, pid=os.getpid()))

    def _unload(self) -> None:
        if (loaded := self._loaded) is not None:
            self._loaded = None
            loaded.close()

    # -- jobs with an answer --

    def _count(self, job: Job) -> None:
        command = job.command
        assert isinstance(command, Count)
        try:
            vocabulary = self._vocabulary_of(command.model)
            tokens = tuple(len(vocabulary.tokenizer.tokenize(text)) for text in command.texts)
            counts = Counts(tokens, vocabulary.model.vocabulary_hash, self._context_of(command.model))
            answer = Answer(command.id, counts)
        except UserError as error:
            answer = Answer(command.id, error=error.info)
        except MemoryError:
            raise
        except Exception:  # as in _work
            _log.exception("counting failed")
            answer = Answer(command.id, error=ErrorInfo(FAILED))
        job.client.outbox.put(answer)

    def _vocabulary_of(self, spec: ModelSpec) -> Vocabulary:
        if self._loaded is not None and self._loaded.info.spec.path == spec.path:
            return self._loaded.vocabulary
        if self._vocabulary is None or self._vocabulary.path != spec.path:
            check_model_file(Path(spec.path))
            self._forget_vocabulary()
            self._vocabulary = Vocabulary(llama.Model(Path(spec.path), vocabulary_only=True), spec.path)
        return self._vocabulary

    def _forget_vocabulary(self) -> None:
        if (vocabulary := self._vocabulary) is not None:
            self._vocabulary = None
            vocabulary.model.close()

    def _context_of(self, spec: ModelSpec) -> int:
        """Tokens of the context that `spec` is loaded with, or would be; 0 if it would not be."""
        if self._loaded is not None and self._loaded.info.spec == spec:
            return self._loaded.info.n_ctx
        try:
            return memory.plan_for(spec).choice.n_ctx
        except (UserError, HeaderError):
            return 0

    def _bench(self, job: Job, command: Bench) -> None:
        try:
            self._ensure(command.model, job)
            self.pulse.begin(math.inf)  # it tells nothing before its end
            answer = Answer(command.id, self._loaded_now().bench(command.prefill, command.decode))
        except LoadCancelled:
            answer = Answer(command.id)
        except UserError as error:
            answer = Answer(command.id, error=error.info)
        except MemoryError:
            raise
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
