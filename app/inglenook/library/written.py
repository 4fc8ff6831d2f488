"""Small files that programs share: written so that whoever reads finds the old text or the new, even after a kill."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write_json(file: Path, value: object) -> None:
    """Puts `value` into `file`, on the disk when this returns. OSError. For one writer at a time: see `locks`."""
    temporary = file.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as opened:
        json.dump(value, opened)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)
