"""The demo model is converted once, and again when it or the converter changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from inglenook.library.making.demo import ensure_demo


def test_second_time_uses_the_file_and_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "demo-model" / "inglenook-demo-000000000000.gguf"
    old.parent.mkdir()
    old.write_bytes(b"of an earlier version")
    made = ensure_demo(tmp_path, lambda _: None, lambda: False)
    assert list(made.parent.iterdir()) == [made]
    stamp = made.stat().st_mtime_ns
    assert ensure_demo(tmp_path, lambda _: None, lambda: False) == made
    assert made.stat().st_mtime_ns == stamp
