"""What people bring along becomes a model: the real converter, the real demo checkpoint, faults along the way."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.converter.adapters import Adapter
from tests.converter.checkpoints import Shape, write_checkpoint

from inglenook.core.errors import UserError
from inglenook.library.files.found import Place, look
from inglenook.library.making import conversions
from inglenook.library.making.conversions import (
    CONVERTED,
    RUNNING,
    Brought,
    Conversions,
    ConversionStatus,
    Kind,
    Stage,
    find_base,
    recognise,
)
from inglenook.library.making.demo import demo_checkpoint
from inglenook_convert.headers import check_gguf


class Job:
    """Conversions with a listener that can be waited for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hubs: list[Path] = []
        self.told: list[ConversionStatus | None] = []
        self._more = threading.Condition()
        self.at: Callable[[ConversionStatus | None], Any] = lambda _: None
        self.made = Conversions(folder, lambda: self.hubs, self._take)

    def _take(self, status: ConversionStatus | None) -> None:
        with self._more:
            self.told.append(status)
            self._more.notify_all()
        self.at(status)

    def end(self) -> ConversionStatus | None:
        """The first status that is not of one that runs."""
        with self._more:
            assert self._more.wait_for(lambda: self.told and not self._runs(), 120)
            return self.told[-1]

    def _runs(self) -> bool:
        last = self.told[-1]
        return last is not None and last.stage in RUNNING

    def files(self) -> list[str]:
        return sorted(file.name for file in self.folder.rglob("*") if file.is_file())


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    made = Job(tmp_path / "models")
    yield made
    made.made.close()


@pytest.fixture
def adapter(tmp_path: Path) -> tuple[Path, Path]:
    """The folders of a small model and of an adapter of it that names it as on the Hub."""
    shape = Shape()
    base = write_checkpoint(tmp_path / "somewhere" / "base", shape)
    made = Adapter(shape)
    made.linear(0, "mlp.router", "ffn_gate_inp", shape.experts, shape.hidden, 2.0)
    return base, made.write(tmp_path / "adapter", base_model_name_or_path="somebody/small")


class TestRecognise:
    def test_by_name_and_contents(self, tmp_path: Path, adapter: tuple[Path, Path]) -> None:
        base, lora = adapter
        model = tmp_path / "m.GGUF"
        model.touch()
        assert recognise(model) == Brought(Kind.MODEL, model)
        assert recognise(base) == Brought(Kind.CHECKPOINT, base)
        assert recognise(base / "config.json") == Brought(Kind.CHECKPOINT, base)
        assert recognise(lora) == Brought(Kind.ADAPTER, lora)
        assert recognise(lora / "adapter_model.safetensors") == Brought(Kind.ADAPTER, lora)
        assert recognise(tmp_path / "gone.gguf").kind is Kind.OTHER
        (tmp_path / "a.txt").touch()
        assert recognise(tmp_path / "a.txt").kind is Kind.OTHER
        (tmp_path / "empty").mkdir()
        assert recognise(tmp_path / "empty").kind is Kind.OTHER

    def test_a_folder_around_an_original_or_a_model(self, tmp_path: Path, adapter: tuple[Path, Path]) -> None:
        shutil.copytree(adapter[0], tmp_path / "hub" / "original")
        assert recognise(tmp_path / "hub") == Brought(Kind.CHECKPOINT, tmp_path / "hub" / "original")
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "m.gguf").touch()
        assert recognise(tmp_path / "one") == Brought(Kind.MODEL, tmp_path / "one" / "m.gguf")


class TestCheckpoint:
    def test_becomes_a_verified_model_with_progress(self, job: Job) -> None:
        job.made.start(demo_checkpoint())
        end = job.end()
        assert end is not None
        assert end.stage is Stage.FINISHED, end.error
        assert end.path is not None
        assert end.path.parent == job.folder / CONVERTED
        assert check_gguf(end.path).architecture == "gpt-oss"
        stages = list(dict.fromkeys(s.stage for s in job.told if s is not None))
        assert [s for s in stages if s is not Stage.SYNCING] == [
            Stage.READING, Stage.WRITING, Stage.VERIFYING, Stage.FINISHED
        ]  # fmt: skip
        for stage in (Stage.WRITING, Stage.VERIFYING):
            done = [s.done for s in job.told if s is not None and s.stage is stage]
            assert done == sorted(done)
        assert [one.path for one in look([Place("Inglenook", job.folder)])] == [end.path]

    def test_a_second_time_leaves_the_first_one_alone(self, job: Job) -> None:
        (job.folder / CONVERTED).mkdir(parents=True)
        first = job.folder / CONVERTED / "Inglenook-Demo-MXFP4.gguf"
        first.write_text("here before")
        job.made.start(demo_checkpoint())
        job.end()
        assert first.read_text() == "here before"
        assert job.files() == ["Inglenook-Demo-MXFP4 (2).gguf", first.name]

    @pytest.mark.parametrize("stage", [Stage.READING, Stage.WRITING, Stage.VERIFYING])
    def test_cancelled_anywhere_leaves_nothing(self, job: Job, stage: Stage) -> None:
        job.at = lambda status: status is not None and status.stage is stage and job.made.cancel()
        job.made.start(demo_checkpoint())
        assert job.end() is None
        assert job.files() == []

    def test_closing_the_program_ends_it_too(self, job: Job) -> None:
        reached = threading.Event()
        job.at = lambda status: reached.set() if status is not None and status.stage is Stage.WRITING else None
        job.made.start(demo_checkpoint())
        assert reached.wait(60)
        job.made.close()
        assert not any(name.startswith(".") for name in job.files())

    def test_a_full_disk_is_said_before(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = shutil.disk_usage(job.folder.parent)._replace(free=1_000_000)
        monkeypatch.setattr(conversions.shutil, "disk_usage", lambda _: usage)
        job.made.start(demo_checkpoint())
        end = job.end()
        assert end is not None
        assert end.error is not None
        assert "Make room" in end.error.text()
        assert not any(s is not None and s.stage is Stage.WRITING for s in job.told)
        assert job.files() == []

    def test_what_is_wrong_with_it_is_the_converters_sentence(self, job: Job, tmp_path: Path) -> None:
        source = Path(shutil.copytree(demo_checkpoint(), tmp_path / "cut"))
        data = (source / "model.safetensors").read_bytes()
        (source / "model.safetensors").write_bytes(data[: len(data) // 2])
        job.made.start(source)
        end = job.end()
        assert end is not None
        assert end.error is not None
        assert "model.safetensors" in end.error.text()
        assert "inglenook-convert" not in end.error.text()
        job.made.cancel()  # what is shown goes
        assert job.told[-1] is None

    def test_one_at_a_time(self, job: Job) -> None:
        job.made.start(demo_checkpoint())
        with pytest.raises(UserError, match="One conversion is running"):
            job.made.start(demo_checkpoint())
        assert job.end() is not None


class TestAdapter:
    def test_without_its_base_it_asks_and_goes_on_with_it(self, job: Job, adapter: tuple[Path, Path]) -> None:
        base, lora = adapter
        job.made.start(lora)
        asked = job.end()
        assert asked is not None
        assert asked.stage is Stage.NEEDS_BASE
        assert asked.wants == "somebody/small"
        job.told.clear()
        job.made.start(lora, base)
        end = job.end()
        assert end is not None
        assert end.stage is Stage.FINISHED, end.error

    @pytest.mark.parametrize("where", ["models/somebody/small", "hub/models--somebody--small/snapshots/abc", "small"])
    def test_its_base_is_found(self, tmp_path: Path, adapter: tuple[Path, Path], where: str) -> None:
        base, lora = adapter
        there = tmp_path / where
        shutil.copytree(base, there)
        assert find_base(lora, tmp_path / "models", [tmp_path / "hub"]) == there

    @pytest.mark.parametrize("name", ["../../etc", "a/../b", "a\0b", "", "x" * 5000, "a\\b/c", 7, None])
    def test_a_strange_name_leads_nowhere(self, tmp_path: Path, adapter: tuple[Path, Path], name: object) -> None:
        (adapter[1] / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": name}))
        assert find_base(adapter[1], tmp_path / "models", [tmp_path / "hub"]) is None
