"""One sequence of a model in memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np
import numpy.typing as npt

from inglenook.core.errors import UserError
from inglenook.core.fitting import BATCH
from inglenook.core.i18n import N_
from inglenook.engine.llama.library import buffers
from inglenook.engine.llama.model import Model

SEQUENCE = 0
MOST_ROWS = 9  # of logits that one evaluation gives: a token and a draft of eight
_PARTIAL = lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY  # of the state, only what a rollback cannot bring back
_CACHE_TYPES = {"f16": lib.GGML_TYPE_F16, "q8_0": lib.GGML_TYPE_Q8_0}


ABORTED = 2


class DecodeError(Exception):
    """llama_decode failed with `code`: 1 no room in the cache, `ABORTED`, negative an error."""

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
        params.n_outputs_max = MOST_ROWS
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.swa_full = full_window
        params.no_perf = True
        params.type_k = params.type_v = _CACHE_TYPES[cache_type]
        buffers.clear()
        self.handle: Any = lib.llama_init_from_model(model.handle, params)
        self.buffers = tuple(buffers)
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
        self._rows: dict[int, npt.NDArray[np.float32]] = {}  # by their address
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

    def decode_rows(self, tokens: Sequence[int], position: int) -> None:
        """`decode` of at most `MOST_ROWS` tokens with the logits of each: `logits(0)` are those after the first.

        Taking some of the last ones back with `remove_from` leaves the windows whole: what the evaluation overwrote in
        them was out of sight of its first token already.
        """
        n = len(tokens)
        if not 0 < n <= min(self.batch_size, MOST_ROWS):
            raise ValueError(f"{n} tokens with logits")  # llama.cpp would end the process
        self._tokens[:n] = tokens
        self._positions[:n] = np.arange(position, position + n, dtype=np.int32)
        self._outputs[:n] = 1
        self._batch.n_tokens = n
        if code := lib.llama_decode(self.handle, self._batch):
            raise DecodeError(code)

    def logits(self, row: int = -1) -> npt.NDArray[np.float32]:
        """Logits [n_vocab] of the last output, or of the `row`th token of `decode_rows`. Waits for a GPU.

        A view that the next evaluation overwrites.
        """
        pointer = lib.llama_get_logits_ith(self.handle, row)
        address = ctypes.addressof(pointer.contents)
        found = self._rows.get(address)
        if found is None:
            found = self._rows[address] = np.ctypeslib.as_array(pointer, (self.model.n_vocab,))
        return found

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

    def state_bytes(self) -> int:
        """How long `save` would be."""
        return int(lib.llama_state_seq_get_size_ext(self.handle, SEQUENCE, 0))

    def restore(self, state: bytearray | memoryview) -> bool:
        """Puts back what `save` gave, in place of what is there; False if llama.cpp refused it."""
        self.clear()
        buffer = (ctypes.c_uint8 * len(state)).from_buffer(state)
        return bool(lib.llama_state_seq_set_data_ext(self.handle, buffer, len(state), SEQUENCE, 0))

    def restore_window(self, state: bytes) -> bool:
        """Puts back what `save_window` gave; False if llama.cpp refused it."""
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        return bool(lib.llama_state_seq_set_data_ext(self.handle, buffer, len(state), SEQUENCE, _PARTIAL))
