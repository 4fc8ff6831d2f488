"""The user's access token for the Hub: in the system's keyring, or where that cannot be used for this run only.

It is in no file of ours, no log and no message. keyring may know of backends that write plain files: those are not
used. It is imported late, and only where a token was entered once.
"""

from __future__ import annotations

import logging
import re
import threading
from enum import StrEnum
from typing import TYPE_CHECKING

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.core.settings import HAS_TOKEN, Settings

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

log = logging.getLogger(__name__)

SERVICE, USER = "inglenook", "hugging-face-token"
_TOKEN = re.compile(r"[!-~]{8,512}")
_SAFE = ("SecretService", "libsecret", "kwallet", "macOS", "Windows")  # modules of keyring.backends


class Kept(StrEnum):
    """Where the token is."""

    NOWHERE = "nowhere"
    KEYRING = "keyring"
    THIS_RUN = "this run"  # the keyring cannot be used


class AccessToken:
    """For any thread but that of a window: a keyring may ask the user to unlock it."""

    def __init__(self, settings: Settings) -> None:
        """`settings` only say whether there is one, so that nobody is asked to unlock a keyring for nothing."""
        self._settings = settings
        self._lock = threading.Lock()
        self._token: str | None = None
        self._asked = False

    def __repr__(self) -> str:
        return "AccessToken()"

    def get(self) -> str | None:
        """The token; None if there is none, or the keyring does not give it out."""
        with self._lock:
            if self._token is None and not self._asked and self._settings.get(HAS_TOKEN):
                self._asked = True
                backend = _backend()
                try:
                    self._token = backend.get_password(SERVICE, USER) if backend is not None else None
                except Exception as error:  # each backend has its own
                    _tell("read", error)
            return self._token

    def kept(self) -> Kept:
        """Where it is; at once, for any thread."""
        if self._settings.get(HAS_TOKEN):
            return Kept.KEYRING
        return Kept.THIS_RUN if self._token is not None else Kept.NOWHERE

    def set(self, text: str) -> Kept:
        """Keeps a token; where. Raises `UserError` if it is none."""
        token = text.strip()
        if not _TOKEN.fullmatch(token):
            raise UserError(N_("That is no access token. It begins with hf_ and has no spaces; copy it once more."))
        with self._lock:
            self._token, self._asked = token, True
            backend = _backend()
            kept = False
            try:
                if backend is not None:
                    backend.set_password(SERVICE, USER, token)
                    kept = backend.get_password(SERVICE, USER) == token
            except Exception as error:  # each backend has its own
                _tell("written", error)
            self._settings.set(HAS_TOKEN, kept)
        return self.kept()

    def remove(self) -> None:
        """Forgets it. Raises `UserError` if the keyring keeps it nevertheless."""
        with self._lock:
            self._token, self._asked = None, True
            if not self._settings.get(HAS_TOKEN):
                return
            self._settings.set(HAS_TOKEN, False)
            backend = _backend()
            try:
                if backend is not None and backend.get_password(SERVICE, USER) is not None:
                    backend.delete_password(SERVICE, USER)
            except Exception as error:  # each backend has its own
                _tell("removed", error)
                raise UserError(
                    N_(
                        "The keyring of this computer did not let go of the token, and Inglenook does not use it any "
                        "more. Remove the entry “{service}” there yourself."
                    ),
                    service=SERVICE,
                ) from None


def _backend() -> KeyringBackend | None:
    """The system's own keyring."""
    try:
        import keyring

        found = keyring.get_keyring()
    except Exception as error:  # a broken configuration of keyring, or of the desktop
        _tell("found", error)
        return None
    for backend in getattr(found, "backends", (found,)):
        if type(backend).__module__.removeprefix("keyring.backends.") in _SAFE:
            return backend
    return None


def _tell(what: str, error: Exception) -> None:
    """For the log: the error's kind only, since its text may quote what was to be kept."""
    log.warning("the keyring cannot be %s: %s", what, type(error).__name__)
