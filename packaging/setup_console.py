"""What the set-up shows while it works: one line a step, with a bar where the length is known, and a log of the rest.

Standard library only, like everything that runs before there is a virtual environment.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_COUNT = re.compile(r"^\s*\[(\d+)/(\d+)\]")  # ninja
_PERCENT = re.compile(r"^\s*\[\s*(\d+)%\]")  # make
_DOWNLOADED = re.compile(r"^Progress (\d+) of (\d+)")  # pip --progress-bar raw
_PIP_PHASES = (
    (re.compile(r"^\s*Downloading (\S+?)(?:-\d\S*)?(?: \(|$)"), "downloading {}"),
    (re.compile(r"^\s*Collecting (\S+?)(?:[<>=!~;\[].*)?(?: |$)"), "looking for {}"),
    (re.compile(r"^\s*Installing build dependencies"), "fetching build tools"),
    (re.compile(r"^\s*Installing collected packages"), "installing"),
)


class SetupError(Exception):
    """The set-up cannot go on; the text says what to do."""


@dataclass(frozen=True)
class Progress:
    """How far a step is: `fraction` in 0..1, or None where only `detail` is news."""

    fraction: float | None
    detail: str = ""


def parse_build_line(line: str) -> Progress | None:
    """Progress in a line that ninja or make wrote while compiling, else None."""
    if found := _COUNT.match(line):
        done, total = int(found[1]), int(found[2])
        return Progress(done / total) if 0 < done <= total else None
    if found := _PERCENT.match(line):
        return Progress(min(int(found[1]), 100) / 100)
    return None


def parse_pip_line(line: str) -> Progress | None:
    """Progress in a line that pip wrote (with `--progress-bar raw`), else None."""
    if found := _DOWNLOADED.match(line):
        done, total = int(found[1]), int(found[2])
        return Progress(None, f"{done / 1e6:.0f} of {total / 1e6:.0f} MB") if total >= 5_000_000 else None
    for pattern, text in _PIP_PHASES:
        if found := pattern.match(line):
            return Progress(None, text.format(*found.groups()))
    return None


def time_left(elapsed: float, fraction: float) -> str:
    """The estimate for people, from `elapsed` seconds and the fraction done; '' while there is too little to go by."""
    if fraction < 0.03 or elapsed < 5:
        return ""
    left = elapsed / fraction * (1 - fraction)
    return f"about {left / 60:.0f} min left" if left >= 90 else f"about {max(5, round(left / 5) * 5)} s left"


class Step:
    """One line on the screen. On a terminal it is rewritten in place; elsewhere each tenth is a line of its own."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._begun = time.monotonic()
        self._live = sys.stdout.isatty()
        self._fraction = 0.0
        self._bar_begun = self._begun
        self._told = 0
        self._width = 0
        if self._live:
            self._rewrite(f"{title} ...")
        else:
            print(f"{title} ...", flush=True)

    def update(self, progress: Progress | None) -> None:
        """Shows `progress`; a fraction never goes back."""
        if progress is None:
            return
        if progress.fraction is None:
            if self._live and not self._fraction:
                self._rewrite(f"{self._title} ... {progress.detail}")
            return
        if not self._fraction:
            self._bar_begun = time.monotonic()
        self._fraction = max(self._fraction, progress.fraction)
        left = time_left(time.monotonic() - self._bar_begun, self._fraction)
        if self._live:
            filled = round(self._fraction * 24)
            bar = "#" * filled + "-" * (24 - filled)
            self._rewrite(f"{self._title} [{bar}] {self._fraction:4.0%}  {left}")
        elif int(self._fraction * 10) > self._told:
            self._told = int(self._fraction * 10)
            print(f"  {self._told * 10}% {left}".rstrip(), flush=True)

    def done(self, note: str = "") -> None:
        """Ends the line with the time it took."""
        text = f"{self._title}: {note or 'done'} ({time.monotonic() - self._begun:.0f} s)"
        if self._live:
            self._rewrite(text)
            print(flush=True)
        else:
            print(text, flush=True)

    def failed(self) -> None:
        """Leaves the line as it is; what went wrong is told below it."""
        if self._live:
            print(flush=True)

    def _rewrite(self, text: str) -> None:
        # Spaces rather than an escape sequence, so that it works on every terminal.
        text = text[:100]
        print("\r" + text.ljust(self._width), end="", flush=True)
        self._width = len(text)


def run_logged(
    command: Sequence[str | Path],
    log: Path,
    on_line: Callable[[str], None] = lambda line: None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int:
    """Runs `command`, appends its output to `log`, hands each line to `on_line`; returns the exit status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", errors="replace") as kept:
        kept.write(f"$ {' '.join(map(str, command))}\n")
        with subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=env,
            cwd=cwd,
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    kept.write(line)
                    on_line(line.rstrip("\n"))
            except BaseException:
                process.terminate()
                raise
        return process.returncode


def errors_in(log: Path, count: int = 5) -> str:
    """What the last command in `log` says of errors, else its last lines: for a message, not for a decision."""
    output = log.read_text("utf-8", "replace").rpartition("\n$ ")[2].splitlines()[1:]
    lines = [line.strip() for line in output[-400:] if line.strip()]
    telling = [line for line in lines if re.search(r"\berror\b|not found|No space|Killed", line, re.IGNORECASE)]
    return "\n".join(f"    {line[:300]}" for line in (telling or lines)[-count:])
