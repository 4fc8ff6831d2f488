"""What several tests of reading need: the sources of a checkpoint's GGUF tensors, and all values of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inglenook_convert import values
from inglenook_convert.checkpoint import open_checkpoint
from inglenook_convert.config import parse_config
from inglenook_convert.layouts import layout_of
from inglenook_convert.reader import ShardReader
from inglenook_convert.sources import Source
from inglenook_convert.tensor_map import slots


def sources_of(folder: Path, base: Path | None = None) -> dict[str, Source]:
    """By the tensors' names in the GGUF; each source has that tensor's rows and width."""
    checkpoint = open_checkpoint(folder, base)
    layout = layout_of(checkpoint)
    found = {}
    for slot in slots(parse_config(checkpoint.config)):
        source = found[slot.name] = layout.source(checkpoint.tensors, slot)
        assert values.width_of(source) == slot.shape[-1], slot.name
        assert values.rows_of(source) == int(np.prod(slot.shape[:-1])), slot.name
    return found


def all_values(source: Source) -> np.ndarray:
    """Its values, [rows, width]."""
    rows = values.rows_of(source)
    with ShardReader() as reader:
        return values.floats(source, 0, rows, reader).reshape(rows, -1)
