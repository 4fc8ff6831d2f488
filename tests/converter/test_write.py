import errno
import mmap
import sys
import threading
from pathlib import Path

import pytest
from tests.converter.checkpoints import Shape, tensors, write_checkpoint

from inglenook_convert import output, write
from inglenook_convert.checkpoint import open_checkpoint
from inglenook_convert.config import parse_config
from inglenook_convert.errors import ConvertError
from inglenook_convert.output import Disk
from inglenook_convert.plan import Plan, make_plan
from inglenook_convert.processes import produced
from inglenook_convert.write import MEMORY, SUFFIX, write_file, write_files


def plan_in(tmp_path: Path) -> Plan:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "model"))
    return make_plan(checkpoint, parse_config(checkpoint.config))


def ignore(phase: str, tensor: str, done: int) -> None:
    """A report that nobody wants."""


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_header_and_padded_data_and_nothing_else(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    header = plan.header([])
    seen: list[tuple[str, str, int]] = []
    write_file(tmp_path / "out.gguf", header, plan, lambda *report: seen.append(report))
    assert (tmp_path / "out.gguf").stat().st_size == len(header) + plan.data_bytes
    assert files(tmp_path) == ["out.gguf"]
    done = [bytes_done for _, _, bytes_done in seen]
    assert done == sorted(done)
    assert seen[-1] == ("sync", "", len(header) + plan.data_bytes)
    assert {name for phase, name, _ in seen if phase == "write"} == {tensor.info.name for tensor in plan.tensors}


def test_a_failure_on_the_way_leaves_the_old_file(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    target = tmp_path / "out.gguf"
    target.write_text("old")

    def fail(phase: str, tensor: str, done: int) -> None:
        if tensor.startswith("blk.1"):
            assert (tmp_path / f"out.gguf{SUFFIX}").exists()
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_file(target, plan.header([]), plan, fail)
    assert target.read_text() == "old"
    assert files(tmp_path) == ["out.gguf"]


def test_debris_of_killed_runs_is_removed_and_live_ones_are_left(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    (tmp_path / f"killed.gguf{SUFFIX}").write_bytes(bytes(100))
    (tmp_path / f"out.gguf{SUFFIX}").write_bytes(bytes(10_000_000))  # longer than what will be written
    with (tmp_path / f"live.gguf{SUFFIX}").open("ab") as live:
        assert write._lock(live)
        write_file(tmp_path / "out.gguf", plan.header([]), plan, ignore)
        assert files(tmp_path) == [f"live.gguf{SUFFIX}", "out.gguf"]
    assert (tmp_path / "out.gguf").stat().st_size == len(plan.header([])) + plan.data_bytes


def test_two_conversions_to_one_file_do_not_meet(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    target = tmp_path / "out.gguf"
    refused = []

    def second(phase: str, tensor: str, done: int) -> None:
        if phase == "sync":
            with pytest.raises(ConvertError, match="being written by another conversion"):
                write_file(target, plan.header([]), plan, ignore)
            refused.append(True)

    write_file(target, plan.header([]), plan, second)
    assert refused == [True]
    assert files(tmp_path) == ["out.gguf"]


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be renamed there")
def test_a_lock_on_a_file_that_was_renamed_meanwhile_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / f"out.gguf{SUFFIX}"
    with path.open("ab") as file:
        path.rename(tmp_path / "out.gguf")
        assert not write._lock(file)


def test_impossible_targets(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    with pytest.raises(ConvertError, match="is a folder"):
        write_file(tmp_path, b"", plan, ignore)
    with pytest.raises(ConvertError, match="does not exist"):
        write_file(tmp_path / "no" / "out.gguf", b"", plan, ignore)


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path) -> None:
    huge = Plan("huge", (), 1 << 60)
    with pytest.raises(ConvertError, match=r"GB free and 1152921504\.6 GB are needed"):
        write_file(tmp_path / "out.gguf", b"", huge, ignore)
    assert files(tmp_path) == []


def test_several_files_take_their_places_together(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    targets = [tmp_path / "a.gguf", tmp_path / "b.gguf"]
    targets[0].write_text("old")
    files_to_write = [(target, plan.header([]), plan) for target in targets]
    size = len(plan.header([])) + plan.data_bytes
    tensors = [*plan.tensors, *plan.tensors]

    def fail(phase: str, tensor: str, done: int) -> None:
        if done > size * 1.9:
            assert files(tmp_path) == ["a.gguf", f"a.gguf{SUFFIX}", f"b.gguf{SUFFIX}"]
            raise OSError(5, "Input/output error")

    with produced(tensors, MEMORY) as made, pytest.raises(OSError, match="Input/output"):
        write_files(files_to_write, made, fail)
    assert files(tmp_path) == ["a.gguf"]
    assert targets[0].read_text() == "old"
    seen = []
    with produced(tensors, MEMORY) as made:
        write_files(files_to_write, made, lambda *report: seen.append(report))
    assert files(tmp_path) == ["a.gguf", "b.gguf"]
    assert targets[0].read_bytes() == targets[1].read_bytes()
    assert targets[0].stat().st_size == size
    assert seen[-1] == ("sync", "", 2 * size)
    assert [done for _, _, done in seen] == sorted(done for _, _, done in seen)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ConvertError, BrokenPipeError])
def test_whatever_stops_it_no_thread_goes_on(tmp_path: Path, stop: type[BaseException]) -> None:
    plan = plan_in(tmp_path)
    before = threading.active_count()

    def fail(phase: str, tensor: str, done: int) -> None:
        if tensor.startswith("blk.1"):
            raise stop("stop")

    with pytest.raises(stop, match=r"^stop$"):
        write_file(tmp_path / "out.gguf", plan.header([]), plan, fail)
    assert threading.active_count() == before
    assert files(tmp_path) == []


def test_a_fault_in_a_thread_that_computes_ends_all(tmp_path: Path) -> None:
    content = tensors(Shape())
    content["model.layers.1.mlp.experts.down_proj_scales"][1].reshape(-1)[-1] = 255
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "model", content=content))
    plan = make_plan(checkpoint, parse_config(checkpoint.config))
    before = threading.active_count()
    with pytest.raises(ConvertError, match=r"layers\.1\.mlp\.experts\.down_proj_scales' has the scale 255"):
        write_file(tmp_path / "out.gguf", plan.header([]), plan, ignore)
    assert threading.active_count() == before
    assert files(tmp_path) == []


@pytest.mark.parametrize("direct", [True, False])
def test_a_fault_of_the_disk_in_the_background_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    """The system tells of a failed write once only: whoever asks later hears that all is well."""
    plan = plan_in(tmp_path)
    calls = []

    def fail(*_: object) -> None:
        calls.append(True)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(output, "PART", mmap.PAGESIZE)
    monkeypatch.setattr(output, "_FLUSH", 1000)
    if direct:
        monkeypatch.setattr(Disk, "write", fail)
    else:
        monkeypatch.setattr(Disk, "_set_direct", lambda *_: None)
        monkeypatch.setattr(output, "_sync_data", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_file(tmp_path / "out.gguf", plan.header([]), plan, ignore)
    assert len(calls) >= 2
    assert files(tmp_path) == []


@pytest.mark.parametrize("way", ["direct", "through the system's memory", "refused when it is written", "in bits"])
def test_the_same_file_whatever_way_it_takes_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    plan = plan_in(tmp_path)
    write_file(tmp_path / "expected.gguf", plan.header([]), plan, ignore)
    monkeypatch.setattr(output, "PART", 4 * mmap.PAGESIZE)
    if way == "through the system's memory":
        monkeypatch.setattr(Disk, "_set_direct", lambda *_: None)
    real = Disk._append
    refusals = []

    def append(disk: Disk, part: memoryview) -> int:
        if way == "refused when it is written" and disk._is_direct:
            refusals.append(True)
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(disk, part[:1000] if way == "in bits" and not disk._is_direct else part)

    monkeypatch.setattr(Disk, "_append", append)
    write_file(tmp_path / "out.gguf", plan.header([]), plan, ignore)
    assert len(refusals) <= 1
    assert (tmp_path / "out.gguf").read_bytes() == (tmp_path / "expected.gguf").read_bytes()
