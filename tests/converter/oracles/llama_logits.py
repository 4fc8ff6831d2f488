"""The logits of a GGUF file by llama.cpp, computed as exactly as it can, and how two sets of logits differ."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
import numpy as np

_F32, _NO_FLASH = 0, 0  # ggml_type and llama_flash_attn_type


def llama_logits(file: Path, tokens: Sequence[int]) -> np.ndarray:
    """Logits [tokens, vocabulary] after each of `tokens`: all in one batch, KV in F32, no flash attention."""
    with opened(file) as model:
        return _decoded(model, tokens)


@contextlib.contextmanager
def opened(file: Path) -> Iterator[object]:
    """The llama_model of a file, on the processor; llama.cpp is silent while it is open."""
    with quiet():
        llama_cpp.llama_backend_init()
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = 0
        parameters.check_tensors = True
        parameters.use_extra_bufts = False  # its AMX code crashes if some versions of GCC built it
        model = llama_cpp.llama_model_load_from_file(str(file).encode(), parameters)
        assert model, file
        try:
            yield model
        finally:
            llama_cpp.llama_model_free(model)


def _decoded(model: object, tokens: Sequence[int]) -> np.ndarray:
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = -(-len(tokens) // 256) * 256
    parameters.flash_attn_type = _NO_FLASH
    parameters.type_k = parameters.type_v = _F32
    parameters.n_threads = parameters.n_threads_batch = 1  # on a busy machine, threads mostly wait for each other
    context = llama_cpp.llama_init_from_model(model, parameters)
    assert context
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    try:
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
            batch.seq_id[i][0] = 0
        assert llama_cpp.llama_decode(context, batch) == 0
        size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (len(tokens), size)).copy()
    finally:
        llama_cpp.llama_batch_free(batch)
        llama_cpp.llama_free(context)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """llama.cpp's log is kept off the test's output."""
    callback = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    try:
        yield
    finally:
        llama_cpp.llama_log_set(llama_cpp.llama_log_callback(0), ctypes.c_void_p(0))


@dataclass(frozen=True)
class Difference:
    """Of logits from a reference: the largest, the mean KL divergence in nats, the share of equal first choices."""

    largest: float
    kl: float
    top_1: float

    @property
    def same_model(self) -> bool:
        """Whether only the order of float32 sums can have made it."""
        return self.largest < 5e-3 and self.kl < 1e-6 and self.top_1 == 1.0


def difference(reference: np.ndarray, logits: np.ndarray) -> Difference:
    """Of `logits` from `reference`, both [positions, vocabulary]."""
    expected, found = _log_softmax(reference), _log_softmax(logits)
    kl = (np.exp(expected) * (expected - found)).sum(-1).mean()
    same = np.mean(reference.argmax(-1) == logits.argmax(-1))
    return Difference(float(np.abs(reference - logits).max()), float(kl), float(same))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(-1, keepdims=True))
