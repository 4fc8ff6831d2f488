"""The program as it is put together."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.engine.conftest import wait_until

from inglenook import bootstrap
from inglenook.core.settings import EFFORT, KEEP_STATES


def test_where_chats_are_not_to_be_kept_for_a_restart_none_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGLENOOK_HOME", str(tmp_path))
    monkeypatch.setattr(bootstrap.logs, "start", lambda *_: None)  # this process's own stay as they are
    monkeypatch.setattr(bootstrap.i18n, "install", lambda *_: None)
    services = bootstrap.Services()
    assert services.inference is not None
    state = services.paths.states / "model" / "chat.state"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"what was read")
    services.settings.set(EFFORT, "high")
    services.settings.flush()
    assert state.exists()
    services.settings.set(KEEP_STATES, False)
    wait_until(lambda: not state.exists())
    services.close()
