"""Keeps the machine from going to sleep by itself while a long job runs, if the user wants it.

The system's own program does it (systemd-inhibit, caffeinate) for as long as a `cat` lives that reads from us: it ends
with the job, and with this process however that ends. On Windows a thread asks the system.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Protocol

_log = logging.getLogger(__name__)
DELAY = 20.0  # seconds: what is over sooner needs nobody's help
_END_SECONDS = 2.0
_CONTINUOUS, _SYSTEM = 0x80000000, 0x00000001  # ES_CONTINUOUS, ES_SYSTEM_REQUIRED of Windows


class Hold(Protocol):
    """The machine stays awake until `end`."""

    def end(self) -> None:
        """It may sleep again."""


class Awake:
    """Knows which long jobs run, and holds the machine awake as long as there are any. For any thread."""

    def __init__(
        self, wanted: Callable[[], bool], hold: Callable[[], Hold | None] | None = None, delay: float = DELAY
    ) -> None:
        """`wanted` is the user's wish; `hold` takes hold of the machine, or returns None where it cannot."""
        self._wanted = wanted
        self._take = hold or hold_awake
        self._delay = delay
        self._lock = threading.Lock()
        self._jobs: set[str] = set()
        self._timer: threading.Timer | None = None
        self._hold: Hold | None = None

    def set(self, job: str, *, busy: bool) -> None:
        """That job runs, or does no more; may be said any number of times."""
        with self._lock:
            (self._jobs.add if busy else self._jobs.discard)(job)
            if not self._jobs or (self._hold is not None and not self._wanted()):
                self._end()
            elif self._timer is None and self._wanted():
                self._timer = threading.Timer(self._delay, self._begin)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """The program ends."""
        with self._lock:
            self._jobs.clear()
            self._end()

    def _begin(self) -> None:
        with self._lock:
            if threading.current_thread() is self._timer and self._jobs and self._wanted():
                self._hold = self._take()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._hold is not None:
            self._hold.end()
            self._hold = None


def hold_awake() -> Hold | None:
    """Takes hold of this machine; None, which the log tells, where there is no way."""
    if sys.platform == "win32":
        return _WindowsHold()
    command = inhibitor(sys.platform)
    if shutil.which(command[0]) is None:
        _log.info("the machine may sleep: there is no %s", command[0])
        return None
    try:
        return _ProgramHold(command)
    except OSError as error:
        _log.info("the machine may sleep: %s", error)
        return None


def inhibitor(platform: str) -> list[str]:
    """The command that keeps the machine awake until the end of its input."""
    if platform == "darwin":
        return ["caffeinate", "-i", "cat"]
    why = "--why=A model answers, or is fetched or prepared"
    return ["systemd-inhibit", "--what=idle:sleep", "--mode=block", "--who=Inglenook", why, "cat"]


class _ProgramHold:
    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def end(self) -> None:
        assert self._process.stdin is not None
        refused = self._process.poll()
        self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if refused is not None:
            _log.info("the machine could sleep: %s ended with %d", self._process.args, refused)


class _WindowsHold:
    def __init__(self) -> None:
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="awake", daemon=True).start()  # it belongs to a thread

    def _run(self) -> None:
        import ctypes

        if sys.platform == "win32":  # for the type checker
            kernel = ctypes.windll.kernel32
            kernel.SetThreadExecutionState(ctypes.c_uint(_CONTINUOUS | _SYSTEM))
            self._ended.wait()
            kernel.SetThreadExecutionState(ctypes.c_uint(_CONTINUOUS))

    def end(self) -> None:
        self._ended.set()
