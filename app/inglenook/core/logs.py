"""The program's log: rotating files readable by the user only, never with the text of a conversation."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from io import TextIOWrapper
from pathlib import Path


class PrivateFiles(logging.handlers.RotatingFileHandler):
    """Rotating files that only the user can read, also those that follow the first."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if sys.platform != "win32":
            os.fchmod(descriptor, 0o600)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), self.encoding, self.errors, line_buffering=True)


def start(folder: Path, name: str) -> None:
    """Sends all records of level INFO and above to `folder/name.log` (at most 3 files of 1 MB)."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = PrivateFiles(folder / f"{name}.log", maxBytes=1_000_000, backupCount=2, encoding="utf-8")
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(process)d %(threadName)s %(levelname)s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for library in ("httpx", "httpcore"):  # they write whole addresses, and some of those are keys to what is there
        logging.getLogger(library).setLevel(logging.WARNING)
