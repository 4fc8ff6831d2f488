"""The token in a keyring, and where there is none."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.chainer import ChainerBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

from inglenook.core.errors import UserError
from inglenook.core.settings import HAS_TOKEN, Settings
from inglenook.library.remote import access_token
from inglenook.library.remote.access_token import AccessToken, Kept

TOKEN = "hf_a_secret_that_is_long"


class Ring(KeyringBackend):
    """A keyring in memory, which may be locked."""

    priority = 1  # type: ignore[assignment]  # a class property there

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], str] = {}
        self.locked = False
        self.asked = 0

    def get_password(self, service: str, username: str) -> str | None:
        self._look()
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._look(password)
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._look()
        if self.held.pop((service, username), None) is None:
            raise PasswordDeleteError

    def _look(self, about: str = "") -> None:
        self.asked += 1
        if self.locked:
            raise KeyringLocked(f"cannot be unlocked for {about}")


class PlainFile(Ring):
    """Stands for the backends that other packages bring along."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "settings.json")


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Ring:
    made = Ring()
    monkeypatch.setattr(access_token, "_SAFE", (Ring.__module__,))
    monkeypatch.setattr(PlainFile, "__module__", "elsewhere")
    monkeypatch.setattr(keyring, "get_keyring", lambda: made)
    return made


def test_kept_in_the_keyring_for_later_runs_and_in_no_file(settings: Settings, ring: Ring, tmp_path: Path) -> None:
    token = AccessToken(settings)
    assert (token.kept(), token.get()) == (Kept.NOWHERE, None)
    assert token.set(f" {TOKEN}\n") is Kept.KEYRING
    settings.flush()
    again = AccessToken(Settings(tmp_path / "settings.json"))
    assert (again.kept(), again.get()) == (Kept.KEYRING, TOKEN)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert not any(TOKEN in file.read_text() for file in files)
    again.remove()
    assert (again.kept(), again.get(), ring.held) == (Kept.NOWHERE, None, {})
    assert not any(TOKEN in file.read_text() for file in tmp_path.rglob("*") if file.is_file())


def test_nobody_is_asked_to_unlock_a_keyring_for_nothing(settings: Settings, ring: Ring) -> None:
    token = AccessToken(settings)
    assert token.get() is None
    token.remove()
    assert not ring.asked


def test_without_a_keyring_it_lasts_for_this_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from keyring.backends.fail import Keyring

    monkeypatch.setattr(keyring, "get_keyring", Keyring)
    token = AccessToken(settings)
    assert token.set(TOKEN) is Kept.THIS_RUN
    assert token.get() == TOKEN
    settings.flush()
    assert AccessToken(Settings(tmp_path / "settings.json")).get() is None
    token.remove()
    assert (token.kept(), token.get()) == (Kept.NOWHERE, None)


def test_a_broken_desktop_is_no_keyring(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("no bus")

    monkeypatch.setattr(keyring, "get_keyring", broken)
    assert AccessToken(settings).set(TOKEN) is Kept.THIS_RUN


def test_a_locked_keyring_tells_nothing_of_the_token(
    settings: Settings, ring: Ring, caplog: pytest.LogCaptureFixture
) -> None:
    ring.locked = True
    token = AccessToken(settings)
    with caplog.at_level(logging.DEBUG):
        assert token.set(TOKEN) is Kept.THIS_RUN
    assert "KeyringLocked" in caplog.text
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(token)


def test_one_that_cannot_be_read_or_removed_later(settings: Settings, ring: Ring) -> None:
    AccessToken(settings).set(TOKEN)
    ring.locked = True
    token = AccessToken(settings)
    assert token.get() is None
    asked = ring.asked
    assert token.get() is None
    assert ring.asked == asked  # once a run: it may open a dialog
    with pytest.raises(UserError, match="Remove the entry"):
        token.remove()
    assert not settings.get(HAS_TOKEN)


def test_a_keyring_that_forgets_is_none(settings: Settings, ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "set_password", lambda *_: None)
    assert AccessToken(settings).set(TOKEN) is Kept.THIS_RUN


def test_backends_that_write_plain_files_are_passed_over(
    settings: Settings, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = PlainFile()
    monkeypatch.setattr(keyring, "get_keyring", lambda: plain)
    assert AccessToken(settings).set(TOKEN) is Kept.THIS_RUN
    chain = ChainerBackend()
    monkeypatch.setattr(ChainerBackend, "backends", (plain, ring))
    monkeypatch.setattr(keyring, "get_keyring", lambda: chain)
    assert AccessToken(settings).set(TOKEN) is Kept.KEYRING
    assert not plain.held


@pytest.mark.parametrize(
    "text", ["", "  ", "short", "two words_here", "hf_\u00fcmlaut_not_ascii", "x" * 600, "a\nb" * 5]
)
def test_what_is_no_token(settings: Settings, ring: Ring, text: str) -> None:
    with pytest.raises(UserError, match="no access token"):
        AccessToken(settings).set(text)
    assert not ring.asked


def test_keyring_is_imported_late() -> None:
    code = (
        "import sys, tempfile, pathlib; from inglenook.core.settings import Settings;"
        "from inglenook.library.remote.access_token import AccessToken;"
        "AccessToken(Settings(pathlib.Path(tempfile.mkdtemp(), 's.json'))).get(); print('keyring' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
