"""Finds the running engine process or starts one."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.core.inference import ModelSpec
from inglenook.core.memory import Device, Machine
from inglenook.engine import transport

_log = logging.getLogger(__name__)
ATTEMPTS = 5  # an engine may leave, or die, just as it is found
_STDERR = "engine-stderr.log"
START_SECONDS = 60.0  # until a new engine listens, from the slowest disk
NO_MEMORY = 12  # exit code of an engine that could not allocate
KILLED = N_("The system ended the engine, perhaps because memory ran out. Close other programs and try again.")


def engine_command() -> list[str]:
    """The engine's program: this Python, or in a frozen build the executable beside this one."""
    if getattr(sys, "frozen", False):
        own = Path(sys.executable)
        return [str(own.with_name(f"inglenook-engine{own.suffix}"))]
    return [sys.executable, "-P", "-m", "inglenook.engine"]  # -P: never import from the folder one happens to be in


def environment() -> dict[str, str]:
    """For the engine: no debugger that ggml would run before it aborts, no threads of numpy that compete with it."""
    return {**os.environ, "GGML_NO_BACKTRACE": "1", "OPENBLAS_NUM_THREADS": "1"}


class Reaped:
    """A process of ours, waited for by a thread, so that it leaves no zombie and tells its exit code."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._thread = threading.Thread(target=process.wait, name="engine-reaper", daemon=True)
        self._thread.start()

    def code(self, timeout: float) -> int | None:
        """The exit code, waiting for it at most `timeout` seconds."""
        self._thread.join(timeout)
        return self._process.returncode


@dataclass(frozen=True, slots=True)
class Attachment:
    """A connection to the engine process `pid`; `process` if it is our child."""

    connection: Connection
    pid: int
    process: Reaped | None


def attach(runtime: Path, logs: Path, states: Path | None = None) -> Attachment:
    """Connects to the user's engine; starts it if there is none. Takes as long as Python takes to start.

    Raises `UserError`.
    """
    try:
        folder = transport.private_folder(runtime)
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(0.02 * 2**attempt)  # it is about to end
            try:
                connection, greeting = transport.connect(folder)
                return Attachment(connection, int(greeting["pid"]), None)
            except transport.NoEngineError:
                if found := _start_if_none(folder, runtime, logs, states):
                    return found
            except transport.SilentEngineError as silent:
                _log.error("engine %d does not answer and is ended", silent.pid)
                kill(silent.pid)
    except OSError as error:
        raise UserError(
            N_("The engine could not be started in {folder}: {reason}."), folder=runtime, reason=error.strerror or error
        ) from error
    raise UserError(N_("The engine could not be reached. Try again, or restart Inglenook."))


def _start_if_none(folder: Path, runtime: Path, logs: Path, states: Path | None) -> Attachment | None:
    """Starts an engine unless another program did while we waited for the lock. None: try to connect again."""
    with transport.locked(folder):
        transport.read_key(folder)
        try:
            connection, greeting = transport.connect(folder)
            return Attachment(connection, int(greeting["pid"]), None)
        except transport.NoEngineError:
            pass
        except transport.SilentEngineError as silent:
            kill(silent.pid)
        transport.forget(folder)
        process = _start(runtime, logs, states)
        try:
            connection, greeting = transport.connect(folder)
        except transport.NoEngineError:
            return None
        except transport.SilentEngineError as silent:
            kill(silent.pid)
            return None
    return Attachment(connection, int(greeting["pid"]), process)


def _start(runtime: Path, logs: Path, states: Path | None) -> Reaped:
    """Starts the process and waits until it listens."""
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    command = [*engine_command(), "--runtime", str(runtime.absolute()), "--logs", str(logs.absolute())]
    command += ["--states", str(states.absolute())] if states else []
    descriptor = os.open(logs / _STDERR, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "wb") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment(), **options
        )
    assert process.stdout is not None
    patience = threading.Timer(START_SECONDS, process.kill)
    patience.daemon = True
    patience.start()
    with process.stdout as output:
        ready = output.readline()
    patience.cancel()
    reaped = Reaped(process)
    if not ready:
        code = reaped.code(5)
        _log.error("the engine did not start (%s): %s", code, last_words(logs))
        if code is not None and (code < 0 or code == NO_MEMORY):  # by a signal, or short of memory
            raise UserError(KILLED)
        raise UserError(
            N_("The engine could not be started. Install Inglenook again; {log} says why."), log=logs / _STDERR
        )
    return reaped


def last_words(logs: Path) -> str:
    """The end of what the engine wrote, for the log."""
    lines: list[str] = []
    for name in ("engine.log", _STDERR):
        try:
            with (logs / name).open("rb") as file:
                file.seek(max(0, (logs / name).stat().st_size - 2000))
                lines += file.read().decode("utf-8", "replace").splitlines()[-4:]
        except OSError:
            continue
    return " | ".join(lines)


def kill(pid: int) -> None:
    """Ends the engine process `pid` by force."""
    try:
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    except OSError:
        _log.info("engine %d is gone already", pid)


def describe(model: ModelSpec | None = None) -> dict[str, Any]:
    """Versions, system information and devices, found out by a process of its own. Raises `UserError`.

    "machine" is a `core.memory.Machine` as a dict. With a `model` there is "plan" too: a `core.memory.Plan` as a dict,
    or {"error": an `ErrorInfo` as a dict}.
    """
    command = [*engine_command(), "--describe"]
    if model is not None:
        command += ["--model", model.path, "--context", str(model.n_ctx), "--gpu-layers", str(model.gpu_layers)]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=60, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise UserError(
            N_("The engine's library could not be started ({reason}). Install Inglenook again."),
            reason=" ".join(reason),
        ) from error
    return found


def machine() -> Machine:
    """The computer as `core.fitting` wants it, for an estimate before a model is there. Takes about a second.

    Raises `UserError`.
    """
    found = describe()["machine"]
    devices = tuple(Device(**device) for device in found.pop("devices"))
    repacks = tuple((kind, rows) for kind, rows in found.pop("repacks"))
    return Machine(**found, devices=devices, repacks=repacks)
