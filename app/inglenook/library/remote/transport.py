"""How `network` sends a request: after asking the switch, with a line in the list, by the system's proxy."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import certifi
import httpcore
import httpx

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.remote.answers import Odd
from inglenook.library.remote.connection import Backend
from inglenook.library.remote.network import Lost, address
from inglenook.library.remote.proxy import system_proxy

if TYPE_CHECKING:
    from inglenook.library.remote.network import Network

_RECORD_BYTES = 64 << 20  # how much may arrive before the list of requests is brought up to date
_KEEP_SECONDS = 5.0  # a connection that nothing uses


class GuardedTransport(httpx.BaseTransport):
    """Sends the requests of one client. `check` is asked while it waits, and ends that by raising.

    Connections are kept, in a pool for each proxy. httpcore, which httpx is made on, is used directly since only it
    lets us see the connections.
    """

    def __init__(self, network: Network, purpose: str, check: Callable[[], None]) -> None:
        self._network = network
        self._purpose = purpose
        self._check = check
        self._backend = Backend(self._look)
        self._pools: dict[tuple[httpx.URL | None, bool], httpcore.ConnectionPool] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends one request; see `Network.client` for what it raises."""
        self._look()
        url = request.url
        sent = int(request.headers.get("Content-Length", 0))
        id_ = self._network.traffic.begin(url.host, self._purpose, sent)
        assert isinstance(request.stream, httpx.SyncByteStream)
        there = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        plain = httpcore.Request(
            request.method, there, headers=request.headers.raw, content=request.stream, extensions=request.extensions
        )
        with _translated(url.host), _sensible(url.host):
            answer = self._pool(url).handle_request(plain)
        body = _CountedStream(answer, self._network, id_, url.host)
        response = httpx.Response(answer.status, headers=answer.headers, stream=body, extensions=answer.extensions)
        if response.has_redirect_location:
            try:
                address(response.headers["Location"], url)  # httpx.Client would fail on one that is none
            except UserError:
                response.close()
                raise
        return response

    def close(self) -> None:
        """Closes all connections."""
        for pool in self._pools.values():
            pool.close()

    def _look(self) -> None:
        self._network.check()
        self._check()

    def _pool(self, url: httpx.URL) -> httpcore.ConnectionPool:
        proxy = system_proxy(url)
        key = (proxy, "https" in (url.scheme, proxy.scheme if proxy is not None else ""))
        if key not in self._pools:
            # Without encryption no certificates need to be read; a context without any trusts nobody.
            context = _certificates() if key[1] else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._pools[key] = self._new_pool(proxy, context)
        return self._pools[key]

    def _new_pool(self, proxy: httpx.URL | None, context: ssl.SSLContext) -> httpcore.ConnectionPool:
        if proxy is None:
            return httpcore.ConnectionPool(
                ssl_context=context, keepalive_expiry=_KEEP_SECONDS, network_backend=self._backend
            )
        parts = httpx.Proxy(proxy)  # takes name and password out of the address
        return httpcore.HTTPProxy(
            httpcore.URL(
                scheme=parts.url.raw_scheme, host=parts.url.raw_host, port=parts.url.port, target=parts.url.raw_path
            ),
            proxy_auth=parts.raw_auth,
            ssl_context=context,
            proxy_ssl_context=context if proxy.scheme == "https" else None,
            keepalive_expiry=_KEEP_SECONDS,
            network_backend=self._backend,
        )


class _CountedStream(httpx.SyncByteStream):
    """The body of an answer: counts what arrives, and stops when the switch is turned off meanwhile."""

    def __init__(self, answer: httpcore.Response, network: Network, id_: str, host: str) -> None:
        self._answer = answer
        self._network = network
        self._id = id_
        self._host = host
        self._received = 0
        self._recorded = -1

    def __iter__(self) -> Iterator[bytes]:
        assert isinstance(self._answer.stream, Iterable)
        with _translated(self._host):
            for chunk in self._answer.stream:
                self._received += len(chunk)
                self._network.check()
                if self._received - self._recorded > _RECORD_BYTES:
                    self._record()
                yield chunk

    def close(self) -> None:
        self._answer.close()
        if self._received != self._recorded:
            self._record()

    def _record(self) -> None:
        self._network.traffic.update(self._id, self._received, self._answer.status)
        self._recorded = self._received


def _certificates() -> ssl.SSLContext:
    """The system's certificates (an office's own among them) and Mozilla's, for systems where Python finds none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


@contextlib.contextmanager
def _translated(host: str) -> Iterator[None]:
    """Turns httpcore's errors into ours."""
    try:
        yield
    except httpcore.ProxyError as error:
        if str(error).startswith("407"):
            raise UserError(
                N_("The proxy wants a name and a password. Put them into the proxy's address in the system's settings.")
            ) from error
        raise Lost(str(error)) from error
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        _refuse_if_unsafe(error, host)
        raise Lost(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def _sensible(host: str) -> Iterator[None]:
    """`Odd` for headers that are none. A connection that ends before or among them is one that is lost."""
    try:
        yield
    except httpcore.ProtocolError as error:
        if error.__context__ is None:  # not of the parser, whose error the pool takes out of `__cause__`
            raise
        # Not in the parser's words: they quote the headers, and so perhaps an address that is a key.
        text = N_("{host} gave an answer that makes no sense. Try again later, or choose another mirror.")
        raise Odd(text, host=host) from None


def _refuse_if_unsafe(error: BaseException, host: str) -> None:
    """Raises a `UserError` where encryption could not be agreed on; a connection that merely broke is no such case."""
    if not isinstance(error, httpcore.ConnectError):
        return
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is None or isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return
    reason = getattr(cause, "verify_message", "") or cause.reason or str(cause)
    raise UserError(
        N_(
            "No safe connection to {host}: {reason}. Check the date and time of this computer, and whether a program "
            "or an office network reads along; its certificate must be among the system's."
        ),
        host=host,
        reason=reason,
    ) from error
