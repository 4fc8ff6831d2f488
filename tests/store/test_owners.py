"""A program's claim holds exactly as long as the program runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from inglenook.store.owners import Owner

CHILD = """
import sys, time
from pathlib import Path
from inglenook.store.owners import Owner
print(Owner(Path(sys.argv[1])).token, flush=True)
time.sleep(600)
"""


def test_another_program_is_alive_until_it_is_killed(tmp_path: Path) -> None:
    database = tmp_path / "c.sqlite3"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(database)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    token = child.stdout.readline().strip()
    owner = Owner(database)
    assert not owner.is_dead(token)
    assert not owner.is_dead(owner.token)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert owner.is_dead(token)
    assert owner.is_dead(token), "and stays dead when its lock file is gone"
    owner.release()
    assert list(tmp_path.iterdir()) == []


def test_two_owners_in_one_program_do_not_take_each_other_for_dead(tmp_path: Path) -> None:
    database = tmp_path / "c.sqlite3"
    first, second = Owner(database), Owner(database)
    assert not first.is_dead(second.token)
    second.release()
    assert first.is_dead(second.token)
    first.release()


def test_sweep_removes_old_files_of_the_dead_only(tmp_path: Path) -> None:
    database = tmp_path / "c.sqlite3"
    owner, living = Owner(database), Owner(database)
    dead_old = tmp_path / "c.sqlite3-owner-old"
    dead_young = tmp_path / "c.sqlite3-owner-young"
    other = tmp_path / "c.sqlite3-notes"
    for file in (dead_old, dead_young, other):
        file.touch()
    for file in (dead_old, other, tmp_path / f"c.sqlite3-owner-{living.token}"):
        os.utime(file, (1, 1))
    owner.sweep()
    assert not dead_old.exists()
    assert dead_young.exists()
    assert other.exists()
    assert not owner.is_dead(living.token)
    owner.release()
    living.release()
