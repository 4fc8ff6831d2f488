"""The engine process: lets clients in, reads their commands, ends when the last one is gone.

Threads: the main one accepts; each client has a reader, which drains its commands at once and notices its end, and an
outbox; one thread owns llama.cpp (`Runner`).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import TYPE_CHECKING

from inglenook.core import logs
from inglenook.core.errors import ErrorInfo
from inglenook.core.events import Finished, StopReason
from inglenook.core.inference import EngineState, EngineStatus
from inglenook.engine import protocol, transport
from inglenook.engine.launch import NO_MEMORY
from inglenook.engine.outbox import Outbox
from inglenook.engine.protocol import (
    BROKEN,
    Answer,
    Beat,
    Bench,
    Cancel,
    Changed,
    Count,
    Happened,
    Inject,
    Leave,
    Spare,
)
from inglenook.engine.pulse import BEAT_SECONDS, Naps, Pulse
from inglenook.engine.schedule import ClientLine, Job

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

    from inglenook.engine.runner import Runner

_log = logging.getLogger(__name__)
FIRST_CLIENT_SECONDS = 20.0  # the program that started this process should have come by then
STACK_BYTES = 64 << 20  # llama.cpp splits text into words by recursion
_NO_THREAD = "can't start new thread"  # as Python says that there is no memory for its stack


class Host:
    """The clients of this process and its life-time."""

    def __init__(self, folder: Path, states: Path | None) -> None:
        self._states = states
        self._key = transport.read_key(folder)
        self._listener: Listener = transport.listen(folder)
        transport.publish(folder, self._listener.address)
        self._lock = threading.Lock()
        self._clients: list[ClientLine] = []
        self._status = EngineStatus(EngineState.OFF, pid=os.getpid())
        self._leave_timer: threading.Timer | None = None
        self._runner: Runner | None = None
        self._runner_ready = threading.Event()
        self._leave_after(FIRST_CLIENT_SECONDS)

    def serve(self) -> None:
        """Accepts clients for ever."""
        threading.stack_size(STACK_BYTES)
        threading.Thread(target=self._run_llama, name="llama", daemon=True).start()
        threading.stack_size(0)
        threading.Thread(target=self._beat, name="beat", daemon=True).start()
        while True:
            try:
                connection: Connection = self._listener.accept()
            except OSError:  # a client that went away while it was being accepted, or no more file descriptors
                time.sleep(0.05)
                continue
            try:
                threading.Thread(target=self._read, args=(connection,), name="reader", daemon=True).start()
            except RuntimeError:  # there is no memory for its stack
                end_without_memory()

    def _run_llama(self) -> None:
        """Imports late, so that clients need not wait for the library."""
        try:
            from inglenook.engine.runner import Runner

            self._runner = Runner(self._publish, self._states)
            self._runner_ready.set()
            self._runner.run()
        except MemoryError:
            end_without_memory()
        except BaseException:
            _log.exception("the thread of llama.cpp ended")
            if self._runner is not None:  # a new engine may do better
                os._exit(1)
            self._publish(EngineStatus(EngineState.CRASHED, error=ErrorInfo(BROKEN), pid=os.getpid()))
            self._runner_ready.set()

    def _beat(self) -> None:
        """Tells all clients each second that the work goes on, while there is some and it does."""
        naps, starting = Naps(), Pulse()
        starting.begin()
        while True:
            runner = self._runner  # None while the library is being loaded, or if it cannot be
            pulse = starting if runner is None else runner.pulse
            if runner is not None:
                runner.schedule.wait_busy()
            if pulse.is_well():
                with self._lock:
                    for client in self._clients:
                        client.outbox.put(Beat())
            naps.noticed()
            due = time.monotonic() + BEAT_SECONDS
            time.sleep(BEAT_SECONDS)
            if naps.noticed(due):
                _log.info("the machine slept, or this process stood still")
                pulse.forgive()
            if runner is None and self._runner is None and self._runner_ready.is_set():
                return

    # -- clients --

    def _read(self, connection: Connection) -> None:
        """A client's whole stay."""
        try:
            ours = transport.admit(connection, self._key)
            client = self._enter(connection) if ours else None
            if client is None:
                connection.send_bytes(protocol.greeting(pid=os.getpid()))  # tells the other version which one this is
                return
        except (OSError, EOFError, ValueError, AuthenticationError):
            _log.info("a client did not get through the handshake")
            return
        idle = 0.0
        try:
            while True:
                command = protocol.unpack(connection.recv_bytes())
                if isinstance(command, Leave):
                    idle = command.idle_seconds
                    break
                self._obey(client, command)
        except (OSError, EOFError):
            pass
        finally:
            self._exit(client, idle)
            connection.close()

    def _enter(self, connection: Connection) -> ClientLine | None:
        """Registers the client; from here on the process stays."""
        with self._lock:
            if self._leave_timer is not None:
                self._leave_timer.cancel()
                self._leave_timer = None
            connection.send_bytes(protocol.greeting(pid=os.getpid()))
            client = ClientLine(Outbox(connection, "writer"))
            client.outbox.put(Changed(self._status))
            self._clients.append(client)
            _log.info("%d clients", len(self._clients))
            return client

    def _obey(self, client: ClientLine, command: object) -> None:
        self._runner_ready.wait()
        runner = self._runner
        if isinstance(command, Cancel):
            for job in runner.schedule.cancel(client, command.id) if runner else ():
                client.outbox.put(_refusal(job.command, Finished(StopReason.CANCELLED)))
        elif isinstance(command, Inject):
            if runner is not None:
                runner.schedule.inject(client, command)
        elif isinstance(command, Spare):
            client.spares = command.wanted
        elif runner is None:
            client.outbox.put(_refusal(command, Finished(StopReason.FAILED, error=ErrorInfo(BROKEN))))
        else:
            runner.schedule.add(Job(client, command))  # type: ignore[arg-type] # the other commands are jobs

    def _exit(self, client: ClientLine, idle: float) -> None:
        if self._runner is not None:
            self._runner.schedule.cancel(client)
        client.outbox.close(0.0)
        with self._lock:
            self._clients.remove(client)
            _log.info("%d clients", len(self._clients))
            if not self._clients:
                self._leave_after(idle)

    def _publish(self, status: EngineStatus) -> None:
        with self._lock:
            self._status = status
            for client in self._clients:
                client.outbox.put(Changed(status))

    # -- the end --

    def _leave_after(self, seconds: float) -> None:
        """Under the lock, or before there are clients."""
        if seconds <= 0:
            self._leave()
        self._leave_timer = threading.Timer(seconds, self._leave_if_alone)
        self._leave_timer.daemon = True
        self._leave_timer.start()

    def _leave_if_alone(self) -> None:
        with self._lock:
            if not self._clients and self._leave_timer is not None:
                self._leave()

    def _leave(self) -> None:
        """Ends the process at once, whatever llama.cpp is doing: nothing here is worth saving.

        Under the lock: a client that is just coming is not let in, sees the connection end, and starts another engine.
        """
        try:
            _log.info("leaves")
            self._listener.close()  # raises where somebody has removed the socket's file
            logging.shutdown()
        finally:
            os._exit(0)


def _refusal(command: object, end: Finished) -> Happened | Answer:
    number: int = getattr(command, "id", 0)
    if isinstance(command, Count | Bench):
        return Answer(number, error=end.error)
    return Happened(number, end)


def end_without_memory() -> None:
    """Ends the process: what goes on after an allocation failed cannot be relied on, and a new engine plans anew."""
    try:
        _log.critical("memory ran out", exc_info=True)
    finally:
        os._exit(NO_MEMORY)


def _on_thread_error(error: threading.ExceptHookArgs) -> None:
    if error.exc_type is MemoryError or (error.exc_type is RuntimeError and _NO_THREAD in str(error.exc_value)):
        end_without_memory()
    threading.__excepthook__(error)


def _on_unraisable(error: UnraisableHookArgs) -> None:
    """Within what C calls: its caller goes on with whatever it takes for the answer."""
    if isinstance(error.exc_value, MemoryError):
        end_without_memory()
    sys.__unraisablehook__(error)


def main(runtime: Path, log_folder: Path, states: Path | None) -> None:
    """Runs the engine; never returns. `states` is the folder of saved states, if there are to be any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the program there
    logs.start(log_folder, "engine")
    threading.excepthook = _on_thread_error
    sys.unraisablehook = _on_unraisable
    host = Host(transport.private_folder(runtime), states)
    _log.info("started")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # the starter waits for the end of this pipe no longer
    os.close(null)
    host.serve()
