"""The program's log: rotating files readable by the user only, never with the text of a conversation."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path


def start(folder: Path, name: str) -> None:
    """Sends all records of level INFO and above to `folder/name.log` (at most 3 files of 1 MB)."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / f"{name}.log"
    handler = logging.handlers.RotatingFileHandler(
        file, maxBytes=1_000_000, backupCount=2, encoding="utf-8", delay=False
    )
    file.chmod(0o600)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(process)d %(threadName)s %(levelname)s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
