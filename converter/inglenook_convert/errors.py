"""The converter's one kind of expected error, here so that every module can raise it and only the CLI formats it."""

from __future__ import annotations


class ConvertError(Exception):
    """The input or the disk is not as it should be. The message is one line: file, tensor or key, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
