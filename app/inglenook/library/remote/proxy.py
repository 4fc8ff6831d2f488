"""The proxy of the system. Its address may hold a password: no message and no log has any part of that."""

from __future__ import annotations

import urllib.request

import httpx

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.remote.network import is_host

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def system_proxy(url: httpx.URL) -> httpx.URL | None:
    """The proxy that the system's settings (or HTTP_PROXY and its like) name for `url`. None means no proxy.

    Raises `UserError` if it is none that can be used.
    """
    if url.host in _LOOPBACK or urllib.request.proxy_bypass(url.host):
        return None
    proxies = urllib.request.getproxies()
    text = (proxies.get(url.scheme) or proxies.get("all") or "").strip()
    if not text:
        return None
    try:
        proxy = httpx.URL(text if "://" in text else f"http://{text}")
        named = is_host(proxy)
    except (httpx.InvalidURL, ValueError):
        raise _no_proxy() from None  # their words quote the address
    if not named or "@" in f"{proxy.path}{proxy.query!r}{proxy.fragment}":  # a password that was cut at its / ? or #
        raise _no_proxy()
    if proxy.scheme not in ("http", "https"):
        raise UserError(
            N_("The proxy {proxy} is of a kind that cannot be used here. Set an HTTP proxy in the system's settings."),
            proxy=proxy.host,
        )
    return proxy


def _no_proxy() -> UserError:
    return UserError(
        N_(
            "The address of the proxy in the system's settings (or in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) is none "
            "that can be used. It must look like http://proxy.example:8080; in a password write %2F for /, %3F for ?, "
            "%23 for # and %40 for @."
        )
    )
