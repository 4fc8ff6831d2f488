"""What can be wrong with an answer of a server, sorted by what to do about it."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_

if TYPE_CHECKING:
    import httpx

LONGEST_WAIT = 3600.0  # seconds; a server that asks for more is asked again after an hour

OK, PARTIAL = 200, 206
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSED = frozenset({401, 403})
_RANGE = 416
_GONE = frozenset({404, 410})


class TryLater(Exception):  # noqa: N818 - what to do, like the others here
    """The server is busy. `seconds` is how long it asked to wait, or None; `status` is what it said."""

    def __init__(self, status: int, seconds: float | None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.seconds = seconds


class Odd(UserError):  # noqa: N818
    """No answer that makes sense. Worth one more try before the person hears of it."""


class RangeRefused(Odd):
    """The server does not give a part of the file; it may still give the whole."""


def length(text: str) -> int:
    """Bytes as a header says them; -1 for what is no length, or one of no file."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else -1


def check_answer(response: httpx.Response, name: str) -> None:
    """Raises `TryLater`, `Odd` or `UserError` unless `response` brings (a part of) the file `name`."""
    status, host = response.status_code, response.url.host
    if status in _LATER:
        raise TryLater(status, retry_after(response.headers.get("Retry-After", "")))
    if status in _REFUSED:
        raise UserError(
            N_(
                "{host} does not give out {name} (HTTP {status}). Check the name. If the model needs an agreement or a "
                "login, accept it on the Hub's page and enter your access token in the settings; then try again."
            ),
            host=host,
            name=name,
            status=status,
        )
    if status in _GONE:
        raise UserError(
            N_("{host} has no file {name} (HTTP {status}). Check the address of the model and the mirror."),
            host=host,
            name=name,
            status=status,
        )
    if status == _RANGE:
        raise RangeRefused(
            N_("{host} does not give the rest of {name}. Try again later, or choose another mirror."),
            host=host,
            name=name,
        )
    if status not in (OK, PARTIAL):
        raise Odd(
            N_("{host} gave an answer that makes no sense (HTTP {status}). Try again later, or choose another mirror."),
            host=host,
            status=status,
        )
    if response.headers.get("Content-Type", "").lower().startswith(("text/html", "application/xhtml")):
        raise Odd(
            N_(
                "{host} sent a web page instead of {name}. In a network that wants you to sign in first, open any page "
                "in your browser and do so; then try again."
            ),
            host=host,
            name=name,
        )


def retry_after(value: str) -> float | None:
    """Seconds to wait by a Retry-After header: a number, or a date. None where it says nothing that makes sense."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_WAIT)
    try:
        seconds = parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError, OSError):  # the last on Windows, for dates long ago
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)
