"""The bin: undo in the program that deleted, never emptied under another's hands, a day for commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inglenook.core.errors import UserError
from inglenook.library.files.bin import KEEP_SECONDS, Bin, Deleted


class Clock:
    """The clock on the wall."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models" / "a").mkdir(parents=True)
    return tmp_path / "models"


def model(folder: Path, name: str = "m", parts: int = 2) -> Deleted:
    files = tuple(folder / f"{name}-{number}.gguf" for number in range(parts))
    for file in files:
        file.write_bytes(file.name.encode())
    return Deleted(name, files, 100)


def lies_aside(models: Path) -> int:
    return sum(file.is_file() and file.suffix not in (".json", ".lock") for file in (models / ".deleted").rglob("*"))


def test_put_and_brought_back(models: Path, clock: Clock) -> None:
    bin_, one = Bin(models, clock), model(models / "a")
    bin_.put(one)
    assert bin_.holds
    assert sum(one.size for one in bin_.contents()) == 100
    assert not any(file.exists() for file in one.files)
    assert bin_.restore() == one
    assert [file.read_bytes() for file in one.files] == [file.name.encode() for file in one.files]
    assert not (models / ".deleted").exists()
    assert bin_.restore() is None


def test_a_second_window_leaves_the_first_ones_undo_alone(models: Path, clock: Clock) -> None:
    first, second, one = Bin(models, clock), Bin(models, clock), model(models / "a")
    first.put(one)
    assert second.tidy() == second.tidy(at_once=True) == 0
    assert second.restore() is None
    second.put(model(models / "a", "other"))
    assert first.restore() == one
    assert all(file.exists() for file in one.files)


def test_what_no_program_can_bring_back_is_gone_with_the_next_start(models: Path, clock: Clock) -> None:
    crashed, one = Bin(models, clock), model(models / "a")
    crashed.put(one)
    assert crashed._mine is not None
    crashed._mine[1].release()  # as the system does when a program ends
    assert Bin(models, clock).tidy() == 100
    assert lies_aside(models) == 0


def test_the_next_deletion_and_the_end_of_the_program_make_room(models: Path, clock: Clock) -> None:
    bin_ = Bin(models, clock)
    bin_.put(model(models / "a"))
    bin_.put(model(models / "a", "next"))
    assert lies_aside(models) == 2
    bin_.let_go()
    assert not (models / ".deleted").exists()


def test_what_a_command_deleted_waits_a_day(models: Path, clock: Clock) -> None:
    one, another = model(models / "a"), model(models / "a", "another")
    for deleted in (one, another):
        command = Bin(models, clock)
        command.put(deleted, keep=True)
        command.let_go()
        clock.now += 60
    assert Bin(models, clock).tidy() == 0
    assert Bin(models, clock).restore() == another  # the last one first
    clock.now += KEEP_SECONDS
    assert Bin(models, clock).tidy() == 100
    assert Bin(models, clock).restore() is None
    command = Bin(models, clock)
    command.put(model(models / "a"), keep=True)
    command.let_go()
    clock.now -= 30 * 24 * 3600  # a clock that was wrong keeps nothing for ever
    assert Bin(models, clock).tidy() == 100


def test_emptied_at_once(models: Path, clock: Clock) -> None:
    command = Bin(models, clock)
    command.put(model(models / "a"), keep=True)
    command.let_go()
    assert Bin(models, clock).tidy(at_once=True) == 100
    assert lies_aside(models) == 0


def test_on_another_drive_it_lies_there(models: Path, tmp_path: Path, clock: Clock) -> None:
    drive = tmp_path / "drive"
    drive.mkdir()
    bin_, one = Bin(models, clock), model(drive)
    bin_.put(one, keep=True)
    bin_.let_go()
    assert len(list((drive / ".inglenook-deleted").iterdir())) == 2
    drive.rename(tmp_path / "pulled")
    assert Bin(models, clock).restore() is None
    Bin(models, clock).tidy(at_once=True)
    (tmp_path / "pulled").rename(drive)
    assert Bin(models, clock).restore() == one
    assert sorted(drive.iterdir()) == sorted(one.files)


def test_a_file_in_the_way_is_not_overwritten(models: Path, clock: Clock) -> None:
    bin_, one = Bin(models, clock), model(models / "a")
    bin_.put(one)
    one.files[1].write_bytes(b"new")
    with pytest.raises(UserError, match="Another file"):
        bin_.restore()
    assert one.files[1].read_bytes() == b"new"
    one.files[1].unlink()
    assert bin_.restore() == one


def test_all_or_none(models: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    bin_, one = Bin(models, clock), model(models / "a")
    rename = Path.replace

    def refuse(path: Path, target: Path) -> Path:
        if path == one.files[1]:
            raise OSError(13, "Permission denied")
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refuse)
        with pytest.raises(OSError, match="Permission"):
            bin_.put(one)
    assert all(file.exists() for file in one.files)
    assert not bin_.holds


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_not_ours(models: Path, tmp_path: Path, clock: Clock) -> None:
    theirs = model(tmp_path, parts=1)
    link = models / "link.gguf"
    link.symlink_to(theirs.files[0])
    with pytest.raises(UserError, match="another program"):
        Bin(models, clock).put(Deleted("m", (link,)))
    assert theirs.files[0].exists()


def test_what_an_earlier_version_left_is_removed(models: Path, clock: Clock) -> None:
    old = models / ".deleted" / "0"
    old.parent.mkdir()
    old.touch()
    (models / ".deleted" / "damaged.json").write_text("{")
    left = [models / ".deleted" / f"killed.{suffix}" for suffix in ("lock", "tmp")]
    for file in left:
        file.touch()
        os.utime(file, (clock.now, clock.now))
    Bin(models, clock).tidy()
    assert not old.exists()
    assert all(file.exists() for file in left)  # it may be in the middle of it
    clock.now += 7200
    Bin(models, clock).tidy()
    assert not any(file.exists() for file in left)
    assert Bin(models, clock).contents() == ()


def test_what_lies_there_and_which_of_it_is_brought_back(models: Path, clock: Clock) -> None:
    window, other = Bin(models, clock), Bin(models, clock)
    names = ("kept", "mine", "theirs")
    kept, mine, theirs = (model(models / "a", name) for name in names)
    command = Bin(models, clock)
    command.put(kept, keep=True)
    command.let_go()
    clock.now += 1
    window.put(mine)
    clock.now += 1
    other.put(theirs)
    found = {one.title: one for one in window.contents()}
    assert list(found) == ["theirs", "mine", "kept"]
    assert {name: (one.ours, one.can_return, one.size) for name, one in found.items()} == {
        "theirs": (False, False, 100),
        "mine": (True, True, 100),
        "kept": (False, True, 100),
    }
    assert found["kept"].until == clock.now - 2 + KEEP_SECONDS
    assert window.restore(found["theirs"].id) is None
    assert window.restore(found["kept"].id) == kept
    assert window.restore(found["mine"].id) == mine
    assert [one.title for one in window.contents()] == ["theirs"]
