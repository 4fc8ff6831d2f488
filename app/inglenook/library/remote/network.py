"""The one place through which the program reaches the network: a switch that forbids it, and a list of every request.

Every HTTP client comes from `Network.client`. A test reads the source of the whole program and fails when another
module imports something that can open a connection. Proxies and certificates are those of the system. httpx, which
takes some time to import, is imported by the first client.
"""

from __future__ import annotations

import contextlib
import logging
import platform
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import inglenook
from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.remote.traffic import Traffic

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

DOWNLOAD = "download"
LOOK_UP = "look-up"
PURPOSES = {DOWNLOAD: N_("Download of a model"), LOOK_UP: N_("Names and sizes of model files")}

CONNECT_SECONDS = 20.0
SILENCE_SECONDS = 30.0  # without a byte, after which a connection is taken for dead


class NetworkForbidden(UserError):  # noqa: N818 - said of the network, and shown as such
    """The switch is off."""

    def __init__(self) -> None:
        super().__init__(N_("The network is switched off. Allow it on the Network page, then try again."))


class Lost(Exception):  # noqa: N818 - an event rather than an error: the network is gone, and may come back
    """No connection, or one that broke. `reason` is the system's words; trying again later may help."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Network:
    """Makes HTTP clients. `allowed` is asked before each request and while bytes arrive; it must be cheap."""

    def __init__(self, traffic: Traffic, allowed: Callable[[], bool]) -> None:
        self.traffic = traffic
        self._allowed = allowed

    def client(self, purpose: str) -> httpx.Client:
        """An HTTP client for one purpose (of `PURPOSES`); close it after use.

        Its requests raise `NetworkForbidden`, another `UserError` (no safe connection; no list of requests) or `Lost`.
        It follows no redirects and reads no passwords from the environment or ~/.netrc.
        """
        import httpx

        from inglenook.library.remote.transport import GuardedTransport

        assert purpose in PURPOSES
        return httpx.Client(
            transport=GuardedTransport(self, purpose),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            headers={"User-Agent": f"inglenook/{inglenook.__version__} ({platform.system()})"},
        )

    def check(self) -> None:
        """Raises `NetworkForbidden` if the switch is off."""
        if not self._allowed():
            raise NetworkForbidden


def address(text: str, base: httpx.URL | None = None) -> httpx.URL:
    """`text` as an address, where it is relative as seen from `base`. `UserError` if it is none."""
    import httpx

    try:
        url = base.join(text) if base is not None else httpx.URL(text)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise _no_address(text) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise _no_address(text)
    return url


def _no_address(text: str) -> UserError:
    return UserError(N_("{address} is no address of a server. It must begin with https://."), address=text[:200])


def abort(response: httpx.Response) -> None:
    """Breaks the connection of `response`, from any thread: whoever reads from it gets `Lost` at once."""
    import socket

    stream: Any = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is not None:
        with contextlib.suppress(OSError):
            # Not connection.shutdown(): ssl's own takes the encryption off under the reader's feet.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
