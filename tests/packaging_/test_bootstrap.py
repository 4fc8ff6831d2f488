from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import bootstrap
from bootstrap import Stamps, check_python, key_of, llama_version, locked
from setup_console import SetupError

PACKAGING = Path(bootstrap.__file__).parent


def test_key_changes_with_each_input() -> None:
    assert key_of("a", "b") == key_of("a", b"b")
    assert len({key_of("a", "b"), key_of("ab"), key_of("b", "a"), key_of("a"), key_of()}) == 5


def test_stamps_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "setup.json"
    stamps = Stamps(file)
    assert stamps.empty
    assert not stamps.current("venv", "1")
    stamps.set("venv", "1")
    stamps.set("packages", "2")
    again = Stamps(file)
    assert again.current("venv", "1")
    assert again.current("packages", "2")
    assert not again.current("packages", "3")
    assert not again.empty


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00\xff"])
def test_damaged_stamps_mean_that_nothing_was_done(tmp_path: Path, content: str) -> None:
    file = tmp_path / "setup.json"
    file.write_text(content)
    assert Stamps(file).empty


def test_the_pinned_version_of_the_engine() -> None:
    assert llama_version((PACKAGING.parent / "pyproject.toml").read_text("utf-8")) == "0.3.36"
    with pytest.raises(SetupError, match="does not pin"):
        llama_version('dependencies = ["llama-cpp-python>=0.3"]')


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (2, 7)])
def test_python_that_is_too_old_or_new(version: tuple[int, int]) -> None:
    with pytest.raises(SetupError, match=r"needs Python 3\.11 to 3\.14"):
        check_python(version)


def test_python_that_fits() -> None:
    for minor in range(11, 15):
        check_python((3, minor))


def test_one_setup_at_a_time(tmp_path: Path) -> None:
    code = (
        f"import sys, time; sys.path.insert(0, {str(PACKAGING)!r})\n"
        "from pathlib import Path\nfrom bootstrap import locked\n"
        f"with locked(Path({str(tmp_path)!r})):\n    print('locked', flush=True); sys.stdin.read()\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    with (tmp_path / bootstrap.LOCK).open("a+b") as file:
        assert not bootstrap._try_lock(file.fileno())
    holder.kill()  # the system frees the lock
    holder.wait()
    holder.stdout.close()
    assert holder.stdin is not None
    holder.stdin.close()
    begun = time.monotonic()
    with locked(tmp_path):
        assert time.monotonic() - begun < 60
        with (tmp_path / bootstrap.LOCK).open("a+b") as file:
            assert not bootstrap._try_lock(file.fileno())


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["walk"], 2), (["--help"], 0)])
def test_usage(arguments: list[str], status: int) -> None:
    script = str(PACKAGING / "bootstrap.py")
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    assert done.returncode == status
    assert "run|test|soak|setup|clean" in (done.stderr if status else done.stdout)


def test_nothing_but_the_standard_library() -> None:
    # -I -S: neither site-packages nor the environment's variables.
    code = f"import sys; sys.path.insert(0, {str(PACKAGING)!r}); import bootstrap"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
