"""Small files that are the old ones or the new ones, and nothing between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
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
    assert list(tmp_path.iterdir()) == [file]


def test_two_writers_at_a_time_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, replace, inner = tmp_path / "a.json", Path.replace, []

    def with_another(self: Path, target: Path) -> Path:
        if not inner:
            inner.append(self)
            write_json(file, ["inner"] * 1000)
            assert json.loads(file.read_text("utf-8")) == ["inner"] * 1000
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", with_another)
    write_json(file, ["outer"])
    assert json.loads(file.read_text("utf-8")) == ["outer"]
    assert list(tmp_path.iterdir()) == [file]


KILLED = """
import sys, time
from pathlib import Path
from inglenook.library.written import write_json
def halfway(self, target):
    print("halfway", flush=True)
    time.sleep(600)
Path.replace = halfway
write_json(Path(sys.argv[1]), ["never"])
"""


def killed_before_it_has_its_name(file: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(file)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "halfway\n"
        child.kill()


def test_what_a_killed_writer_left_goes_with_a_later_write(tmp_path: Path) -> None:
    file, others = tmp_path / "a.json", tmp_path / "ab.tmp"
    write_json(file, ["old"])
    others.write_text("of another file")
    os.utime(others, (0, 0))
    for _ in range(2):  # the second finds what the first left
        killed_before_it_has_its_name(file)
        assert json.loads(file.read_text("utf-8")) == ["old"]
    left = {found for found in tmp_path.iterdir() if found not in (file, others)}
    assert len(left) == 2
    write_json(file, ["new"])
    assert left < set(tmp_path.iterdir())  # their writers may be alive
    for one in left:
        os.utime(one, (time.time() - 90, time.time() - 90))
    write_json(file, ["newer"])
    assert set(tmp_path.iterdir()) == {file, others}
    assert json.loads(file.read_text("utf-8")) == ["newer"]
