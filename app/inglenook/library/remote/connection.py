"""Connections on which a wait can be cut short: `check` is asked several times a second, and ends it by raising.

So a pause, a cancel or the switch of the network ends also what waits for a server that has fallen silent.
"""

from __future__ import annotations

import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterable

import httpcore

_LOOK_SECONDS = 0.2


class Backend(httpcore.NetworkBackend):
    """Connects as httpcore does by itself. `check` must be cheap."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection, and whatever `check` raises meanwhile."""

        def connect() -> httpcore.NetworkStream:
            return self._plain.connect_tcp(host, port, timeout, local_address, socket_options)

        return _Stream(_beside(connect, self._check), self._check)


class _Stream(httpcore.NetworkStream):
    """A connection that is read for a moment at a time."""

    def __init__(self, stream: httpcore.NetworkStream, check: Callable[[], None]) -> None:
        self._stream = stream
        self._check = check

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        until = time.monotonic() + timeout if timeout is not None else float("inf")
        while True:
            self._check()
            left = until - time.monotonic()
            try:
                return self._stream.read(max_bytes, min(max(left, 0.001), _LOOK_SECONDS))
            except httpcore.ReadTimeout:
                if left <= _LOOK_SECONDS:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        def start() -> httpcore.NetworkStream:
            return self._stream.start_tls(ssl_context, server_hostname, timeout)

        return _Stream(_beside(start, self._check), self._check)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


def _beside(make: Callable[[], httpcore.NetworkStream], check: Callable[[], None]) -> httpcore.NetworkStream:
    """What `make` returns or raises. If `check` raises meanwhile, what comes of it (by its own timeout) is closed."""
    made: queue.SimpleQueue[httpcore.NetworkStream | BaseException] = queue.SimpleQueue()
    lock = threading.Lock()
    given_up = False

    def work() -> None:
        found: httpcore.NetworkStream | BaseException
        try:
            found = make()
        except BaseException as error:  # raised where it is waited for
            found = error
        with lock:
            if not given_up:
                made.put(found)
                return
        if isinstance(found, httpcore.NetworkStream):
            found.close()

    threading.Thread(target=work, name="connects", daemon=True).start()
    while True:
        try:
            found = made.get(timeout=_LOOK_SECONDS)
            break
        except queue.Empty:
            try:
                check()
            except BaseException:
                with lock:
                    given_up = True
                while not made.empty():
                    late = made.get()
                    if isinstance(late, httpcore.NetworkStream):
                        late.close()
                raise
    if isinstance(found, BaseException):
        raise found
    return found
