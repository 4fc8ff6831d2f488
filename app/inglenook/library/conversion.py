"""Converting a checkpoint as a job: the converter runs as a child process and reports its progress as JSON lines.

A child, because converting is heavy on memory and disk and must be able to end, at once and without a trace, when the
user cancels or the program is killed; and because the converter is a program of its own that knows nothing of this one.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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


def convert(source: Path, target: Path, progress: Callable[[float], None], cancelled: Callable[[], bool]) -> None:
    """Converts the checkpoint folder `source` to the GGUF file `target`, which appears only when it is complete.

    `progress` is called with a fraction in 0..1; `cancelled` is asked at each report of the converter. Raises
    `UserError` with the converter's own words when it refuses or fails, `Cancelled` when `cancelled()` became true.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [*convert_command(), str(source), "-o", str(target), "--progress", "json"]
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        creationflags=flags,
    ) as child:
        try:
            assert child.stdout is not None
            for line in child.stdout:
                if cancelled():
                    raise Cancelled
                progress(_fraction(line))
            _, errors = child.communicate()
        except BaseException:
            child.terminate()
            raise
    if child.returncode != 0:
        log.error("converting %s failed (%s): %s", source, child.returncode, errors)
        reason = next((line for line in reversed(errors.splitlines()) if line.strip()), "")
        raise UserError(N_("The model in {source} could not be converted. {reason}"), source=source, reason=reason)


def _fraction(line: str) -> float:
    """Of one progress line; 0 for a line that says nothing about bytes."""
    try:
        report = json.loads(line)
        return min(1.0, float(report["bytes_done"]) / max(1.0, float(report["bytes_total"])))
    except (ValueError, KeyError, TypeError):
        return 0.0
