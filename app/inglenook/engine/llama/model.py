"""Loaded weights with their vocabulary, and grammars over it."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np
import numpy.typing as npt
from llama_cpp._ggml import libggml

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.core.memory import Choice
from inglenook.engine.llama.library import buffers, devices, ggml_base

_SPECIAL = lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_USER_DEFINED
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data


class LoadCancelled(Exception):  # noqa: N818 - not an error: the user asked for it
    """The progress callback asked to stop loading."""


def _device_list(name: str) -> ctypes.Array[Any]:
    """The device of that name, and no other; for "" the CPU alone. It ends with NULL."""
    get, count, name_of = libggml.ggml_backend_dev_get, len(devices()), ggml_base().ggml_backend_dev_name
    found = [get(i) for i in range(count) if name and name_of(get(i)).decode() == name]
    return (ctypes.c_void_p * 2)(*found[:1])


class _Override(ctypes.Structure):
    """llama_model_tensor_buft_override: tensors named like `pattern` go to a buffer type. An empty one ends a list."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def _overrides(layers: int) -> ctypes.Array[Any]:
    """Has the experts of the first `layers` layers in main memory, wherever the rest of the layer is."""
    base = ggml_base()
    base.ggml_backend_cpu_buffer_type.restype = ctypes.c_void_p
    main = base.ggml_backend_cpu_buffer_type()
    entries = [_Override(rb"^blk\.%d\.ffn_(up|down|gate)_exps" % i, main) for i in range(layers)]
    return (_Override * (layers + 1))(*entries)


class Model:
    """Loaded weights, or the vocabulary alone."""

    def __init__(
        self,
        path: Path,
        *,
        vocabulary_only: bool = False,
        place: Choice | None = None,
        progress: Callable[[float], bool] | None = None,
    ) -> None:
        """Loads `path`. `progress` is called with 0..1 and cancels by returning False.

        `place` says what goes to which device, and whether weights are copied into a faster layout; without it all is
        on the CPU as it is in the file. Raises `LoadCancelled`, `UserError`.
        """
        self.handle: Any = None
        cancelled = False

        def on_progress(fraction: float, _data: object) -> bool:
            nonlocal cancelled
            cancelled = cancelled or (progress is not None and not progress(fraction))
            return not cancelled

        params = lib.llama_model_default_params()
        params.vocab_only = vocabulary_only
        place = place or Choice(0)
        params.n_gpu_layers = place.layers + 1 if place.device else 0  # one more for the output
        params.use_extra_bufts = place.repack
        self._devices = _device_list(place.device)  # both are kept alive while C may look at them
        params.devices = ctypes.cast(self._devices, ctypes.c_void_p)
        self._overrides = _overrides(place.cpu_experts)
        params.tensor_buft_overrides = ctypes.cast(self._overrides, ctypes.c_void_p)
        callback = lib.llama_progress_callback(on_progress)  # kept alive here while C may call it
        params.progress_callback = callback
        buffers.clear()
        self.handle = lib.llama_model_load_from_file(os.fsencode(path), params)
        self.buffers = tuple(buffers)
        if cancelled:
            self.close()
            raise LoadCancelled
        if not self.handle:
            raise UserError(
                N_("{path} could not be loaded. The file may be damaged: copy or download it again. See the log."),
                path=path,
            )
        self.vocab = lib.llama_model_get_vocab(self.handle)
        self.n_vocab = int(lib.llama_vocab_n_tokens(self.vocab))
        self._pieces: dict[int, bytes] = {}

    def close(self) -> None:
        """Frees the weights."""
        if self.handle:
            lib.llama_model_free(self.handle)
            self.handle = None

    def meta(self, key: str) -> str:
        """A value of the file's metadata as text; '' if there is none."""
        buffer = ctypes.create_string_buffer(4096)
        n = lib.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if n >= 0 else ""

    @property
    def n_ctx_train(self) -> int:
        """The context length that the model was made for."""
        return int(lib.llama_model_n_ctx_train(self.handle))

    @property
    def n_swa(self) -> int:
        """Tokens that a sliding-window layer sees, itself included; 0 without such layers."""
        return int(lib.llama_model_n_swa(self.handle))

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return int(lib.llama_model_size(self.handle))

    @cached_property
    def specials(self) -> dict[str, int]:
        """Control tokens by text. llama.cpp makes some of gpt-oss's user-defined ones; they count too."""
        attribute, text, vocab = lib.llama_vocab_get_attr, lib.llama_vocab_get_text, self.vocab
        ids = [i for i in range(self.n_vocab) if attribute(vocab, i) & _SPECIAL]
        return {text(vocab, i).decode("utf-8", "replace"): i for i in ids}

    @cached_property
    def stops(self) -> frozenset[int]:
        """Tokens that end a generation."""
        return frozenset(i for i in self.specials.values() if lib.llama_vocab_is_eog(self.vocab, i))

    @cached_property
    def vocabulary_hash(self) -> str:
        """SHA-256 over all token texts, and which of them are control tokens."""
        text, vocab, special = lib.llama_vocab_get_text, self.vocab, set(self.specials.values())
        parts = (b"%d %s" % (i in special, text(vocab, i)) for i in range(self.n_vocab))
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def encode(self, data: bytes) -> list[int]:
        """Ids of UTF-8 text. Literals of control tokens in it may become them: see `tokens.Tokenizer`."""
        capacity = len(data) + 8
        out = (lib.llama_token * capacity)()
        n = lib.llama_tokenize(self.vocab, data, len(data), out, capacity, False, False)
        assert n >= 0, "a token is at least a byte long"
        return out[:n]  # type: ignore[no-any-return] # ctypes

    def piece(self, token: int) -> bytes:
        """The token's bytes; a control token's name."""
        found = self._pieces.get(token)
        if found is None:
            buffer = ctypes.create_string_buffer(512)
            n = lib.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, True)
            if n < 0:
                buffer = ctypes.create_string_buffer(-n)
                n = lib.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, True)
            found = self._pieces[token] = buffer.raw[: max(n, 0)]
        return found


class Grammar:
    """Where a text is in a grammar (GBNF, rule `root`). llama.cpp's own decides; it takes control tokens for text.

    Its reading of UTF-8 is lenient, it stops at NUL, and it ends the process if it is told a token that cannot follow:
    `engine.constrain` sees to all three.
    """

    def __init__(self, model: Model, grammar: str | Grammar) -> None:
        """Of a text, or a copy. Raises ValueError if it does not compile; the log says why."""
        if isinstance(grammar, Grammar):
            self.handle: Any = lib.llama_sampler_clone(grammar.handle)
        else:
            self.handle = lib.llama_sampler_init_grammar(model.vocab, grammar.encode(), b"root")
        if not self.handle:
            raise ValueError("not a grammar")
        self._model = model
        self._candidates = np.zeros(model.n_vocab, _CANDIDATE)
        self._array = lib.llama_token_data_array(
            data=self._candidates.ctypes.data_as(lib.llama_token_data_p), size=0, selected=-1, sorted=False
        )
        self._pointer = ctypes.byref(self._array)

    def close(self) -> None:
        """Frees it."""
        if self.handle:
            lib.llama_sampler_free(self.handle)
            self.handle = None

    def allows(self, token: int) -> bool:
        """Whether it can come next; a stop token can if the text may end here."""
        first = self._candidates[0]
        first["id"], first["logit"] = token, 0.0
        self._array.size = 1
        lib.llama_sampler_apply(self.handle, self._pointer)
        return bool(first["logit"] == 0.0)

    def allowed(self, tokens: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """`allows` of each of them."""
        part = self._candidates[: tokens.size]
        part["id"], part["logit"] = tokens, 0.0
        self._array.size = tokens.size
        lib.llama_sampler_apply(self.handle, self._pointer)
        found: npt.NDArray[np.bool_] = part["logit"] == 0.0
        return found

    def copy(self) -> Grammar:
        """Another one at the same place."""
        return Grammar(self._model, self)

    def take(self, token: int) -> None:
        """It comes next. Only one that it allows, and no stop token."""
        lib.llama_sampler_accept(self.handle, token)
