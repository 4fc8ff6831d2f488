"""Small files that are the old ones or the new ones, and nothing between."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from inglenook.library.written import write_json


def test_what_is_written_is_there_and_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, synced = tmp_path / "a.json", []
    write_json(file, {"a": "ä"})
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        synced.append(json.loads(file.read_text("utf-8")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    write_json(file, [1])
    assert synced == [{"a": "ä"}]
    assert json.loads(file.read_text("utf-8")) == [1]
    assert list(tmp_path.iterdir()) == [file]


def test_a_fault_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.json"
    write_json(file, 1)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json(file, 2)
    assert json.loads(file.read_text("utf-8")) == 1
