"""`inglenook models import` and `move`, as people type them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inglenook.core.settings import MODEL_FILE
from inglenook.library.making.demo import demo_checkpoint

from .test_models import KEY, NAME, User, user

__all__ = ["user"]  # a fixture


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "stick"
    folder.mkdir()
    return folder


def test_import(user: User, stick: Path) -> None:
    """The published file by its bytes, whatever its name; the first model is the one in use."""
    (stick / "x.gguf").write_bytes(user.gguf.read_bytes())
    done = user.run("import", stick)
    assert (done.returncode, done.stdout) == (0, f"{user.file}\n"), done.stderr
    assert done.stderr.splitlines() == [
        f"gpt-oss-20b is here. It is exactly the published file {NAME}.",
        "gpt-oss-20b is used from now on.",
    ]
    assert user.settings[MODEL_FILE.key] == str(user.file)
    assert user.run("verify", KEY).stdout.startswith(user.digest)
    (stick / "x.gguf").rename(stick / NAME)
    assert "here already" in user.fails(1, "import", stick / NAME)
    assert not user.hub.seen


def test_import_of_what_is_unknown_or_damaged(user: User, stick: Path) -> None:
    data = bytearray(user.gguf.read_bytes())
    data[-1] ^= 1
    (stick / NAME).write_bytes(data)
    assert "damaged or was changed" in user.fails(1, "import", stick / NAME)
    assert not list(user.models.rglob("*.gguf"))
    (stick / "mine.gguf").write_bytes(data)
    done = user.run("import", stick / "mine.gguf")
    assert (done.returncode, done.stdout) == (0, f"{user.models / 'Imported' / 'mine.gguf'}\n")
    assert "not a file that Inglenook knows" in done.stderr
    assert "holds 2 models" in user.fails(1, "import", stick)


def test_move(user: User, stick: Path) -> None:
    user.put()
    user.set(**{MODEL_FILE.key: str(user.file)})
    done = user.run("move", KEY, stick)
    assert (done.returncode, done.stdout) == (0, f"{stick / NAME}\n"), done.stderr
    assert f"is now in {stick}" in done.stderr
    assert user.settings[MODEL_FILE.key] == str(stick / NAME)
    assert not user.file.exists()
    away = stick.rename(stick.with_name("pulled"))
    (model,) = [one for one in user.listed().values() if one["problem"]]
    assert (model["owner"], model["path"], model["in_use"]) == ("Inglenook", str(stick / NAME), True)
    assert "drive that is not connected" in str(model["problem"])
    away.rename(stick)
    done = user.run("move", KEY, user.models)
    assert (done.returncode, done.stdout) == (0, f"{user.file}\n"), done.stderr
    assert user.settings[MODEL_FILE.key] == str(user.file)
    assert "There is no folder" in user.fails(1, "move", KEY, stick / "no")
    user.fails(1, "move", "demo", stick)


def test_disk_use(user: User) -> None:
    user.put()
    (user.file.parent / "x.part").write_bytes(bytes(2_000_000))
    last = user.run().stdout.splitlines()[-1]
    assert str(user.models) in last
    assert "Unfinished or set aside: 2 MB" in last


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals, and no signal to a child alone")
def test_ctrl_c_leaves_nothing(user: User, stick: Path) -> None:
    source = stick / "slow.gguf"
    with source.open("wb") as file:
        file.write(user.gguf.read_bytes())
        file.truncate(3_000_000_000)  # a hole: long enough to be caught in the middle
    ours, theirs = os.openpty()
    shown = b""
    command = user.command("import", source)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=user.environment) as running:
        os.close(theirs)
        try:
            while b"copying" not in shown:
                shown += os.read(ours, 1000)
            running.send_signal(signal.SIGINT)
            with contextlib.suppress(OSError):  # as Linux tells that nobody writes any more
                while os.read(ours, 1000):
                    pass
            assert running.communicate(timeout=60)[0] == b""
        finally:
            running.kill()
            os.close(ours)
    assert running.returncode == 130
    assert not [file for file in user.models.rglob("*") if file.is_file() and file.stat().st_size > 1000]
    assert source.exists()


def test_a_checkpoint_is_brought_moved_and_removed_like_a_model(user: User, stick: Path) -> None:
    shutil.copytree(demo_checkpoint(), stick / "small")
    done = user.run("import", stick)
    home = user.models / "Imported" / "small"
    assert (done.returncode, done.stdout) == (0, f"{home}\n"), done.stderr
    assert "to be converted" in done.stderr
    assert "used from now on" not in done.stderr
    found = user.listed()["small"]
    assert (found["owner"], found["path"], found["checkpoint"]) == ("Inglenook", str(home), True)
    assert str(home) in user.run().stdout
    assert f"inglenook-convert {home}" in user.fails(1, "use", "small")
    shutil.rmtree(stick / "small")
    done = user.run("move", "small", stick)
    assert (done.returncode, done.stdout) == (0, f"{stick / 'small'}\n"), done.stderr
    assert not home.exists()
    assert user.run("remove", stick / "small").returncode == 0
    assert [file.name for file in (stick / "small").iterdir()] == [".inglenook-deleted"]
    assert user.run("restore").returncode == 0
    names = {file.name for file in demo_checkpoint().iterdir()}
    assert {file.name for file in (stick / "small").iterdir()} == names
