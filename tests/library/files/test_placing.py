"""Names that two programs want at one instant: one gets it, and nothing is lost."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.library.transferring import Desk, data, entry, stick

from inglenook.library.catalogue import Entry
from inglenook.library.files.bin import Bin, Deleted
from inglenook.library.files.journal import Journal
from inglenook.library.files.placing import place
from inglenook.library.files.transfers import Stage

__all__ = ["data", "entry", "stick"]  # fixtures

ROUNDS = 1000
CHILD = """
import errno, mmap, sys, time
from pathlib import Path
from inglenook.library.files.placing import place
folder, mine, rounds, links = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "links"

def no_links(*_):
    raise OSError(errno.EPERM, "no second names here")

def meet(number):  # both at once, as near as it goes
    turns[4 * mine : 4 * mine + 4] = number.to_bytes(4, "big")
    until = time.monotonic() + 120
    while int.from_bytes(turns[4 - 4 * mine : 8 - 4 * mine], "big") < number:
        time.sleep(0)
        assert time.monotonic() < until

if not links:
    Path.hardlink_to = no_links
for number in range(rounds):
    (folder / f"{number}-{mine}").write_text(str(mine))
won = []
with (folder / "turns").open("r+b") as file:
    turns = mmap.mmap(file.fileno(), 8)
    for number in range(rounds):
        source = folder / f"{number}-{mine}"
        meet(number + 1)
        try:
            place(source, folder / str(number), folder / "lock")
            won.append(number)
        except FileExistsError:
            assert source.read_text() == str(mine)
print(*won, flush=True)
"""


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.fixture(params=["links", "no links"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One that knows second names of files, or does not."""
    kind: str = request.param
    if kind == "no links":
        monkeypatch.setattr(Path, "hardlink_to", no_links)
    return kind


def test_two_programs_race_for_a_name(tmp_path: Path, disk: str) -> None:
    (tmp_path / "turns").write_bytes(bytes(8))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(mine), str(ROUNDS), disk],
            stdout=subprocess.PIPE,
            text=True,
        )
        for mine in (0, 1)
    ]
    try:
        told = [child.communicate(timeout=240)[0] for child in children]
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0, 0]
    won = [set(map(int, text.split())) for text in told]
    assert won[0] | won[1] == set(range(ROUNDS))
    assert not won[0] & won[1]
    for mine, numbers in enumerate(won):
        for number in numbers:
            assert (tmp_path / str(number)).read_text() == str(mine)


def test_nothing_is_replaced_and_nothing_is_lost(tmp_path: Path, disk: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    target.write_text("old")
    with pytest.raises(FileExistsError):
        place(source, target, tmp_path / "lock")
    assert (source.read_text(), target.read_text()) == ("new", "old")
    target.unlink()
    place(source, target, tmp_path / "lock")
    assert target.read_text() == "new"
    assert not source.exists()


@pytest.mark.skipif(os.name != "posix", reason="links need a permission on Windows")
def test_links_count_as_what_they_are(tmp_path: Path, disk: str) -> None:
    (tmp_path / "real").write_text("real")
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        place(source, target, tmp_path / "lock")
    target.unlink()
    target.symlink_to(source)
    with pytest.raises(FileExistsError):
        place(source, target, tmp_path / "lock")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    place(link, tmp_path / "moved", tmp_path / "lock")
    assert (tmp_path / "moved").is_symlink()
    assert not link.is_symlink()


@pytest.mark.skipif(os.name != "posix", reason="Windows renames in one step")
def test_what_a_kill_left_under_two_names_is_ended(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    target.hardlink_to(source)
    place(source, target, tmp_path / "lock")
    assert target.read_text() == "new"
    assert not source.exists()


@pytest.mark.skipif(os.name != "posix", reason="Windows renames in one step")
def test_what_cannot_be_removed_is_not_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == source:
            raise PermissionError
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(PermissionError):
        place(source, target, tmp_path / "lock")
    assert source.read_text() == "new"
    assert not target.exists()


# -- models --


def together(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """`count` programs have all chosen their names before the first of them takes one."""
    barrier, placed, seen = threading.Barrier(count), Journal.place, threading.local()

    def wait(journal: Journal, note: object) -> bool:
        if not getattr(seen, "waited", False):
            seen.waited = True
            barrier.wait(60)
        return placed(journal, note)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "place", wait)


def several(tmp_path: Path, entry: Entry, count: int) -> list[Desk]:
    (tmp_path / "models").mkdir(exist_ok=True)
    return [Desk(tmp_path / "models", entry) for _ in range(count)]


def all_end(desks: list[Desk]) -> list[Path]:
    places = []
    for desk in desks:
        status = desk.end()
        assert status is not None
        assert status.stage is Stage.FINISHED, status.text()
        assert status.path is not None
        places.append(status.path)
    return places


def test_imports_of_one_name_get_names_of_their_own(
    tmp_path: Path, entry: Entry, stick: Path, data: bytes, monkeypatch: pytest.MonkeyPatch, disk: str
) -> None:
    together(monkeypatch, 3)
    desks = several(tmp_path, entry, 3)
    contents = [data[:-1] + bytes([number]) for number in (1, 2, 3)]
    for number, desk in enumerate(desks):
        file = stick / str(number) / "m.gguf"
        file.parent.mkdir()
        file.write_bytes(contents[number])
        desk.transfers.start_import(file)
    places = all_end(desks)
    assert {place.name for place in places} == {"m.gguf", "m (2).gguf", "m (3).gguf"}
    assert [place.read_bytes() for place in places] == contents
    assert desks[0].left() == []


def test_two_imports_of_the_published_file_are_two_files(
    tmp_path: Path, entry: Entry, stick: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    together(monkeypatch, 2)
    desks = several(tmp_path, entry, 2)
    (stick / "m.gguf").write_bytes(data)
    for desk in desks:
        desk.transfers.start_import(stick / "m.gguf")
    places = all_end(desks)
    assert len(set(places)) == 2
    assert {place.parent.name for place in places} == {"model", "Imported"}


def test_moves_to_one_name_get_names_of_their_own(
    tmp_path: Path, entry: Entry, stick: Path, data: bytes, monkeypatch: pytest.MonkeyPatch, disk: str
) -> None:
    together(monkeypatch, 2)
    desks = several(tmp_path, entry, 2)
    contents = [data[:-1] + bytes([number]) for number in (1, 2)]
    files = [tmp_path / "models" / folder / "m.gguf" for folder in ("a", "b")]
    threads = []
    for desk, file, content in zip(desks, files, contents, strict=True):
        file.parent.mkdir()
        file.write_bytes(content)
        threads.append(threading.Thread(target=desk.moves, args=(file, stick)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    places = all_end(desks)
    assert {place.name for place in places} == {"m.gguf", "m (2).gguf"}
    assert [place.read_bytes() for place in places] == contents
    for desk, file, there in zip(desks, files, places, strict=True):
        desk.moved.refresh()
        assert desk.moved.now(str(file)) == str(there)
        assert not file.exists()


def test_what_comes_back_from_the_bin_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: str
) -> None:
    """Also where a file takes the place after all places were found free."""
    files = tuple(tmp_path / "m" / name for name in ("1.gguf", "2.gguf"))
    files[0].parent.mkdir()
    for file in files:
        file.write_text("ours")
    kept = Bin(tmp_path)
    kept.put(Deleted("m", files, 8))
    mkdir = Path.mkdir

    def taken(path: Path, *how: object, **more: object) -> None:
        mkdir(path, *how, **more)  # type: ignore[arg-type]
        if path == files[0].parent:
            files[1].write_text("theirs")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", taken)
        with pytest.raises(Exception, match="Another file is at"):
            kept.restore()
    assert files[1].read_text() == "theirs"
    assert not files[0].exists()
    files[1].unlink()
    assert kept.restore() is not None
    assert [file.read_text() for file in files] == ["ours", "ours"]
