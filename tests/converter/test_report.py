"""The dry run: its figures are those of the conversion, and it writes nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.converter.checkpoints import write_checkpoint

from inglenook_convert import report
from inglenook_convert.checkpoint import open_checkpoint
from inglenook_convert.config import parse_config
from inglenook_convert.errors import ConvertError
from inglenook_convert.jobs import convert, dry_run
from inglenook_convert.plan import make_plan
from inglenook_convert.progress import make_progress
from inglenook_convert.report import DryRun
from inglenook_convert.tensor_types import DEFAULT, EXPERTS, OTHERS, types_of


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("report") / "model", shards=2)


def test_it_predicts_the_file_to_the_byte_and_writes_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.gguf"
    dry_run(source, target, make_progress("json"))
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(tmp_path.iterdir()) == []
    convert(source, target, make_progress("json"))
    size = target.stat().st_size
    assert told["dry_run"] is True
    assert told["types"] == DEFAULT.names()
    assert told["files"] == [{"file": str(target), "bytes": size}]
    assert told["bytes_needed"] == told["experts"]["mxfp4"] == told["others"]["q8_0"] == size
    assert told["bytes_free"] > size
    shards = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    assert 0 < shards - told["bytes_to_read"] < 20_000  # their headers are all that is not tensors
    assert {entry["type"]: entry["count"] for entry in told["tensors"]} == {"F32": 25, "Q8_0": 10, "MXFP4": 6}
    assert 0 < size - sum(entry["bytes"] for entry in told["tensors"]) < 20_000  # the header and padding
    assert told["predicted_seconds"] >= 0


def test_what_other_types_would_cost_is_what_they_cost(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dry_run(source, tmp_path / "out.gguf", make_progress("json"), types_of("q5_0", "q4_0", (None,) * 3, "best"))
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(told["experts"]) == list(EXPERTS)
    assert list(told["others"]) == list(OTHERS)
    for experts, others, size in [
        *((name, "q4_0", told["experts"][name]) for name in EXPERTS),
        *(("q5_0", name, told["others"][name]) for name in OTHERS),
    ]:
        types = types_of(experts, others, (None,) * 3, "best")
        assert convert(source, tmp_path / "out.gguf", make_progress("json"), types).stat().st_size == size, types


def test_a_set_is_told_file_by_file(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dry_run(source, tmp_path / "out.gguf", make_progress("json"), max_bytes=60_000)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["files"]
    convert(source, tmp_path / "out.gguf", make_progress("json"), max_bytes=60_000)
    assert len(told) > 3
    assert {entry["file"]: entry["bytes"] for entry in told} == {str(p): p.stat().st_size for p in tmp_path.iterdir()}


def test_a_folder_that_does_not_exist_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="no does not exist"):
        dry_run(source, tmp_path / "no" / "out.gguf", make_progress("json"))


def made(free: int, seconds: float | None) -> DryRun:
    kinds = {"F32": (2, 10), "MXFP4": (1, 2_000_000_000)}
    sizes = {"mxfp4": 2_000_000_100, "q8_0": 4_000_000_000}
    return DryRun("published", DEFAULT, ((Path("a.gguf"), 2_000_000_100),), kinds, 3_000, free, seconds, sizes, {})


def test_the_table() -> None:
    lines = made(1 << 40, 300.0).text().splitlines()
    assert lines[0] == "published: experts MXFP4, others Q8_0"
    assert "  MXFP4      1 tensors       2,000,000,000 bytes" in lines
    assert "  a.gguf  2,000,000,100 bytes" in lines
    assert "  about 5 min, after what disk and processor did just now" in lines
    assert "    mxfp4           2,000,000,100  +0" in lines
    assert "    q8_0            4,000,000,000  +1,999,999,900" in lines


def test_too_little_room_and_no_measurement() -> None:
    text = made(1000, None).text()
    assert "NOT ENOUGH" in text
    assert "about" not in text
    assert "NOT ENOUGH" not in made(2_000_000_100, None).text()


@pytest.mark.parametrize("name", EXPERTS)
def test_the_time_to_compute_is_that_of_the_largest_of_each_kind(
    source: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def one_second(work: Callable[[], object]) -> float:
        work()
        return 1.0

    monkeypatch.setattr(report, "_time", one_second)
    checkpoint = open_checkpoint(source)
    plan = make_plan(checkpoint, parse_config(checkpoint.config), types_of(name, "q4_0", (None,) * 3, "best"))
    groups: dict[tuple[str, bool], list[int]] = {}  # experts, other matrices, and all that is F32
    for tensor in plan.tensors:
        is_expert = tensor.info.name.endswith("_exps.weight")
        groups.setdefault((tensor.kind.name, is_expert), []).append(tensor.nbytes)
    assert len(groups) == 3
    assert report._computing(plan) == pytest.approx(sum(sum(sizes) / max(sizes) for sizes in groups.values()))
