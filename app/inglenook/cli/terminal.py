"""Writing to terminals and pipes: what a model says may hold control characters, and those must not reach a terminal.

An escape sequence can rename a window, fill the clipboard or hide text, and a model repeats what it was given to read.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import TextIO

from inglenook.core.errors import UserError

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class BadInputError(UserError):
    """What the user gave the command cannot be used (an argument, a file): exit code 2, other errors have 1."""


def harmless(text: str) -> str:
    """`text` for a terminal: newline and tab stay, a carriage return goes, other control characters become visible.

    Visible as the pictures of U+2400 ff., or U+FFFD for those that have none: the C1 controls (U+009B begins a sequence
    as ESC [ does), the overrides of writing direction, halves of surrogate pairs.
    """
    return _CONTROL.sub(_picture, text)


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code == 0x0D:
        return ""
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def one_line(text: str) -> str:
    """`text` on a single line, harmless: for error messages and titles."""
    return harmless(" ".join(text.split()))


def write(stream: TextIO, text: str) -> None:
    """Writes at once, so that a stream is one for the reader too. BrokenPipeError where nobody reads any more."""
    stream.write(text)
    stream.flush()


def prepare() -> None:
    """Makes the standard streams take any character, whatever the terminal's encoding is."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a test's stream may lack it


def silence_stdout() -> None:
    """After a broken pipe: the interpreter must not complain when it flushes at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def has_styles(stream: TextIO) -> bool:
    """Whether the stream is a terminal that knows dim text (and the user has not asked for none: no-color.org)."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.platform != "win32" or _enable_windows_styles()


def _enable_windows_styles() -> bool:
    if sys.platform != "win32":
        return False
    import ctypes  # kernel32 is of this system only

    kernel = ctypes.windll.kernel32
    handle, mode = kernel.GetStdHandle(-11), ctypes.c_uint32()
    return bool(kernel.GetConsoleMode(handle, ctypes.byref(mode)) and kernel.SetConsoleMode(handle, mode.value | 4))


class StatusLine:
    """One line that is rewritten in place while something takes time; nothing at all where `stream` is no terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._shown = ""

    def show(self, text: str) -> None:
        """Replaces the line."""
        if not self._live or text == self._shown:
            return
        # Spaces rather than an escape sequence, so that it works on a dumb terminal.
        write(self._stream, f"\r{text[:79].ljust(len(self._shown))}")
        self._shown = text[:79]

    def note(self, text: str) -> None:
        """A line for itself, where the cursor is at the end of somebody else's."""
        if self._live:
            write(self._stream, f"\n{text}\n")

    def clear(self) -> None:
        """Empties the line; what is written next begins at its start."""
        if self._shown:
            write(self._stream, f"\r{' ' * len(self._shown)}\r")
            self._shown = ""
