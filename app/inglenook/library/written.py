"""Small files that programs share: written so that whoever reads finds the old text or the new, even after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from pathlib import Path
from typing import TextIO

_LEFT_SECONDS = 60.0  # after which what was not finished is taken for that of a writer that was killed
_OWN = r"(-[0-9a-f]{16})?\.tmp"


def write_json(file: Path, value: object) -> None:
    """Puts `value` into `file`, on the disk when this returns. OSError, and then nothing of it is left.

    Of several writers at a time the last one counts. What a killed one left goes with a later write of `file`.
    """
    opened, temporary = _temporary(file)
    try:
        with opened:
            json.dump(value, opened)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    remove_left(file.parent, file.stem)


def remove_left(folder: Path, stem: str = "") -> None:
    """Removes what killed writers of `stem`.json in `folder` have left for a minute; without `stem`, of any file there.

    A failure is none of the caller's: it is tried again with the next write.
    """
    pattern = re.compile((re.escape(stem) or ".*") + _OWN)
    due = time.time() - _LEFT_SECONDS
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name) and entry.stat().st_mtime < due:
                Path(entry.path).unlink(missing_ok=True)


def _temporary(file: Path) -> tuple[TextIO, Path]:
    """A file beside `file` that no other writer has: the usual one, or where there is one already, one of its own."""
    usual = file.with_suffix(".tmp")
    with contextlib.suppress(FileExistsError):
        return usual.open("x", encoding="utf-8"), usual
    own = usual.with_stem(f"{usual.stem}-{secrets.token_hex(8)}")
    return own.open("x", encoding="utf-8"), own
