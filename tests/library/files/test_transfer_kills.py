"""A program that is killed while it copies or moves a model: the next start cleans up, or does the rest."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.library.transferring import NAME, Desk, data, desk, entry, in_place, stick

from inglenook.library.catalogue import Entry
from inglenook.library.files.transfers import Stage

__all__ = ["data", "desk", "entry", "stick"]  # fixtures

KILLS = int(os.environ.get("INGLENOOK_KILLS", "1"))
"""How often a copy and a move are killed at any moment; `make soak` asks for more."""

CHILD = """
import sys, threading
from pathlib import Path
from inglenook.library import progress
from inglenook.library.files import copying
from inglenook.library.files.found import Found
from inglenook.library.files.moved import Moved
from inglenook.library.files.transfers import Stage, Transfers
what, models, source, folder, stop = sys.argv[1:]
copying._BLOCK, progress._REPORT_SECONDS = 1 << 16, 0.0
models, source, halt = Path(models), Path(source), threading.Event()

def tell(status):
    if stop == "random":
        if not halt.is_set():
            halt.set()
            print("halfway", flush=True)
        return
    if status.stage is Stage.FAILED:
        print(status.text(), flush=True)
    if status.done and not halt.is_set():
        halt.set()
        print("halfway", flush=True)
        threading.Event().wait()

transfers = Transfers(models, Moved(models), lambda: (), tell)
if stop == "placing":  # all is copied and right; the first name is given, and nothing noted of it
    tell_ = transfers._moved.note
    def note(*_):
        print("halfway", flush=True)
        threading.Event().wait()
    transfers._moved.note, halt = note, threading.Event()
    halt.set()
if stop == "naming":  # the file has its name, and the one before too
    unlink = Path.unlink
    def halted(path, missing_ok=False):
        if path.suffix == ".part":
            print("halfway", flush=True)
            threading.Event().wait()
        unlink(path, missing_ok)
    Path.unlink = halted
    halt.set()
if what == "import":
    transfers.start_import(source)
else:
    import os
    stat = Path.stat
    class Elsewhere:
        def __init__(self, real): self.real = real
        def __getattr__(self, name): return -1 if name == "st_dev" else getattr(self.real, name)
    Path.stat = lambda path, **how: Elsewhere(stat(path, **how)) if path == Path(folder) else stat(path, **how)
    transfers.start_move(Found(source, "Inglenook", "m", 1, (source,)), Path(folder))
threading.Event().wait()
"""


def killed(*arguments: str | Path, after: float = 0.0) -> None:
    command = [sys.executable, "-c", CHILD, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "halfway\n"
        time.sleep(after)
        child.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)


def killed_somewhere(*arguments: str | Path, seed: int) -> None:
    killed(*arguments, "random", after=random.Random(seed).uniform(0, 0.08))


def test_a_kill_while_copying_leaves_nothing_after_the_next_start(
    desk: Desk, stick: Path, data: bytes, entry: Entry
) -> None:
    (stick / NAME).write_bytes(data)
    killed("import", desk.models, stick / NAME, "-", "copying")
    assert desk.left()
    desk.transfers.recover()
    assert desk.left() == []
    old = in_place(desk, data)
    killed("move", desk.models, old, stick, "copying")
    assert len(list(stick.iterdir())) == 2
    desk.transfers.recover()
    assert [file.name for file in stick.iterdir()] == [NAME]
    assert old.read_bytes() == data
    assert desk.left() == []


def test_a_kill_while_names_are_given_is_followed_by_the_rest(desk: Desk, stick: Path, data: bytes) -> None:
    old = in_place(desk, data)
    killed("move", desk.models, old, stick, "placing")
    assert old.exists()
    assert (stick / "m.gguf").exists()
    desk.transfers.recover()
    assert not old.exists()
    assert (stick / "m.gguf").read_bytes() == data
    assert desk.moved.now(str(old)) == str(stick / "m.gguf")
    assert desk.left() == []


@pytest.mark.skipif(os.name != "posix", reason="Windows renames in one step")
def test_a_kill_between_two_names_leaves_one_after_the_next_start(desk: Desk, stick: Path, data: bytes) -> None:
    (stick / "mine.gguf").write_bytes(data)
    killed("import", desk.models, stick / "mine.gguf", "-", "naming")
    place = desk.models / "Imported" / "mine.gguf"
    assert place.stat().st_nlink == 2
    desk.transfers.recover()
    assert place.read_bytes() == data
    assert place.stat().st_nlink == 1
    assert desk.left() == []


@pytest.mark.timeout(3600)
def test_a_kill_at_any_moment_loses_nothing(desk: Desk, tmp_path: Path, stick: Path, data: bytes) -> None:
    chance, copied, moved = random.Random(KILLS), 0, 0
    source = tmp_path / "source.gguf"
    source.write_bytes(data)
    for number in range(KILLS):
        killed("import", desk.models, source, "-", "random", after=chance.uniform(0, 0.08))
        desk.transfers.recover()
        brought = list(desk.models.rglob("*.gguf"))
        assert [file.read_bytes() == data for file in brought] in ([], [True])
        copied += len(brought)
        for file in brought:
            file.unlink()
        old = desk.models / "Imported" / f"m{number}.gguf"
        old.parent.mkdir(exist_ok=True)
        old.write_bytes(data)
        killed("move", desk.models, old, stick, "random", after=chance.uniform(0, 0.08))
        desk.transfers.recover()
        desk.moved.refresh()
        there = Path(desk.moved.now(str(old)))
        assert [*stick.iterdir(), *desk.models.rglob("*.gguf")] == [there]
        assert there.read_bytes() == data
        assert desk.left() == []
        moved += there != old
        there.unlink()
    assert source.read_bytes() == data
    print(f"killed {2 * KILLS} times; {copied} imports and {moved} moves had come or came to their end")


def test_what_another_program_is_copying_is_left_alone(desk: Desk, stick: Path, data: bytes, entry: Entry) -> None:
    (stick / NAME).write_bytes(data)
    second = Desk(desk.models, entry)
    desk.at = lambda status: second.transfers.recover() if status.stage is Stage.COPYING else None
    assert desk.brings(stick / NAME).stage is Stage.FINISHED


def test_a_drive_that_is_away_makes_the_cleaning_wait(desk: Desk, stick: Path, data: bytes) -> None:
    old = in_place(desk, data)
    killed("move", desk.models, old, stick, "copying")
    stick.rename(stick.with_name("pulled"))
    desk.transfers.recover()
    assert len(list((desk.models / ".transfers").glob("*.json"))) == 1
    stick.with_name("pulled").rename(stick)
    desk.transfers.recover()
    assert list(stick.iterdir()) == []
    assert old.exists()
    assert desk.left() == []
