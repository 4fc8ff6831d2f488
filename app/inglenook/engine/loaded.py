"""A loaded model with its context and cache, and what is found out about it at load."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.fitting import BATCH
from inglenook.core.i18n import N_
from inglenook.core.inference import ModelInfo, ModelSpec
from inglenook.core.memory import Choice, Plan
from inglenook.core.prompt import Special, Text
from inglenook.engine import llama, machine, memory
from inglenook.engine.cache import PrefixCache
from inglenook.engine.constrain import Lexicon
from inglenook.engine.llama.threads import set_threads
from inglenook.engine.speculation import Costs
from inglenook.engine.states import States
from inglenook.engine.tokens import Tokenizer
from inglenook_convert.headers import HeaderError
from inglenook_convert.known import check_known

_log = logging.getLogger(__name__)
ARCHITECTURE = "gpt-oss"
USER_TURN = (Special("<|start|>"), Text("user"))
Identity = tuple[ModelSpec, int, int]  # with the file's size and time of change


class Vocabulary:
    """A model's vocabulary with its tokenizer."""

    def __init__(self, model: llama.Model, path: str) -> None:
        self.model = model
        self.path = path
        self.tokenizer = Tokenizer(model)

    @cached_property
    def lexicon(self) -> Lexicon:
        """What constraints ask of it."""
        return Lexicon(self.model)


class Loaded:
    """Weights, context and cache of one model, ready to generate."""

    def __init__(self, identity: Identity, progress: Callable[[float], bool], states: Path | None = None) -> None:
        """Loads; `progress` as in `llama.Model`; `states` is the folder of saved states.

        Raises `UserError`, `LoadCancelled`.
        """
        spec, file_bytes, changed = identity
        self.identity = identity
        self.model, self.context, self.plan = _load(Path(spec.path), memory.plans_for(spec), progress)
        self.vocabulary = Vocabulary(self.model, spec.path)
        self.cache = PrefixCache(
            self.context,
            self.model.n_swa,
            available=lambda: machine.main_memory()[0],
            turn=self.vocabulary.tokenizer.tokenize(USER_TURN) if "<|start|>" in self.model.specials else (),
        )
        self.costs = Costs()
        library, choice = llama.versions()["llama_cpp_python"], self.plan.choice
        key = f"{self.model.vocabulary_hash} {file_bytes} {changed} {library} batch {BATCH} {choice.cache_type}"
        self.states = States(states, key) if states else None
        self.message_start = self.model.specials.get("<|start|>", -1)
        self._spares = False
        self.is_broken = False  # an evaluation failed: its device may be gone, and it is to be loaded anew
        self.info = ModelInfo(
            spec=spec,
            name=self.model.meta("general.name"),
            vocabulary=self.model.vocabulary_hash,
            n_ctx=self.context.n_ctx,
            n_ctx_train=self.model.n_ctx_train,
            n_vocab=self.model.n_vocab,
            size_bytes=self.model.size_bytes,
            specials=tuple(self.model.specials.items()),
            devices=tuple(use.device for use in self.plan.uses),
            is_demo=self.model.meta("inglenook.demo") == "true",
            plan=self.plan,
            allocated=memory.uses(self.model.buffers + self.context.buffers),
            process=os.getpid(),
        )

    def spare(self, wanted: bool) -> None:
        """Evaluates with half the threads from now on, or with all again."""
        if wanted != self._spares:
            self._spares = wanted
            threads = (self.plan.threads + 1) // 2 if wanted else self.plan.threads
            set_threads(self.context, threads)
            _log.info("now computes with %d threads", threads)

    def close(self) -> None:
        """Frees everything."""
        self.context.close()
        self.model.close()

    def describe(self) -> str:
        """For the log."""
        total = sum(use.total for use in self.info.allocated)
        return f"{self.info.name}, {self.plan.choice}, {self.plan.threads} threads, {self.plan.total} bytes ({total})"

    def bench(self, prefill: int, decode: int) -> float:
        """Tokens a second of llama_decode alone: `prefill` tokens in batches, then `decode` one by one (one may be 0).

        As llama-bench does it: random tokens, from an empty cache, no sampling. Only the larger part is timed.
        """
        self.cache.clear()
        tokens = np.random.default_rng().integers(0, self.model.n_vocab, prefill + decode, np.int32)
        started = time.perf_counter()
        for start in range(0, prefill, self.context.batch_size):
            end = min(start + self.context.batch_size, prefill)
            self.context.decode(tokens[start:end], start, output=end == prefill)
        self.context.synchronize()
        if decode:
            started = time.perf_counter()
        for position in range(prefill, prefill + decode):
            self.context.decode_one(tokens[position], position)
            self.context.synchronize()
        seconds = time.perf_counter() - started
        self.cache.clear()
        return (decode or prefill) / seconds


def _load(
    path: Path, plans: Iterable[Plan], progress: Callable[[float], bool]
) -> tuple[llama.Model, llama.Context, Plan]:
    """By the first plan for which llama.cpp finds the memory after all: others took some of it, or a driver failed."""
    model: llama.Model | None = None
    place = Choice(0)
    refused: list[ErrorInfo] = []
    first_error: UserError | None = None
    unloadable: set[tuple[str, bool]] = set()
    for plan in plans:
        choice = plan.choice
        if (choice.device, choice.repack) in unloadable:
            continue
        try:
            if model is not None and place != _place(choice):
                model.close()
                model = None
            if model is None:
                place = _place(choice)
                model = llama.Model(path, place=place, progress=progress)
            context = llama.Context(model, choice.n_ctx, plan.threads, cache_type=choice.cache_type)
        except UserError as error:
            first_error = first_error or error
            refused.append(_refused(choice))
            if model is None:
                unloadable.add((choice.device, choice.repack))
            _log.warning("no memory, or a failing driver: %s", choice)
            continue
        return model, context, replace(plan, not_tried=(*plan.not_tried, *refused))
    if model is not None:
        model.close()
    assert first_error is not None, "there is a plan, or an error"
    raise first_error


def _place(choice: Choice) -> Choice:
    """What of `choice` a model is loaded by."""
    return replace(choice, n_ctx=0, cache_type="f16")


def _refused(choice: Choice) -> ErrorInfo:
    words = (("place", choice.device or "CPU"), ("n_ctx", str(choice.n_ctx)))
    return ErrorInfo(N_("On {place} with {n_ctx} tokens of context: llama.cpp could not allocate it."), words)


def check_model_file(path: Path) -> None:
    """Raises `UserError` where llama.cpp would only say that it failed."""
    if not path.exists():
        raise UserError(N_("{path} does not exist. Choose another model file."), path=path)
    if not path.is_file():  # to open a named pipe is to wait for ever
        raise UserError(N_("{path} is not a file. Choose a .gguf file of gpt-oss."), path=path)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise UserError(
            N_("{path} cannot be read: {reason}. Check the file, or choose another one."),
            path=path,
            reason=error.strerror or error,
        ) from error
    if magic and magic != b"GGUF":
        raise UserError(N_("{path} is not a GGUF model file. Choose a .gguf file of gpt-oss."), path=path)
    try:
        summary = memory.summary_of(path)
        if summary.architecture == ARCHITECTURE:
            memory.read_header(summary, path)
    except HeaderError as error:
        raise UserError(
            N_("{path} is incomplete or damaged. Download or copy it again. ({reason})"), path=path, reason=error
        ) from error
    if summary.architecture != ARCHITECTURE:
        raise UserError(
            N_("{path} holds a model of the kind {architecture}. Inglenook runs gpt-oss models only."),
            path=path,
            architecture=summary.architecture or "?",
        )
    try:
        check_known(path, summary)
    except HeaderError as error:
        raise UserError(
            N_("{path} is damaged, or not made as gpt-oss models are. Get it again, or choose another. ({reason})"),
            path=path,
            reason=error,
        ) from error
