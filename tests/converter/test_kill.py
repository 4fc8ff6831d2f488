"""Conversions that are stopped at random moments, and disks that fill up: the old file stays, byte for byte.

INGLENOOK_KILLS is how often each signal is sent (3); tests/soak sends many.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.converter.checkpoints import Shape, write_checkpoint

from inglenook_convert.write import SUFFIX

KILLS = int(os.environ.get("INGLENOOK_KILLS", "3"))
COMMAND = [sys.executable, "-m", "inglenook_convert"]
SIZE = Shape(layers=4, hidden=512, intermediate=512, experts=32, heads=8, head_dim=64)  # 60 MB

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and file systems of POSIX")


def convert(source: Path, target: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, str(source), "-o", str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("kill") / "model", SIZE)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("small") / "model")


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, float]:
    """The file as it should be, and how many seconds a conversion takes."""
    target = tmp_path_factory.mktemp("whole") / "out.gguf"
    began = time.monotonic()
    assert convert(source, target).returncode == 0
    return target.read_bytes(), time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_killed_at_any_moment(
    source: Path, small: Path, whole: tuple[bytes, float], tmp_path: Path, number: signal.Signals
) -> None:
    new, seconds = whole
    old = os.urandom(1_000_000)
    target = tmp_path / "out.gguf"
    replaced = unfinished = 0
    for turn in range(KILLS):
        target.write_bytes(old)
        command = [*COMMAND, str(source), "-o", str(target), "--progress", "json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            if writing := turn % 3 > 0:  # most often while it writes, which is a small part of the time
                next(line for line in child.stdout if '"write"' in line)
            delay = random.uniform(0, seconds * (0.4 if writing else 1.1))
            time.sleep(delay)
            child.send_signal(number)
            _, errors = child.communicate(timeout=60)
        at = f"{delay:.4f} of {seconds:.2f} s, writing: {writing}, exit code {child.returncode}, {errors}"
        found = target.read_bytes()
        # After the rename the work is done, and that may be just when the signal comes.
        assert found in (old, new), at
        assert found == new or child.returncode != 0, at
        replaced += found == new
        left = names(tmp_path)
        if number is signal.SIGKILL:
            unfinished += f"out.gguf{SUFFIX}" in left
            assert set(left) <= {"out.gguf", f"out.gguf{SUFFIX}"}, at
            assert convert(small, tmp_path / "next.gguf").returncode == 0, at
            (tmp_path / "next.gguf").unlink()
            left = names(tmp_path)
        assert left == ["out.gguf"], at
    print(
        f"{number.name}: {KILLS} times, {replaced} too late, {unfinished} unfinished files for the next run to remove"
    )


def test_a_second_conversion_to_the_same_target_is_refused(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    command = [*COMMAND, str(source), "-o", str(target), "--progress", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if json.loads(line)["phase"] == "write":
                break
        first.send_signal(signal.SIGSTOP)
        second = convert(source, target)
        first.send_signal(signal.SIGCONT)
        first.communicate(timeout=60)
    assert (second.returncode, first.returncode) == (2, 0)
    assert second.stderr == (
        f"inglenook-convert: {target} is being written by another conversion. Wait for it to end.\n"
    )
    assert names(tmp_path) == ["out.gguf"]


@pytest.mark.skipif(sys.platform != "linux", reason="mounts of Linux")
@pytest.mark.parametrize(
    ("size", "left_out", "code"),
    [
        # What another program writes between our look at the free room and our writing is played by not looking.
        ("30m", [], 2),
        ("30m", ["_check_room"], 1),
        ("30m", ["_check_room", "_reserve"], 1),
        ("200m", [], 0),
    ],
)
def test_a_full_disk(source: Path, tmp_path: Path, size: str, left_out: list[str], code: int) -> None:
    """On a real small file system, in a mount namespace of its own."""
    mount = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size={size} none "$0" && exec "$@"', str(tmp_path)]
    if not shutil.which("unshare") or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("no right to mount a file system here")
    script = f"""
import json, pathlib
from inglenook_convert import __main__, write
for name in {left_out!r}:
    setattr(write, name, lambda *_: None)
target = pathlib.Path({str(tmp_path / "out.gguf")!r})
target.write_text("old")
code = __main__.main([{str(source)!r}, "-o", str(target), "--progress", "json"])
print(json.dumps([code, [path.name for path in target.parent.iterdir()], target.stat().st_size]))
"""
    done = subprocess.run([*mount, sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, left, nbytes = json.loads(done.stdout.splitlines()[-1])
    assert (found, left) == (code, ["out.gguf"])
    if code:
        assert nbytes == len("old")
        reason = "GB free and" if code == 2 else "No space left on device"
        assert reason in done.stderr
        assert str(tmp_path) in done.stderr
        assert done.stderr.count("\n") == 1
    else:
        assert nbytes > 50e6


def test_a_limit_on_the_size_of_files(source: Path, tmp_path: Path) -> None:
    import resource

    target = tmp_path / "out.gguf"
    target.write_text("old")
    done = convert(source, target, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000,) * 2))
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.gguf"]
