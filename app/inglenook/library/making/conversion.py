"""Converting a checkpoint as a job: the converter runs as a child process and reports its progress as JSON lines.

A child, because converting is heavy on memory and disk and must be able to end, at once and without a trace, when the
user cancels or the program is killed; and because the converter is a program of its own that knows nothing of this one.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.core.inference import Cancelled

log = logging.getLogger(__name__)


def convert_command() -> list[str]:
    """The converter's command: a module of this interpreter, or the second executable of a frozen build."""
    if getattr(sys, "frozen", False):
        suffix = ".exe" if sys.platform == "win32" else ""
        return [str(Path(sys.executable).with_name(f"inglenook-convert{suffix}"))]
    return [sys.executable, "-m", "inglenook_convert"]


class Converter:
    """One run of the converter: `run` it once, `end` it from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._ended = False

    def run(self, arguments: Sequence[str], report: Callable[[Mapping[str, Any]], None], folder: Path) -> None:
        """Calls `report` with each object of its progress, the last one with what came out. It runs in `folder`.

        Raises `UserError` with the converter's own sentence when it refuses or fails, `Cancelled` when it was ended.
        """
        command = [*convert_command(), *arguments, "--progress", "json"]
        with self._lock:
            if self._ended:
                raise Cancelled
            self._child = child = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        with child:
            try:
                assert child.stdout is not None
                for line in child.stdout:
                    report(_object(line))
                _, errors = child.communicate()
            except BaseException:
                child.terminate()
                raise
        if self._ended:
            raise Cancelled
        if child.returncode != 0:
            log.error("the converter failed (%s): %s: %s", child.returncode, arguments, errors)
            words = next((line for line in reversed(errors.splitlines()) if line.strip()), "")
            raise UserError(N_("{reason}"), reason=words.removeprefix("inglenook-convert: ") or str(child.returncode))

    def end(self) -> None:
        """Has it end and clean up, at once; afterwards it cannot be run."""
        with self._lock:
            self._ended = True
            if self._child is not None:
                self._child.terminate()


def convert(source: Path, target: Path, progress: Callable[[float], None], cancelled: Callable[[], bool]) -> None:
    """Converts the checkpoint folder `source` to the GGUF file `target`, which appears only when it is complete.

    `progress` is called with a fraction in 0..1; `cancelled` is asked at each report of the converter. Raises
    `UserError` with the converter's own words when it refuses or fails, `Cancelled` when `cancelled()` became true.
    """
    target.parent.mkdir(parents=True, exist_ok=True)

    def report(values: Mapping[str, Any]) -> None:
        if cancelled():
            raise Cancelled
        progress(_fraction(values))

    try:
        Converter().run([str(source.absolute()), "-o", str(target.absolute())], report, target.parent)
    except UserError as error:
        raise UserError(
            N_("The model in {source} could not be converted. {reason}"), source=source, reason=error.info.text()
        ) from error


def _object(line: str) -> Mapping[str, Any]:
    """A progress line; empty for one that is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _fraction(report: Mapping[str, Any]) -> float:
    """0 for a line that says nothing about bytes."""
    try:
        return min(1.0, float(report["bytes_done"]) / max(1.0, float(report["bytes_total"])))
    except (ValueError, KeyError, TypeError):
        return 0.0
