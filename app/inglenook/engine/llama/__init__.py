"""The only importer of llama_cpp: plain C calls for a model, its vocabulary and one context.

The library's `Llama` class is not used: it runs gpt-oss without flash attention, keeps a row of 201,088 logits for each
token of a batch, and returns wrong output after a rollback of the sliding-window cache.

One thread calls everything here, but for `Context.abort` and `Context.resume`.
"""

from __future__ import annotations

from inglenook.engine.llama.context import ABORTED, MOST_ROWS, Context, DecodeError
from inglenook.engine.llama.library import Buffer, devices, features, repacking_is_safe, start, versions
from inglenook.engine.llama.model import Grammar, LoadCancelled, Model

__all__ = [
    "ABORTED",
    "MOST_ROWS",
    "Buffer",
    "Context",
    "DecodeError",
    "Grammar",
    "LoadCancelled",
    "Model",
    "devices",
    "features",
    "repacking_is_safe",
    "start",
    "versions",
]
