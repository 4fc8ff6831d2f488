"""The only importer of llama_cpp: plain C calls for a model, its vocabulary and one context.

The library's `Llama` class is not used: it runs gpt-oss without flash attention, keeps a row of 201,088 logits for each
token of a batch, and returns wrong output after a rollback of the sliding-window cache.

One thread calls everything here, but for `Context.abort` and `Context.resume`.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as lib
import numpy as np
import numpy.typing as npt
from llama_cpp._ggml import libggml

from inglenook.core.errors import UserError
from inglenook.core.fitting import BATCH
from inglenook.core.i18n import N_
from inglenook.core.memory import Choice, Device

SEQUENCE = 0
_SPECIAL = lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_USER_DEFINED
_PARTIAL = lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY  # of the state, only what a rollback cannot bring back
_LEVELS = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}  # ggml.h, not llama_cpp's map
_log = logging.getLogger("llama.cpp")
_CACHE_TYPES = {"f16": lib.GGML_TYPE_F16, "q8_0": lib.GGML_TYPE_Q8_0}
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data
_kept_alive: list[Any] = []  # callbacks that C holds
_BUFFER = re.compile(r" (\S+) +(model|KV|compute|output) buffer size = +([\d.]+) MiB")
_buffers: list[Buffer] = []  # as the log tells of them: the library has no function for it


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory that llama.cpp allocated: on which device, for what ("model", "KV", "compute", "output"), to 10 kB."""

    device: str
    kind: str
    nbytes: int


class LoadCancelled(Exception):  # noqa: N818 - not an error: the user asked for it
    """The progress callback asked to stop loading."""


def start() -> None:
    """Initialises the library: its log goes to `logging`, also the message of an abort."""
    pending_level, pending = logging.INFO, ""

    def log(level: int, text: bytes, _data: object) -> None:
        nonlocal pending_level, pending
        pending_level = _LEVELS.get(level, pending_level)  # any other continues the line before
        pending += text.decode("utf-8", "replace")
        if pending.endswith("\n"):
            _log.log(pending_level, "%s", pending.rstrip())
            if found := _BUFFER.search(pending):
                _buffers.append(Buffer(found[1], found[2], round(float(found[3]) * (1 << 20))))
            pending = ""

    def abort(message: bytes) -> None:
        _log.critical("aborts: %s", message.decode("utf-8", "replace").strip())

    on_log = lib.llama_log_callback(log)
    on_abort = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(abort)
    _kept_alive.extend((on_log, on_abort))
    lib.llama_log_set(on_log, ctypes.c_void_p(0))
    base = _ggml_base()
    base.ggml_set_abort_callback.restype = ctypes.c_void_p
    base.ggml_set_abort_callback(on_abort)
    lib.llama_backend_init()


def _ggml_base() -> ctypes.CDLL:
    """Finds libggml-base's functions: through libggml, which needs it; but Windows looks in the one library only.

    Elsewhere it must not be opened by name: wheels hold copies under several names, each with variables of its own.
    """
    if sys.platform == "win32":
        return ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "ggml-base.dll"))
    return libggml  # type: ignore[no-any-return] # llama_cpp is untyped


def devices() -> tuple[Device, ...]:
    """What ggml's loaded backends offer."""
    base = _ggml_base()
    count, get = libggml.ggml_backend_dev_count, libggml.ggml_backend_dev_get
    count.restype, get.restype, get.argtypes = ctypes.c_size_t, ctypes.c_void_p, [ctypes.c_size_t]
    name, text = base.ggml_backend_dev_name, base.ggml_backend_dev_description
    kind, memory = base.ggml_backend_dev_type, base.ggml_backend_dev_memory
    for function, result in ((name, ctypes.c_char_p), (text, ctypes.c_char_p), (kind, ctypes.c_int)):
        function.restype, function.argtypes = result, [ctypes.c_void_p]
    size = ctypes.c_size_t
    memory.restype, memory.argtypes = None, [ctypes.c_void_p, ctypes.POINTER(size), ctypes.POINTER(size)]
    found = []
    for i in range(count()):
        device, free, total = get(i), size(), size()
        memory(device, ctypes.byref(free), ctypes.byref(total))
        label = {0: "cpu", 1: "gpu", 2: "igpu"}.get(kind(device), "accel")
        found.append(Device(name(device).decode(), text(device).decode(), label, free.value, total.value))
    return tuple(found)


def versions() -> dict[str, str]:
    """The library's versions and what its CPU code uses."""
    return {
        "llama_cpp_python": llama_cpp.__version__,
        "llama_cpp": lib.llama_version().decode() if hasattr(lib, "llama_version") else "",
        "system": lib.llama_print_system_info().decode("utf-8", "replace").strip(),
    }


def repacking_is_safe() -> bool:
    """False for a library built with Intel's AMX.

    Repacked weights use it, and a library built by GCC before 11.5, 12.4, 13.3 or 14 then dies of an illegal
    instruction (seen with 12.2; packaging/setup_llama.py builds without AMX for that reason).
    """
    return b"AMX_INT8 = 1" not in lib.llama_print_system_info()


def features() -> frozenset[str]:
    """What the CPU can do and the library uses, by the names that the library has for it ("AVX2")."""
    text = lib.llama_print_system_info().decode("utf-8", "replace")
    return frozenset(re.findall(r"(\w+) = 1\b", text))


def _device_list(name: str) -> ctypes.Array[Any]:
    """The device of that name, and no other; for "" the CPU alone. It ends with NULL."""
    get, count, name_of = libggml.ggml_backend_dev_get, len(devices()), _ggml_base().ggml_backend_dev_name
    found = [get(i) for i in range(count) if name and name_of(get(i)).decode() == name]
    return (ctypes.c_void_p * 2)(*found[:1])


class _Override(ctypes.Structure):
    """llama_model_tensor_buft_override: tensors named like `pattern` go to a buffer type. An empty one ends a list."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def _overrides(layers: int) -> ctypes.Array[Any]:
    """Has the experts of the first `layers` layers in main memory, wherever the rest of the layer is."""
    base = _ggml_base()
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
        _buffers.clear()
        self.handle = lib.llama_model_load_from_file(os.fsencode(path), params)
        self.buffers = tuple(_buffers)
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


class DecodeError(Exception):
    """llama_decode failed with `code`: 1 no room in the cache, 2 aborted, negative an error."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Context:
    """One sequence of a model in memory: its KV cache, evaluation and logits. Positions are explicit."""

    def __init__(
        self,
        model: Model,
        n_ctx: int,
        threads: int,
        *,
        batch: int = BATCH,
        full_window: bool = False,
        cache_type: str = "f16",
    ) -> None:
        """`full_window` keeps all of the sliding-window layers' cache (tests compare with it). Raises `UserError`."""
        self.model = model
        params = lib.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = batch
        params.n_seq_max = 1
        params.n_outputs_max = 1
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.swa_full = full_window
        params.no_perf = True
        params.type_k = params.type_v = _CACHE_TYPES[cache_type]
        _buffers.clear()
        self.handle: Any = lib.llama_init_from_model(model.handle, params)
        self.buffers = tuple(_buffers)
        if not self.handle:
            raise UserError(
                N_("There is not enough memory for a context of {n_ctx} tokens. Set a smaller context window."),
                n_ctx=n_ctx,
            )
        self.n_ctx = int(lib.llama_n_ctx(self.handle))
        self.batch_size = batch
        self._memory = lib.llama_get_memory(self.handle)
        self._batch = lib.llama_batch_init(batch, 0, 1)
        self._tokens = np.ctypeslib.as_array(self._batch.token, (batch,))
        self._positions = np.ctypeslib.as_array(self._batch.pos, (batch,))
        self._outputs = np.ctypeslib.as_array(self._batch.logits, (batch,))
        np.ctypeslib.as_array(self._batch.n_seq_id, (batch,))[:] = 1
        for i in range(batch):
            self._batch.seq_id[i][0] = SEQUENCE
        self._logits_at = 0
        self._logits: npt.NDArray[np.float32] = np.empty(0, np.float32)
        self._set_abort_callback()

    def close(self) -> None:
        """Frees the cache and the buffers."""
        if self.handle:
            lib.llama_batch_free(self._batch)
            lib.llama_free(self.handle)
            self.handle = None

    # -- evaluating --

    def decode(self, tokens: Sequence[int] | npt.NDArray[np.int32], position: int, *, output: bool = True) -> None:
        """Evaluates at most `batch_size` tokens from `position` on; with `output` the last one's logits are kept.

        Raises `DecodeError`; then none of these tokens is in the cache.
        """
        n = len(tokens)
        if not 0 < n <= self.batch_size:
            raise ValueError(f"a batch of {n} tokens")  # llama.cpp would end the process
        self._tokens[:n] = tokens
        self._positions[:n] = np.arange(position, position + n, dtype=np.int32)
        self._outputs[:n] = 0
        self._outputs[n - 1] = output
        self._batch.n_tokens = n
        if code := lib.llama_decode(self.handle, self._batch):
            raise DecodeError(code)

    def decode_one(self, token: int, position: int) -> None:
        """`decode` of one token with output, for the inner loop."""
        self._tokens[0] = token
        self._positions[0] = position
        self._outputs[0] = 1
        self._batch.n_tokens = 1
        if code := lib.llama_decode(self.handle, self._batch):
            raise DecodeError(code)

    def logits(self) -> npt.NDArray[np.float32]:
        """Logits [n_vocab] of the last output: a view that the next evaluation overwrites. Waits for a GPU."""
        pointer = lib.llama_get_logits_ith(self.handle, -1)
        address = ctypes.addressof(pointer.contents)
        if address != self._logits_at:
            self._logits = np.ctypeslib.as_array(pointer, (self.model.n_vocab,))
            self._logits_at = address
        return self._logits

    def synchronize(self) -> None:
        """Waits until everything is evaluated."""
        lib.llama_synchronize(self.handle)

    # -- stopping from another thread --

    def _set_abort_callback(self) -> None:
        """Lets the CPU backend ask before each step whether to stop, without Python's lock.

        The callback is C's `strlen` on a buffer that is empty or holds one byte: true while there is something in it.
        """
        self._abort = ctypes.create_string_buffer(2)
        libc = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
        callback = ctypes.cast(libc.strlen, lib.ggml_abort_callback)
        lib.llama_set_abort_callback(self.handle, callback, ctypes.cast(self._abort, ctypes.c_void_p))

    def abort(self) -> None:
        """Makes a running `decode` on the CPU fail with code 2, and later ones until `resume`. From any thread."""
        self._abort[0] = b"\1"

    def resume(self) -> None:
        """Ends `abort`."""
        self._abort[0] = b"\0"

    # -- the cache --

    def clear(self) -> None:
        """Empties the cache."""
        lib.llama_memory_clear(self._memory, False)

    def remove_from(self, position: int) -> None:
        """Removes all positions from `position` on. What the window's layers lost before stays lost."""
        lib.llama_memory_seq_rm(self._memory, SEQUENCE, position, -1)

    def first_position(self) -> int:
        """The first position that every layer still has; -1 if the cache is empty."""
        return int(lib.llama_memory_seq_pos_min(self._memory, SEQUENCE))

    def last_position(self) -> int:
        """The last position in the cache; -1 if it is empty."""
        return int(lib.llama_memory_seq_pos_max(self._memory, SEQUENCE))

    def save_window(self) -> bytes:
        """The sliding-window layers' part of the state: what a rollback needs and the cache loses."""
        size = lib.llama_state_seq_get_size_ext(self.handle, SEQUENCE, _PARTIAL)
        buffer = (ctypes.c_uint8 * size)()
        written = lib.llama_state_seq_get_data_ext(self.handle, buffer, size, SEQUENCE, _PARTIAL)
        return bytes(memoryview(buffer)[:written])

    def save(self) -> memoryview:
        """The whole state of the sequence: two kilobytes a token and layer, of half of gpt-oss's layers."""
        self.synchronize()
        size = lib.llama_state_seq_get_size_ext(self.handle, SEQUENCE, 0)
        buffer = (ctypes.c_uint8 * size)()
        written = lib.llama_state_seq_get_data_ext(self.handle, buffer, size, SEQUENCE, 0)
        return memoryview(buffer).cast("B")[:written]

    def restore(self, state: bytearray) -> bool:
        """Puts back what `save` gave, in place of what is there; False if llama.cpp refused it."""
        self.clear()
        buffer = (ctypes.c_uint8 * len(state)).from_buffer(state)
        return bool(lib.llama_state_seq_set_data_ext(self.handle, buffer, len(state), SEQUENCE, 0))

    def restore_window(self, state: bytes) -> bool:
        """Puts back what `save_window` gave; False if llama.cpp refused it."""
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        return bool(lib.llama_state_seq_set_data_ext(self.handle, buffer, len(state), SEQUENCE, _PARTIAL))
