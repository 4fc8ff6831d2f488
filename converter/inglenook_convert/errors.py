"""The converter's one kind of expected error, here so that every module can raise it and only the CLI formats it."""

from __future__ import annotations

_LONGEST = 600  # characters; more than that only a hostile file makes it


class ConvertError(Exception):
    """The input or the disk is not as it should be. The message is one line: file, tensor or key, what to do.

    Whatever names from files are in it, it is printable, and not much longer than a line.
    """

    def __init__(self, message: str) -> None:
        text = " ".join(message.split())
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
        super().__init__("".join(letter if letter.isprintable() else "\ufffd" for letter in text))
