"""The command as people and the application run it: a child process, its output, its exit codes, its end by force."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.converter.checkpoints import Shape, write_checkpoint

from inglenook.core.paths import resources
from inglenook_convert.headers import check_gguf
from inglenook_convert.write import SUFFIX

COMMAND = [sys.executable, "-m", "inglenook_convert"]
LARGE = Shape(layers=8, hidden=512, intermediate=512, experts=32, heads=8, head_dim=64)  # 115 MB: takes a while

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that cannot be converted between two looks."""
    return write_checkpoint(tmp_path_factory.mktemp("large") / "model", LARGE)


def test_the_demo_model(tmp_path: Path) -> None:
    target = tmp_path / "demo.gguf"
    done = run(resources() / "demo-model", "-o", target)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r".*demo\.gguf: [\d.]+ MB in [\d.]+ s \(\d+ MB/s\)\n", done.stdout)
    assert done.stderr == ""
    summary = check_gguf(target)
    assert (summary.architecture, summary.name) == ("gpt-oss", "Inglenook Demo")
    assert summary.values["inglenook.demo"] is True


def test_progress_as_json(tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    done = run(write_checkpoint(tmp_path / "model"), "-o", target, "--progress", "json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["phase"] for line in lines] == ["plan", "write", "sync", "done"]
    size = target.stat().st_size
    assert lines[-1]["file"] == str(target)
    assert lines[-1]["bytes"] == lines[-1]["bytes_done"] == lines[-1]["bytes_total"] == size
    assert lines[1]["tensor"] == "token_embd.weight"
    assert lines[2]["bytes_done"] == size


def test_without_a_target_the_file_is_named_after_the_model(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "gpt-oss-toy")
    done = run(source, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert check_gguf(tmp_path / "gpt-oss-toy-MXFP4.gguf").name == "gpt-oss-toy"


def refusal(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("inglenook-convert: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_wrong_commands_and_inputs(tmp_path: Path) -> None:
    assert run().returncode == 2
    assert run("a", "b").returncode == 2
    assert "does not exist" in refusal(run(tmp_path / "no", "-o", tmp_path / "out.gguf"))
    source = write_checkpoint(tmp_path / "model")
    assert "is a folder" in refusal(run(source, "-o", tmp_path))
    cut = write_checkpoint(tmp_path / "cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-1])
    message = refusal(run(cut.parent, "-o", tmp_path / "out.gguf"))
    assert str(cut) in message
    assert "lm_head.weight" in message
    other = write_checkpoint(tmp_path / "other", changes={"model_type": "llama"})
    assert "llama" in refusal(run(other, "-o", tmp_path / "out.gguf"))
    assert not (tmp_path / "out.gguf").exists()


def test_json_progress_keeps_errors_on_stderr(tmp_path: Path) -> None:
    done = run(tmp_path, "-o", tmp_path / "out.gguf", "--progress", "json")
    assert done.returncode == 2
    assert [json.loads(line)["phase"] for line in done.stdout.splitlines()] == ["plan"]
    assert "config.json" in done.stderr


def interrupted(source: Path, target: Path, end: Callable[[subprocess.Popen[str]], None]) -> tuple[int, str]:
    """Starts a conversion, does `end` to it once it writes tensors; exit code and stderr."""
    command = [*COMMAND, str(source), "-o", str(target), "--progress", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for line in child.stdout:
            if json.loads(line)["phase"] == "write":
                break
        assert target.with_name(target.name + SUFFIX).exists()
        end(child)
        errors = child.stderr.read()
        return child.wait(60), errors


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_without_a_trace(large: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    target = tmp_path / "out.gguf"
    target.write_text("old")
    returned, errors = interrupted(large, target, lambda child: child.send_signal(number))
    assert returned == code
    assert errors == "inglenook-convert: stopped; the unfinished file was removed.\n"
    assert names(tmp_path) == ["out.gguf"]
    assert target.read_text() == "old"


def test_it_ends_when_nobody_reads_its_progress(large: Path, tmp_path: Path) -> None:
    def leave(child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        child.stdout.close()

    returned, errors = interrupted(large, tmp_path / "out.gguf", leave)
    assert (returned, errors) == (141, "")
    assert names(tmp_path) == []


def test_killed_it_leaves_the_old_file_and_the_next_run_cleans_up(large: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    target.write_text("old")
    interrupted(large, target, lambda child: child.kill())
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.gguf", f"out.gguf{SUFFIX}"]
    done = run(write_checkpoint(tmp_path / "model"), "-o", tmp_path / "other.gguf")
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == ["model", "other.gguf", "out.gguf"]


@posix
def test_a_full_disk_leaves_the_old_file(large: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the write fails in the middle in the same way."""
    import resource

    target = tmp_path / "out.gguf"
    target.write_text("old")
    limit = 20_000_000
    done = run(large, "-o", target, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    message = refusal(done, code=1)
    assert str(target) in message
    assert "File too large" in message
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.gguf"]
