"""The one place through which the program reaches the network: a switch that forbids it, and a list of every request.

Every HTTP client comes from `Network.client`. A test reads the source of the whole program and fails when another
module imports something that can open a connection. Proxies and certificates are those of the system. httpx, which
takes some time to import, is imported by the first client.
"""

from __future__ import annotations

import logging
import platform
import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import inglenook
from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.control import Control
from inglenook.library.remote.answers import Odd
from inglenook.library.remote.traffic import Traffic

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

DOWNLOAD = "download"
LOOK_UP = "look-up"
PURPOSES = {DOWNLOAD: N_("Download of a model"), LOOK_UP: N_("Names and sizes of model files")}

CONNECT_SECONDS = 20.0
SILENCE_SECONDS = 30.0  # without a byte, after which a connection is taken for dead
_LOOK_SECONDS = 0.5  # between looks at the switch
_SECRET = re.compile(r"//.*@", re.DOTALL)  # name and password in an address


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

    def client(self, purpose: str, check: Callable[[], None] = lambda: None) -> httpx.Client:
        """An HTTP client for one purpose (of `PURPOSES`); close it after use.

        Its requests raise `NetworkForbidden`, another `UserError` (no safe connection; no list of requests) or `Lost`.
        It follows no redirects and reads no passwords from the environment or ~/.netrc. While it waits, also for a
        server that has fallen silent, `check` is called several times a second, and ends it by raising.
        """
        import httpx

        from inglenook.library.remote.transport import GuardedTransport

        assert purpose in PURPOSES
        return httpx.Client(
            transport=GuardedTransport(self, purpose, check),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            headers={"User-Agent": f"inglenook/{inglenook.__version__} ({platform.system()})"},
        )

    def check(self) -> None:
        """Raises `NetworkForbidden` if the switch is off."""
        if not self._allowed():
            raise NetworkForbidden

    def wait(self, seconds: float, control: Control) -> None:
        """Waits before another request; `NetworkForbidden` or `Stopped` as soon as there is none to wait for."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            control.wait(min(left, _LOOK_SECONDS))


def address(text: str, base: httpx.URL | None = None) -> httpx.URL:
    """`text` as an address, where it is relative as seen from `base`. `UserError` if it is none."""
    import httpx

    try:
        url = base.join(text) if base is not None else httpx.URL(text)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise _no_address(text) from error
    if url.scheme not in ("http", "https") or not is_host(url):
        raise _no_address(text)
    return url


def without_secret(address: str) -> str:
    """An address to show: without the name and password that may be in it."""
    return _SECRET.sub("//", address)


def is_host(url: httpx.URL) -> bool:
    """Whether the host of `url` could be one: the system's look-up would fail on other names in ways of its own."""
    try:
        return bool(url.raw_host.decode("ascii").encode("idna"))
    except UnicodeError:
        return False


def unpacked(response: httpx.Response) -> Iterator[bytes]:
    """The body of `response`, unpacked where a server packed it unasked. `Odd` if that cannot be done, `Lost`."""
    import httpx

    try:
        yield from response.iter_bytes()
    except httpx.DecodingError as error:
        raise Odd(
            N_("{host} sent what cannot be unpacked ({reason}). Try again later, or choose another mirror."),
            host=response.url.host,
            reason=error,
        ) from error


def _no_address(text: str) -> UserError:
    shown = without_secret(text)[:200]
    return UserError(N_("{address} is no address of a server. It must begin with https://."), address=shown)
