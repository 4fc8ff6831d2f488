"""Copying models into our own folder and moving them, with faults; two folders of the disk as two drives."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.library.transferring import NAME, Desk, data, desk, entry, in_place, published, stick

from inglenook.core.errors import UserError
from inglenook.library import progress
from inglenook.library.catalogue import GPT_OSS_20B, Entry
from inglenook.library.files import copying, transfers
from inglenook.library.files.copying import check_room, copy, hash_again
from inglenook.library.files.moved import Moved
from inglenook.library.files.transfers import Stage, TransferStatus

__all__ = ["data", "desk", "entry", "stick"]  # fixtures


@pytest.fixture
def every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, and each is told of."""
    monkeypatch.setattr(copying, "_BLOCK", 1 << 16)
    monkeypatch.setattr(progress, "_REPORT_SECONDS", 0.0)


@pytest.fixture
def other_drive(stick: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As the system tells it: another device, to which nothing can be renamed."""
    stat, replace_, link_ = Path.stat, Path.replace, Path.hardlink_to

    def is_there(path: Path) -> bool:
        return path == stick or stick in path.parents

    class Elsewhere:
        def __init__(self, real: os.stat_result) -> None:
            self._real = real

        def __getattr__(self, name: str) -> Any:
            return self._real.st_dev + 1 if name == "st_dev" else getattr(self._real, name)

    def ask(path: Path, **how: Any) -> Any:
        return Elsewhere(stat(path, **how)) if is_there(path) else stat(path, **how)

    def rename(path: Path, target: Path) -> Path:
        if is_there(path) != is_there(Path(target)):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return replace_(path, target)

    def link(path: Path, target: Path) -> None:
        if is_there(path) != is_there(Path(target)):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        link_(path, target)

    monkeypatch.setattr(Path, "stat", ask)
    monkeypatch.setattr(Path, "replace", rename)
    monkeypatch.setattr(Path, "hardlink_to", link)
    return stick


# -- import --


def test_the_published_file_is_known_by_its_bytes(desk: Desk, stick: Path, data: bytes) -> None:
    for name in (NAME, "renamed by somebody.gguf"):
        (stick / name).write_bytes(data)
        status = desk.brings(stick / name)
        assert status.stage is Stage.FINISHED, status.text()
        assert status.path == published(desk)
        assert status.path.read_bytes() == data
        assert (status.published, status.entry) == (NAME, GPT_OSS_20B.key)
        assert f"exactly the published file {NAME}" in status.text()
        assert (stick / name).read_bytes() == data
        assert desk.left() == []
        published(desk).unlink()


def test_a_file_that_nobody_knows_is_usable_and_said_to_be_unknown(desk: Desk, stick: Path, data: bytes) -> None:
    changed = data[:-1] + b"x"
    (stick / "mine.gguf").write_bytes(changed)
    for name in ("mine.gguf", "mine (2).gguf"):
        status = desk.brings(stick)
        assert status.path == desk.models / "Imported" / name
        assert status.path.read_bytes() == changed
        assert status.published == ""
        assert "not a file that Inglenook knows" in status.text()


def test_an_older_version_in_its_place_is_not_taken_for_it(desk: Desk, stick: Path, data: bytes) -> None:
    published(desk).parent.mkdir(parents=True)
    published(desk).write_bytes(b"older")
    (stick / NAME).write_bytes(data)
    status = desk.brings(stick / NAME)
    assert status.stage is Stage.FINISHED, status.text()
    assert status.path == desk.models / "Imported" / NAME
    assert status.path.read_bytes() == data
    assert published(desk).read_bytes() == b"older"


def test_a_blob_gets_the_name_that_people_know_it_by(desk: Desk, stick: Path, data: bytes) -> None:
    blob = stick / f"sha256-{'0' * 64}"
    blob.write_bytes(data[:-1])
    desk.transfers.start_import(blob, "gpt-oss:20b")
    status = desk.end()
    assert status is not None
    assert status.path == desk.models / "Imported" / "gpt-oss-20b.gguf"
    assert status.title == "gpt-oss:20b"


def test_a_damaged_one_is_set_aside(desk: Desk, stick: Path, data: bytes) -> None:
    """It has the name and size of the published file: not used, whatever its header says."""
    wrong = data[:-1] + b"x"
    (stick / NAME).write_bytes(wrong)
    status = desk.brings(stick / NAME)
    assert status.stage is Stage.FAILED
    assert "damaged or was changed" in status.text()
    aside = published(desk).with_name(f"{NAME}.wrong")
    assert str(aside) in status.text()
    assert aside.read_bytes() == wrong
    assert not list(desk.models.rglob("*.gguf"))
    (stick / NAME).write_bytes(data)
    assert desk.brings(stick / NAME).stage is Stage.FINISHED
    assert not aside.exists()


def test_a_model_in_parts_comes_with_all_of_them(desk: Desk, stick: Path, data: bytes) -> None:
    names = [f"m-0000{n}-of-00002.gguf" for n in (1, 2)]
    for name in names:
        (stick / name).write_bytes(data)
    status = desk.brings(stick / names[1])
    assert status.path is not None, status.text()
    assert [file.name for file in sorted(status.path.parent.iterdir())] == names
    assert status.path.name == names[0]
    (stick / names[1]).unlink()
    assert "part of this model is missing" in desk.brings(stick / names[0]).text()


@pytest.mark.parametrize("what", ["text", "empty folder", "nothing", "two models", "checkpoint", "cut", "ours"])
def test_what_cannot_be_brought_is_told_and_leaves_nothing(desk: Desk, stick: Path, data: bytes, what: str) -> None:
    source, words = stick / "m.gguf", {
        "text": "no gpt-oss model",
        "empty folder": "No gpt-oss model is in",
        "nothing": "is not there",
        "two models": "a.gguf, b.gguf",
        "checkpoint": "convert it",
        "cut": "is cut off",
        "ours": "already",
    }[what]  # fmt: skip
    if what == "text":
        source.write_bytes(b"words " * 1_000_000)
    elif what == "cut":
        source.write_bytes(data[: -(3 << 20) - 1000])
    elif what == "ours":
        source = desk.models / "m.gguf"
        source.write_bytes(data)
    elif what != "nothing":
        source = stick
    if what == "two models":
        for name in ("a", "b"):
            (stick / f"{name}.gguf").write_bytes(data + name.encode())
    if what == "checkpoint":
        (stick / "config.json").write_text("{}")
        (stick / "model.safetensors").touch()
    status = desk.brings(source)
    assert status.stage is Stage.FAILED
    assert words in status.text()
    assert desk.left() == []


def test_what_is_here_already_is_not_copied_again(desk: Desk, stick: Path, data: bytes) -> None:
    (stick / NAME).write_bytes(data)
    assert desk.brings(stick / NAME).stage is Stage.FINISHED
    assert "here already" in desk.brings(stick / NAME).text()


def test_progress_never_runs_backwards_and_reaches_the_end(
    desk: Desk, stick: Path, data: bytes, every_block: None
) -> None:
    (stick / NAME).write_bytes(data)
    assert desk.brings(stick / NAME).done == len(data)
    told = [status for status in desk.heard if status is not None and status.total]
    assert [status.done for status in told] == sorted(status.done for status in told)
    assert {status.total for status in told} == {len(data)}
    assert len({status.done for status in told}) > 10
    assert any(status.rate > 0 and status.seconds_left is not None for status in told)


def test_a_disk_without_room_says_how_much_is_missing(
    desk: Desk, stick: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stick / NAME).write_bytes(data)
    usage = copying.shutil.disk_usage(stick)
    monkeypatch.setattr(copying.shutil, "disk_usage", lambda _: usage._replace(free=len(data)))
    with pytest.raises(UserError) as refused:
        check_room(stick, len(data) + 3_000_000_000)
    assert "3.0 GB" in str(refused.value)
    status = desk.brings(stick / NAME)
    assert "more room is needed" in status.text()  # the spare bytes are missing
    assert desk.left() == []
    monkeypatch.setattr(copying.shutil, "disk_usage", lambda _: usage._replace(free=len(data) + copying.SPARE_BYTES))
    assert desk.brings(stick / NAME).stage is Stage.FINISHED


@pytest.mark.parametrize("side", ["source", "disk"])
def test_a_fault_on_the_way_is_one_sentence_and_leaves_nothing(
    desk: Desk, stick: Path, data: bytes, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    """The stick is pulled, or the disk is full of somebody else's bytes, after the first block."""
    (stick / NAME).write_bytes(data)
    monkeypatch.setattr(copying, "_BLOCK", 1 << 16)
    written: list[int] = []
    write = os.write

    def fill(descriptor: int, block: Any) -> int:
        written.append(len(block))
        if len(written) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, block)

    class Pulled:
        def __init__(self, path: Path) -> None:
            self._file = io.FileIO(path)
            self._reads = 0

        def __enter__(self) -> Pulled:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def readinto(self, buffer: Any) -> int:
            self._reads += 1
            if self._reads > 3:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return self._file.readinto(buffer)

    open_ = Path.open

    def pull(path: Path, mode: str = "r", **how: Any) -> Any:
        return Pulled(path) if path == stick / NAME and how.get("buffering") == 0 else open_(path, mode, **how)

    if side == "disk":
        monkeypatch.setattr(copying.os, "write", fill)
    else:
        monkeypatch.setattr(Path, "open", pull)
    status = desk.brings(stick / NAME)
    monkeypatch.undo()
    assert status.stage is Stage.FAILED
    wanted = "can no longer be read (Input/output error)" if side == "source" else "more room is needed"
    assert wanted in status.text()
    assert desk.left() == []
    assert not list(desk.models.rglob("*.gguf"))
    assert (stick / NAME).read_bytes() == data


def test_a_source_that_grows_or_shrinks_meanwhile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"x" * 100)
    for size in (99, 101):
        with pytest.raises(UserError, match="changed while"):
            copy(tmp_path / "m", size, tmp_path / "copy", transfers.Control(), lambda _: None)
        assert not (tmp_path / "copy").exists()


def test_cancel_leaves_nothing(desk: Desk, stick: Path, data: bytes, every_block: None) -> None:
    (stick / NAME).write_bytes(data)
    desk.at = lambda status: desk.transfers.cancel() if status.done else None
    desk.transfers.start_import(stick / NAME)
    assert desk.end() is None
    assert desk.left() == []
    assert not list(desk.models.rglob("*.gguf"))
    assert (stick / NAME).exists()


def test_one_at_a_time(desk: Desk, stick: Path, data: bytes) -> None:
    (stick / NAME).write_bytes(data)
    refused: list[UserError] = []

    def again(status: TransferStatus) -> None:
        if status.stage is Stage.COPYING and not refused:
            try:
                desk.transfers.start_import(stick / NAME)
            except UserError as error:
                refused.append(error)

    desk.at = again
    assert desk.brings(stick / NAME).stage is Stage.FINISHED
    assert len(refused) == 1


# -- move --


def test_on_one_drive_it_is_a_rename(desk: Desk, stick: Path, data: bytes) -> None:
    old = in_place(desk, data)
    number = old.stat().st_ino
    status = desk.moves(old, stick)
    assert (status.stage, status.path) == (Stage.FINISHED, stick / "m.gguf"), status.text()
    assert status.path is not None
    assert status.path.stat().st_ino == number
    assert not old.exists()
    assert desk.moved.now(str(old)) == str(stick / "m.gguf")
    assert [model.files for model in desk.moved.models()] == [(str(stick / "m.gguf"),)]
    assert desk.left() == []


def test_to_another_drive_it_is_copied_read_back_and_only_then_removed(
    desk: Desk, other_drive: Path, data: bytes, every_block: None
) -> None:
    old = in_place(desk, data)
    there: dict[Stage, bool] = {}
    desk.at = lambda status: there.update({status.stage: old.exists()})
    status = desk.moves(old, other_drive)
    assert status.stage is Stage.FINISHED, status.text()
    assert there == {Stage.LOOKING: True, Stage.COPYING: True, Stage.CHECKING: True, Stage.FINISHED: False}
    assert (other_drive / "m.gguf").read_bytes() == data
    assert [file.name for file in other_drive.iterdir()] == ["m.gguf"]
    told = [one.done for one in desk.heard if one is not None]
    assert told == sorted(told)
    assert any(0 < done < len(data) for done in told)
    assert any(len(data) < done < 2 * len(data) for done in told)
    assert status.done == status.total == 2 * len(data)


def test_a_drive_that_gives_back_other_bytes_keeps_the_original(
    desk: Desk, other_drive: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = in_place(desk, data)
    monkeypatch.setattr(transfers, "hash_again", lambda *_: "0" * 64)
    assert "may be failing" in desk.moves(old, other_drive).text()
    assert old.read_bytes() == data
    assert list(other_drive.iterdir()) == []
    assert desk.moved.now(str(old)) == str(old)


def test_reading_back_sees_what_is_on_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "m"
    file.write_bytes(b"right")
    told: list[int] = []
    assert hash_again(file, transfers.Control(), told.append) == hashlib.sha256(b"right").hexdigest()
    assert told == [5]


def test_an_original_that_is_in_use_goes_with_the_next_start(
    desk: Desk, other_drive: Path, data: bytes, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where an open file cannot be removed."""
    old = in_place(desk, data)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == old:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        status = desk.moves(old, other_drive)
    assert status.waits
    assert "the next start" in status.text()
    assert old.exists()
    Desk(desk.models, entry).transfers.recover()
    assert not old.exists()
    assert (other_drive / "m.gguf").read_bytes() == data
    assert desk.left() == []


@pytest.mark.parametrize("drives", [1, 2])
def test_a_move_that_is_not_allowed_changes_nothing(
    desk: Desk, request: pytest.FixtureRequest, stick: Path, data: bytes, monkeypatch: pytest.MonkeyPatch, drives: int
) -> None:
    old = in_place(desk, data)
    if drives == 2:
        request.getfixturevalue("other_drive")
    rename = Path.replace

    link = Path.hardlink_to

    def refuse(path: Path, target: Path) -> Path:
        if Path(target) == stick / "m.gguf":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(path, target)

    def refuse_name(path: Path, target: Path) -> None:
        if path == stick / "m.gguf":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        link(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(Path, "hardlink_to", refuse_name)
    assert "a program has it open" in desk.moves(old, stick).text()
    assert old.read_bytes() == data
    assert list(stick.iterdir()) == []
    assert desk.left() == []


def test_moved_away_and_home_again(desk: Desk, stick: Path, data: bytes) -> None:
    """A published file comes back to where it would be if it had been fetched; all names of old lead to it."""
    home = published(desk)
    home.parent.mkdir(parents=True)
    home.write_bytes(data)
    away = stick / NAME
    assert desk.moves(home, stick).path == away
    assert desk.moves(away, desk.models).path == home
    assert desk.moved.now(str(away)) == str(home)
    assert desk.moved.now(str(home)) == str(home)
    assert desk.moved.models() == ()
    (desk.models / "Imported").mkdir()
    assert desk.moves(home, desk.models / "Imported").path == desk.models / "Imported" / NAME
    assert "already" in desk.moves(desk.models / "Imported" / NAME, desk.models / "Imported").text()


def test_a_folder_that_is_not_there(desk: Desk, tmp_path: Path, data: bytes) -> None:
    old = in_place(desk, data)
    assert "There is no folder" in desk.moves(old, tmp_path / "no").text()
    assert old.exists()


def test_a_damaged_list_of_moved_models_counts_as_none(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"models": 1, "now": {}}', '{"models": [], "now": []}', "\x00"):
        (tmp_path / ".moved.json").write_text(text)
        moved = Moved(tmp_path)
        assert (moved.now("/a"), moved.models()) == ("/a", ())
    (tmp_path / ".moved.json").write_text(json.dumps({"models": [], "now": {"/a": "/b"}}))
    assert Moved(tmp_path).now("/a") == "/b"
