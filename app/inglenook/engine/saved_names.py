"""How the files of saved states are named: apart from `states`, so that a client needs no numpy to remove them."""

from __future__ import annotations

import hashlib
from pathlib import Path

SUFFIX = ".state"


def name_of(conversation: str) -> str:
    """A file's name for a conversation: no path can come of it."""
    return hashlib.sha256(conversation.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def forget_all(folder: Path) -> None:
    """Removes all states. Raises `OSError`."""
    for path in folder.glob(f"*/*{SUFFIX}*"):
        path.unlink(missing_ok=True)


def forget(folder: Path, conversation: str) -> None:
    """Removes the conversation's states of all models. Raises `OSError`."""
    for path in folder.glob(f"*/{name_of(conversation)}{SUFFIX}*"):
        path.unlink(missing_ok=True)
