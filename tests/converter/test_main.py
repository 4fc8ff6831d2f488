"""The command as people and the application run it: a child process, its output, its exit codes, its end by force."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tests.converter.checkpoints import Shape, tensors, write_checkpoint, write_safetensors

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
    summary_line = r".*demo\.gguf: [\d.]+ MB in [\d.]+ s \(\d+ MB/s\), experts MXFP4, others Q8_0\n"
    assert re.fullmatch(summary_line, done.stdout)
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
    assert lines[-1]["files"] == [str(target)]
    assert lines[-1]["types"] == {"experts": "MXFP4", "attention": "Q8_0", "embedding": "Q8_0", "output": "Q8_0"}


def test_without_a_target_the_file_is_named_after_the_model(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "gpt-oss-toy")
    done = run(source, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert check_gguf(tmp_path / "gpt-oss-toy-MXFP4.gguf").name == "gpt-oss-toy"
    done = run(source, "--experts", "q5_1", "--others", "bf16", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert check_gguf(tmp_path / "gpt-oss-toy-Q5_1.gguf").values["general.file_type"] == 9


def test_types_from_the_command_line(tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    chosen = ["--others", "q4_0", "--attention-type", "f16", "--embedding-type", "q5_0", "--output-type", "q8_0"]
    done = run(write_checkpoint(tmp_path / "model"), "-o", target, *chosen, "--experts", "f32", "--mxfp4", "ggml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("experts F32, attention F16, embedding Q5_0, output Q8_0\n")
    kinds = {info.name: info.kind.name for info in check_gguf(target).tensors}
    assert kinds["token_embd.weight"] == "Q5_0"
    assert kinds["output.weight"] == "Q8_0"
    assert kinds["blk.1.attn_output.weight"] == "F16"
    assert kinds["blk.1.ffn_down_exps.weight"] == "F32"


def test_a_set_of_files_verified_at_once(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "gpt-oss-toy")
    folder = tmp_path / "out"
    folder.mkdir()
    done = run(source, "--split-max-size", "60K", "--verify", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    count = len(names(folder))
    assert count > 3
    expected = [f"gpt-oss-toy-MXFP4-{number + 1:05d}-of-{count:05d}.gguf" for number in range(count)]
    assert names(folder) == expected
    assert lines[-1]["files"] == [str(folder / name) for name in expected]
    assert list(lines[-1]["verified"]["sha256"]) == lines[-1]["files"]
    phases = [line["phase"] for line in lines]
    assert phases.index("verify") == phases.count("plan") + phases.count("write") + phases.count("sync")
    written = [line["bytes_done"] for line in lines if line["phase"] in ("write", "sync")]
    assert written == sorted(written)
    assert written[-1] == lines[-1]["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    done = run("verify", folder / expected[0], source)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("41 tensors verified, ")
    assert done.stdout.count("sha256") == count


def test_verify_names_the_wrong_tensor(tmp_path: Path) -> None:
    source, target = write_checkpoint(tmp_path / "model"), tmp_path / "out.gguf"
    assert run(source, "-o", target).returncode == 0
    content = bytearray(target.read_bytes())
    content[-100] ^= 1
    target.write_bytes(content)
    message = refusal(run("verify", target, source))
    assert f"{target}: tensor 'output.weight' is not what the checkpoint gives" in message
    assert "does not exist" in refusal(run("verify", tmp_path / "no.gguf", source))
    assert "does not exist" in refusal(run("verify", target, tmp_path / "no"))
    assert "not a GGUF file" in refusal(run("verify", source / "config.json", source))
    assert run("verify", target).returncode == 2


def test_an_adapter_with_its_base(tmp_path: Path) -> None:
    """A change of rank one to one matrix; all else is the base's."""
    base, adapter = write_checkpoint(tmp_path / "model"), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 2, "r": 1}))
    at = "base_model.model.model.layers.1.self_attn.q_proj.lora"
    factors = {"A": np.full((1, 64), 0.5, "<f4"), "B": np.full((128, 1), 0.25, "<f4")}
    write_safetensors(
        adapter / "adapter_model.safetensors",
        {f"{at}_{letter}.weight": ("F32", factor) for letter, factor in factors.items()},
    )
    assert "--base" in refusal(run(adapter, "-o", tmp_path / "out.gguf"))
    files = {}
    for name, source in (("merged", [adapter, "--base", base]), ("plain", [base])):
        files[name] = tmp_path / f"{name}.gguf"
        done = run(*source, "-o", files[name], "--others", "f32", "--verify")
        assert done.returncode == 0, done.stderr
    merged, plain = ({t.name: t.data for t in gguf.GGUFReader(file).tensors} for file in files.values())
    changed = [name for name in plain if not np.array_equal(merged[name], plain[name])]
    assert changed == ["blk.1.attn_q.weight"]
    assert np.allclose(merged[changed[0]] - plain[changed[0]], 2 * 0.5 * 0.25, rtol=1e-6)
    assert run("verify", files["merged"], adapter, "--base", base).returncode == 0
    assert "'blk.1.attn_q.weight'" in refusal(run("verify", files["merged"], base))


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "model")
    done = run(source, "-o", tmp_path / "out.gguf", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^  MXFP4 +6 tensors +\d", done.stdout, re.MULTILINE)
    assert names(tmp_path) == ["model"]


def test_python_m_converter_is_the_same_command(tmp_path: Path) -> None:
    """From the root of the repository, also where nothing is installed: `-S` leaves out site-packages."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "converter"]
    done = subprocess.run([*command, "--help"], cwd=root, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == run("--help").stdout
    source = write_checkpoint(tmp_path / "model")
    assert run(source, "-o", tmp_path / "a.gguf").returncode == 0
    subprocess.run([*command, source, "-o", tmp_path / "b.gguf"], cwd=root, capture_output=True, timeout=60, check=True)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    bare = [sys.executable, "-S", "-m", "converter", "nowhere"]
    done = subprocess.run(bare, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert "does not exist" in refusal(done)


def test_a_failure_in_the_last_file_of_a_set_leaves_all_as_they_were(tmp_path: Path) -> None:
    source, folder = write_checkpoint(tmp_path / "model"), tmp_path / "out"
    folder.mkdir()
    split = ["-o", folder / "out.gguf", "--split-max-size", "60K"]
    content = tensors(Shape())
    content["lm_head.weight"][1][-1, -1] = 0x7F80  # infinity: read last of all
    damaged = write_checkpoint(tmp_path / "damaged", content=content)
    assert "'lm_head.weight'" in refusal(run(damaged, *split))
    assert names(folder) == []
    assert run(source, *split).returncode == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    content["model.embed_tokens.weight"][1][0, 0] ^= 1  # so that the first file would be another one
    damaged = write_checkpoint(tmp_path / "damaged", content=content)
    assert "'lm_head.weight'" in refusal(run(damaged, *split))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def refusal(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("inglenook-convert: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_wrong_commands_and_inputs(tmp_path: Path) -> None:
    assert run().returncode == 2
    assert run("a", "b").returncode == 2
    assert run("a", "--others", "mxfp4").returncode == 2
    assert run("a", "--split-max-size", "4GB").returncode == 2
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


@posix
def test_a_signal_ends_a_verification(large: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    assert run(large, "-o", target).returncode == 0
    command = [*COMMAND, "verify", str(target), str(large), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for line in child.stdout:
            if json.loads(line)["phase"] == "verify":
                break
        child.terminate()
        errors = child.stderr.read()
        assert (child.wait(60), errors) == (143, "inglenook-convert: stopped.\n")
    assert names(tmp_path) == ["out.gguf"]


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
