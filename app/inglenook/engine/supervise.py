"""The inference thread of a client process: tokens, crashes and commands arrive in one place, and nothing is polled."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.events import Finished, Loading, Prefill, StopReason, Tokens
from inglenook.core.i18n import N_
from inglenook.core.inference import EngineState, EngineStatus, ModelInfo, ModelSpec
from inglenook.core.prompt import Segment
from inglenook.engine import launch
from inglenook.engine.generation import EngineGeneration, Reply
from inglenook.engine.launch import KILLED, NO_MEMORY, Attachment
from inglenook.engine.outbox import Outbox
from inglenook.engine.protocol import (
    BROKEN,
    Ahead,
    Answer,
    Beat,
    Bench,
    Cancel,
    Changed,
    Count,
    Happened,
    Inject,
    Leave,
    Load,
    Report,
    Run,
    Spare,
    unpack,
)
from inglenook.engine.pulse import Naps

_log = logging.getLogger(__name__)
CRASHED = N_("The engine stopped unexpectedly. Try again: it starts anew.")
HUNG = N_("The engine did not answer and was ended. Try again: it starts anew.")
CLOSED = N_("The engine was closed.")
PATIENCE = (
    5.0  # seconds from a cancel to its end event, or 4 times the longest pause seen, before the engine counts as hung
)
LOAD_PATIENCE = 120.0  # the same while loading: a slow disk gives no sign of life
SILENCE = 20.0  # seconds without a word of an engine that has work; see engine.pulse
POWER_SECONDS = 5.0  # a battery is asked at most that often: some take a tenth of a second to answer
LOOK_SECONDS = 30.0  # between two looks at whether the engine may sleep by now: its setting may have changed
KILL_SECONDS = 5.0  # from killing it to the end of the connection


@dataclass(frozen=True, slots=True)
class _Unload:
    """Leave the engine, and go on without."""


@dataclass(frozen=True, slots=True)
class _Close:
    """Leave the engine, and end the thread."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """No engine could be had."""

    error: ErrorInfo


Request = Run | Load | Ahead | Count | Bench
_Post = Request | Cancel | Inject | Attachment | _Failed | _Unload | _Close


@dataclass(slots=True)
class _Waiting:
    """A request without its end, and who waits for that."""

    consumer: EngineGeneration | Reply
    give_up: float | None = None  # once cancelled: when the engine is taken for hung
    heard: float = 0.0  # when its last micro-batch or token was told
    pause: float = 0.0  # the longest from one to the next
    loading: bool = False


class Supervisor:
    """Owns the connection. `post` and its kin are for any thread; everything below them is the inference thread's."""

    def __init__(
        self,
        runtime: Path,
        logs: Path,
        idle_seconds: float,
        on_status: Callable[[EngineStatus], None],
        states: Path | None = None,
        sleep_after: Callable[[], float] = lambda: 0.0,
        spares: Callable[[], bool] = lambda: False,
    ) -> None:
        """`sleep_after` gives the seconds without a request after which the engine is left; 0 is never.

        `spares` tells whether the engine is to spare the battery; it is asked from time to time while that works.
        """
        self._runtime, self._logs, self._idle, self._states = runtime, logs, idle_seconds, states
        self._on_status = on_status
        self._sleep_after = sleep_after
        self._spares = spares
        self._spared = False  # what the engine was told of that
        self._ask_power = 0.0  # not before
        self._used = 0.0  # when the last request ended
        self._inbox: queue.SimpleQueue[tuple[_Post, EngineGeneration | Reply | None]] = queue.SimpleQueue()
        self._awake, self._wake = Pipe(duplex=False)
        self._lock = threading.Lock()
        self._woken = False
        self._thread: threading.Thread | None = None
        self._closed = False
        self.infos: dict[ModelSpec, ModelInfo] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._unsent: list[Request] = []
        self._attachment: Attachment | None = None
        self._outbox: Outbox | None = None
        self._attaching = False
        self._heard = 0.0  # when the engine last said anything, or was first asked for something
        self._killed = 0.0  # when it was taken for hung; 0 if it was not
        self._naps = Naps()

    def request(self, request: Request, consumer: EngineGeneration | Reply) -> None:
        """Queues a request; the consumer hears of it."""
        if not self._post(request, consumer, start=True):
            _end(consumer, StopReason.CANCELLED, ErrorInfo(CLOSED))

    def cancel(self, number: int) -> None:
        """Asks a generation to end."""
        self._post(Cancel(number))

    def inject(self, number: int, segments: Sequence[Segment], after: int) -> None:
        """Hands a generation tokens to go on with."""
        self._post(Inject(number, tuple(segments), after))

    def unload(self) -> None:
        """Leaves the engine."""
        self._post(_Unload())

    def close(self) -> None:
        """Leaves the engine and ends the thread. Waits for it."""
        self._post(_Close())
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            thread.join(10)
        elif not self._awake.closed:
            self._awake.close()
            self._wake.close()

    def _post(self, item: _Post, consumer: EngineGeneration | Reply | None = None, *, start: bool = False) -> bool:
        with self._lock:
            if self._closed:
                return False
            if self._thread is None:
                if not start:
                    return False
                self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
                self._thread.start()
            self._inbox.put((item, consumer))
            if not self._woken:
                self._woken = True
                self._wake.send_bytes(b"w")
            return True

    # -- the inference thread --

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except BaseException:
            _log.exception("the inference thread ended")
            raise
        finally:
            self._leave(0.0)
            self._end_all(StopReason.CANCELLED, ErrorInfo(CLOSED))
            with self._lock:
                self._closed = True
                while not self._inbox.empty():
                    _, consumer = self._inbox.get()
                    if consumer is not None:
                        _end(consumer, StopReason.CANCELLED, ErrorInfo(CLOSED))
                self._awake.close()
                self._wake.close()

    def _step(self) -> bool:
        """Waits for something to happen and handles it; False at the end."""
        connection = self._attachment.connection if self._attachment else None
        deadline = self._deadline()
        now = time.monotonic()
        timeout = None if deadline is None else max(0.0, deadline - now)
        if connection and not self._waiting and not self._killed:
            timeout = LOOK_SECONDS if timeout is None else min(timeout, LOOK_SECONDS)
        ready = wait([self._awake, *([connection] if connection else [])], timeout)
        slept = self._naps.noticed(None if timeout is None else now + timeout)
        if slept:
            self._forgive()
        if connection in ready:
            self._receive()
        if self._awake in ready:
            with self._lock:
                self._awake.recv_bytes()
                self._woken = False
            while not self._inbox.empty():
                if not self._handle(*self._inbox.get()):
                    return False
        if ready or slept:
            return True
        if self._killed:
            self._lost()  # the system cannot end it now: a driver holds it
        elif self._waiting:
            self._kill_hung()
        elif (due := self._deadline()) is not None and due <= time.monotonic():
            self._leave(0.0)
            self._on_status(EngineStatus(EngineState.OFF))
        return True

    def _deadline(self) -> float | None:
        """When the engine is to be taken for hung, or left because nobody needs it."""
        if self._killed:
            return self._killed + KILL_SECONDS
        if self._waiting:
            ends = [w.give_up for w in self._waiting.values() if w.give_up is not None]
            if self._attachment is not None:
                ends.append(self._heard + SILENCE)
            return min(ends, default=None)
        seconds = self._sleep_after()
        return self._used + seconds if seconds > 0 and self._attachment is not None else None

    def _handle(self, item: _Post, consumer: EngineGeneration | Reply | None) -> bool:
        match item:
            case _Close():
                self._leave(self._idle)
                return False
            case _Unload():
                self._leave(0.0)
                self._end_all(StopReason.CANCELLED, ErrorInfo(CLOSED))
                self._on_status(EngineStatus(EngineState.OFF))
            case Cancel(number):
                self._cancel(number)
            case Inject(number):
                if self._outbox is not None and number in self._waiting:
                    self._outbox.put(item)
            case Attachment():
                self._attached(item)
            case _Failed(error):
                self._attaching = False
                self._on_status(EngineStatus(EngineState.OFF, error=error))
                self._end_all(StopReason.FAILED, error)
            case _:
                assert consumer is not None
                if not self._waiting:
                    self._heard = time.monotonic()
                self._waiting[item.id] = _Waiting(consumer)
                if self._outbox is not None:
                    self._tell_power(self._outbox)
                    self._outbox.put(item)
                else:
                    self._unsent.append(item)
                    self._attach()
        return True

    def _attach(self) -> None:
        """Starts or finds the engine, on a thread of its own, so that a cancel is heard meanwhile."""
        if self._attaching:
            return
        self._attaching = True
        self._on_status(EngineStatus(EngineState.STARTING))

        def work() -> None:
            result: Attachment | _Failed
            try:
                result = launch.attach(self._runtime, self._logs, self._states)
            except UserError as error:
                result = _Failed(error.info)
            except Exception:  # our bug: logged, and told to those who wait
                _log.exception("no engine")
                result = _Failed(ErrorInfo(CRASHED))
            if not self._post(result) and isinstance(result, Attachment):
                result.connection.close()

        threading.Thread(target=work, name="engine-starter", daemon=True).start()

    def _attached(self, attachment: Attachment) -> None:
        self._attaching = False
        if not self._waiting:  # cancelled or unloaded meanwhile
            attachment.connection.close()
            self._on_status(EngineStatus(EngineState.OFF))
            return
        self._heard = time.monotonic()
        self._attachment = attachment
        self._outbox = Outbox(attachment.connection, "engine-writer")
        self._spared, self._ask_power = False, 0.0
        self._tell_power(self._outbox)
        for request in self._unsent:
            self._outbox.put(request)
        self._unsent.clear()

    def _cancel(self, number: int) -> None:
        waiting = self._waiting.get(number)
        if waiting is None:
            return
        if unsent := [r for r in self._unsent if r.id == number]:
            self._unsent.remove(unsent[0])
            del self._waiting[number]
            _end(waiting.consumer, StopReason.CANCELLED, None)
        elif self._outbox is not None:
            self._outbox.put(Cancel(number))
            patience = LOAD_PATIENCE if waiting.loading else max(PATIENCE, 4 * waiting.pause)
            waiting.give_up = time.monotonic() + patience

    def _tell_power(self, outbox: Outbox) -> None:
        now = time.monotonic()
        if now < self._ask_power:
            return
        self._ask_power = now + POWER_SECONDS
        if (wanted := self._spares()) != self._spared:
            self._spared = wanted
            outbox.put(Spare(wanted))

    # -- reports --

    def _receive(self) -> None:
        assert self._attachment is not None
        connection = self._attachment.connection
        try:
            report = unpack(connection.recv_bytes())
        except BlockingIOError:  # it stands still in the middle of a message: what comes after it could not be read
            self._kill_hung()
            self._lost()
            return
        except (EOFError, OSError):
            self._lost()
            return
        self._heard = time.monotonic()
        self._report(report)  # type: ignore[arg-type] # the engine sends reports

    def _report(self, report: Report) -> None:
        match report:
            case Changed(status):
                if status.model is not None:
                    self.infos[status.model.spec] = status.model
                self._on_status(status)
            case Beat():
                if self._outbox is not None:
                    self._tell_power(self._outbox)
            case Answer(number, value, error):
                waiting = self._waiting.pop(number, None)
                self._used = time.monotonic()
                if waiting is not None and isinstance(waiting.consumer, Reply):
                    waiting.consumer.set(value, error)
                self._leave_broken(error)
            case Happened(number, event):
                waiting = self._waiting.get(number)
                if waiting is None:
                    return
                waiting.loading = isinstance(event, Loading)
                if isinstance(event, Prefill | Tokens):
                    now = time.monotonic()
                    if waiting.heard:
                        waiting.pause = max(waiting.pause, now - waiting.heard)
                    waiting.heard = now
                if isinstance(event, Finished):
                    del self._waiting[number]
                    self._used = time.monotonic()
                if isinstance(waiting.consumer, EngineGeneration):
                    waiting.consumer.feed(event)
                if isinstance(event, Finished):
                    self._leave_broken(event.error)

    # -- ends --

    def _leave_broken(self, error: ErrorInfo | None) -> None:
        """An engine without its library never gets one; the next may, if only memory was short."""
        if error is not None and error.template == BROKEN and not self._waiting:
            self._disconnect()
            self._on_status(EngineStatus(EngineState.CRASHED, error=error))

    def _forgive(self) -> None:
        """The machine slept: the engine has all its time again."""
        _log.info("the machine slept, or this process stood still")
        now = self._heard = time.monotonic()
        for waiting in self._waiting.values():
            if waiting.give_up is not None:
                waiting.give_up = max(waiting.give_up, now + PATIENCE)

    def _kill_hung(self) -> None:
        assert self._attachment is not None
        _log.error("engine %d does not answer and is ended", self._attachment.pid)
        self._killed = time.monotonic()
        launch.kill(self._attachment.pid)

    def _lost(self) -> None:
        """The engine is gone without being asked: tells everybody. The next request starts a new one."""
        attachment = self._attachment
        assert attachment is not None
        hung = bool(self._killed)
        self._disconnect()
        code = attachment.process.code(1.0) if attachment.process else None
        _log.error("engine %d ended (%s): %s", attachment.pid, code, launch.last_words(self._logs))
        killed = code in (-9, NO_MEMORY)  # SIGKILL, as Linux does when memory runs out
        error = ErrorInfo(HUNG if hung else KILLED if killed else CRASHED)
        self._on_status(EngineStatus(EngineState.CRASHED, error=error))
        self._end_all(StopReason.FAILED, error)

    def _leave(self, idle_seconds: float) -> None:
        if self._outbox is not None:
            self._outbox.put(Leave(idle_seconds))
        self._disconnect(2.0)

    def _disconnect(self, flush: float = 0.0) -> None:
        if self._outbox is not None:
            self._outbox.close(flush)
            self._outbox = None
        if self._attachment is not None:
            self._attachment.connection.close()
            self._attachment = None
        self._killed = 0.0

    def _end_all(self, reason: StopReason, error: ErrorInfo | None) -> None:
        waiting, self._waiting = self._waiting, {}
        self._unsent.clear()
        for one in waiting.values():
            _end(one.consumer, StopReason.CANCELLED if one.give_up is not None else reason, error)


def _end(consumer: EngineGeneration | Reply, reason: StopReason, error: ErrorInfo | None) -> None:
    """Tells the one end event; a cancelled generation has no error."""
    if isinstance(consumer, Reply):
        consumer.set(0.0, error)
    else:
        consumer.feed(Finished(reason, error=error if reason is StopReason.FAILED else None))
