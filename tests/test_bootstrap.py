"""The program as it is put together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engine.conftest import wait_until

from inglenook import bootstrap
from inglenook.core.settings import ALLOW_NETWORK, EFFORT, KEEP_STATES, Settings


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[bootstrap.Services]:
    monkeypatch.setenv("INGLENOOK_HOME", str(tmp_path))
    monkeypatch.setattr(bootstrap.logs, "start", lambda *_: None)  # this process's own stay as they are
    monkeypatch.setattr(bootstrap.i18n, "install", lambda *_: None)
    made = bootstrap.Services()
    yield made
    made.close()


def test_a_switch_turned_in_another_window_holds_here(services: bootstrap.Services) -> None:
    """Also for what is under way: it asks with each piece."""
    allowed = services.network._allowed
    assert allowed()
    other = Settings(services.paths.settings)
    for wanted in (False, True):
        other.set(ALLOW_NETWORK, wanted)
        other.flush()
        wait_until(lambda wanted=wanted: allowed() is wanted)  # type: ignore[misc]


def test_where_chats_are_not_to_be_kept_for_a_restart_none_is(services: bootstrap.Services) -> None:
    assert services.inference is not None
    state = services.paths.states / "model" / "chat.state"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"what was read")
    services.settings.set(EFFORT, "high")
    services.settings.flush()
    assert state.exists()
    services.settings.set(KEEP_STATES, False)
    wait_until(lambda: not state.exists())
