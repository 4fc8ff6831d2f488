"""A loaded model with its context and cache, and what is found out about it at load."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.core.inference import ModelInfo, ModelSpec
from inglenook.engine import llama, plan
from inglenook.engine.cache import PrefixCache
from inglenook.engine.states import States
from inglenook.engine.tokens import Tokenizer
from inglenook_convert.headers import HeaderError, check_gguf

_log = logging.getLogger(__name__)
ARCHITECTURE = "gpt-oss"
_GPUS = ("gpu", "igpu")
Identity = tuple[ModelSpec, int, int]  # with the file's size and time of change


class Vocabulary:
    """A model's vocabulary with its tokenizer."""

    def __init__(self, model: llama.Model, path: str) -> None:
        self.model = model
        self.path = path
        self.tokenizer = Tokenizer(model)


class Loaded:
    """Weights, context and cache of one model, ready to generate."""

    def __init__(self, identity: Identity, progress: Callable[[float], bool], states: Path | None = None) -> None:
        """Loads; `progress` as in `llama.Model`; `states` is the folder of saved states.

        Raises `UserError`, `LoadCancelled`.
        """
        spec, file_bytes, changed = identity
        self.identity = identity
        cpu = sum(d.free for d in llama.devices() if d.kind == "cpu")
        self._repack = llama.repacking_is_safe() and plan.repack(file_bytes, plan.available_memory(cpu))
        self.model, self._gpu_layers = _load(spec, self._repack, progress)
        try:
            self.context = self._make_context(spec, plan.available_memory(cpu))
        except UserError:
            self.model.close()
            raise
        self.vocabulary = Vocabulary(self.model, spec.path)
        self.cache = PrefixCache(self.context, self.model.n_swa)
        library = llama.versions()["llama_cpp_python"]
        key = f"{self.model.vocabulary_hash} {file_bytes} {changed} {library} batch {llama.BATCH}"
        self.states = States(states, key) if states else None
        self.message_start = self.model.specials.get("<|start|>", -1)
        self.info = ModelInfo(
            spec=spec,
            name=self.model.meta("general.name"),
            vocabulary=self.model.vocabulary_hash,
            n_ctx=self.context.n_ctx,
            n_ctx_train=self.model.n_ctx_train,
            n_vocab=self.model.n_vocab,
            size_bytes=self.model.size_bytes,
            specials=tuple(self.model.specials.items()),
            devices=tuple(d.name for d in llama.devices() if d.kind == "cpu" or self._gpu_layers),
            is_demo=self.model.meta("inglenook.demo") == "true",
        )

    def close(self) -> None:
        """Frees everything."""
        self.context.close()
        self.model.close()

    def describe(self) -> str:
        """For the log."""
        repacked = "repacked" if self._repack else "as in the file"
        return (
            f"{self.info.name}, context {self.info.n_ctx}, {self._threads} threads, {repacked}, on {self.info.devices}"
        )

    def _make_context(self, spec: ModelSpec, available: int) -> llama.Context:
        """With the length that fits; half of it when llama.cpp finds no memory after all."""
        self._threads = spec.threads or plan.threads(self.model.size_bytes)
        free = available - plan.RESERVE - (0 if self._repack else self.model.size_bytes)
        if self._gpu_layers:
            free = sum(d.free for d in llama.devices() if d.kind in _GPUS) - plan.GIB  # the weights are there by now
        model = self.model
        n_ctx = plan.context_length(spec.n_ctx, model.n_ctx_train, model.cache_bytes_per_token, free, model.size_bytes)
        while True:
            try:
                return llama.Context(self.model, n_ctx, self._threads)
            except UserError:
                if spec.n_ctx > 0 or n_ctx // 2 < plan.SMALLEST:
                    raise
                n_ctx //= 2

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


def _load(spec: ModelSpec, repack: bool, progress: Callable[[float], bool]) -> tuple[llama.Model, int]:
    """The model and the layers it has on a GPU (-1: all). Without a number of layers, the CPU alone is the way out."""
    path = Path(spec.path)
    gpu = any(d.kind in _GPUS for d in llama.devices())
    layers = spec.gpu_layers if gpu else 0
    try:
        return llama.Model(path, gpu_layers=layers, repack=repack, progress=progress), layers
    except UserError:
        if layers >= 0:
            raise
        _log.warning("the model did not load on the graphics processor; it runs on the CPU")
        return llama.Model(path, gpu_layers=0, repack=repack, progress=progress), 0


def check_model_file(path: Path) -> None:
    """Raises `UserError` where llama.cpp would only say that it failed."""
    if not path.exists():
        raise UserError(N_("{path} does not exist. Choose another model file."), path=path)
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
        summary = check_gguf(path)
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
