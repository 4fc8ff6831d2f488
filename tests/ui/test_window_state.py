"""The window's place on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from inglenook.ui.window_state import WindowState, load, save


def test_round_trip(tmp_path: Path) -> None:
    state = WindowState("00ff", 300, False)
    save(tmp_path / "window.json", state)
    assert load(tmp_path / "window.json") == state


@pytest.mark.parametrize("text", ["", "[]", "{", '{"sidebar": "wide", "geometry": 3, "sidebar_shown": 1}', '{"x": 1}'])
def test_nonsense_is_the_default(tmp_path: Path, text: str) -> None:
    (tmp_path / "window.json").write_text(text)
    assert load(tmp_path / "window.json") == WindowState()


def test_no_file_and_no_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load(tmp_path / "none.json") == WindowState()
    save(tmp_path / "none" / "window.json", WindowState())
    assert "not saved" in caplog.text
