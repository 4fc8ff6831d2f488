"""How many threads evaluate: that can be changed at any time, without a reload."""

from __future__ import annotations

import llama_cpp.llama_cpp as lib

from inglenook.engine.llama.context import Context


def set_threads(context: Context, threads: int) -> None:
    """From the next evaluation on."""
    lib.llama_set_n_threads(context.handle, threads, threads)


def get_threads(context: Context) -> tuple[int, int]:
    """For one token, and for batches."""
    return lib.llama_n_threads(context.handle), lib.llama_n_threads_batch(context.handle)
