"""How `network` sends a request: after asking the switch, with a line in the list, by the system's proxy."""

from __future__ import annotations

import contextlib
import ssl
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

import certifi
import httpx

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.remote.network import Lost, address

if TYPE_CHECKING:
    from inglenook.library.remote.network import Network

_RECORD_BYTES = 64 << 20  # how much may arrive before the list of requests is brought up to date
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class GuardedTransport(httpx.BaseTransport):
    """Sends the requests of one client. A plain transport is made for each proxy and kept."""

    def __init__(self, network: Network, purpose: str) -> None:
        self._network = network
        self._purpose = purpose
        self._plain: dict[tuple[str | None, bool], httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends one request; see `Network.client` for what it raises."""
        self._network.check()
        host = request.url.host
        sent = int(request.headers.get("Content-Length", 0))
        id_ = self._network.traffic.begin(host, self._purpose, sent)
        with _translated(host):
            response = self._transport(request.url).handle_request(request)
        assert isinstance(response.stream, httpx.SyncByteStream)
        if response.has_redirect_location:
            try:
                address(response.headers["Location"], request.url)  # httpx.Client would fail on one that is none
            except UserError:
                response.close()
                raise
        stream = _CountedStream(response.stream, self._network, id_, host, response.status_code)
        return httpx.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )

    def close(self) -> None:
        """Closes all connections."""
        for transport in self._plain.values():
            transport.close()

    def _transport(self, url: httpx.URL) -> httpx.HTTPTransport:
        proxy = system_proxy(url)
        key = (proxy, "https" in (url.scheme, (proxy or "").partition(":")[0]))
        if key not in self._plain:
            # Without encryption no certificates need to be read; a context without any trusts nobody.
            context = _certificates() if key[1] else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._plain[key] = httpx.HTTPTransport(verify=context, trust_env=False, proxy=proxy)
        return self._plain[key]


def system_proxy(url: httpx.URL) -> str | None:
    """The proxy that the system's settings (or HTTP_PROXY and its like) name for `url`. None means no proxy."""
    if url.host in _LOOPBACK or urllib.request.proxy_bypass(url.host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and "://" not in proxy:
        proxy = "http://" + proxy
    if proxy and not proxy.startswith(("http://", "https://")):
        raise UserError(
            N_("The proxy {proxy} is of a kind that cannot be used here. Set an HTTP proxy in the system's settings."),
            proxy=httpx.URL(proxy).host or proxy,
        )
    return proxy or None


class _CountedStream(httpx.SyncByteStream):
    """The body of a response: counts what arrives, and stops when the switch is turned off meanwhile."""

    def __init__(self, stream: httpx.SyncByteStream, network: Network, id_: str, host: str, status: int) -> None:
        self._stream = stream
        self._network = network
        self._id = id_
        self._host = host
        self._status = status
        self._received = 0
        self._recorded = -1

    def __iter__(self) -> Iterator[bytes]:
        with _translated(self._host):
            for chunk in self._stream:
                self._received += len(chunk)
                self._network.check()
                if self._received - self._recorded > _RECORD_BYTES:
                    self._record()
                yield chunk

    def close(self) -> None:
        self._stream.close()
        if self._received != self._recorded:
            self._record()

    def _record(self) -> None:
        self._network.traffic.update(self._id, self._received, self._status)
        self._recorded = self._received


def _certificates() -> ssl.SSLContext:
    """The system's certificates (an office's own among them) and Mozilla's, for systems where Python finds none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


@contextlib.contextmanager
def _translated(host: str) -> Iterator[None]:
    """Turns httpx's errors into ours."""
    try:
        yield
    except httpx.ProxyError as error:
        if str(error).startswith("407"):
            raise UserError(
                N_("The proxy wants a name and a password. Put them into the proxy's address in the system's settings.")
            ) from error
        raise Lost(str(error)) from error
    except httpx.TransportError as error:
        _refuse_if_unsafe(error, host)
        raise Lost(str(error) or type(error).__name__) from error


def _refuse_if_unsafe(error: BaseException, host: str) -> None:
    """Raises a `UserError` where encryption could not be agreed on; a connection that merely broke is no such case."""
    if not isinstance(error, httpx.ConnectError):
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
