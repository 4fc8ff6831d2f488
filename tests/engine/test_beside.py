"""One model in place of another: the old one stays until the new one stands, or is there again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.engine import random_model

from inglenook.core.errors import UserError
from inglenook.core.events import EngineEvent, Finished, StopReason
from inglenook.core.fitting import GIB, Wish, estimate
from inglenook.core.inference import EngineState, EngineStatus, ModelSpec
from inglenook.core.memory import Device, Machine, published
from inglenook.engine import llama, memory
from inglenook.engine.beside import fits_beside
from inglenook.engine.protocol import Load
from inglenook.engine.runner import Runner
from inglenook.engine.schedule import Job

H20, H120 = published(24, 32), published(36, 128)


def machine(gib: float, *devices: Device) -> Machine:
    return Machine(int(gib * GIB), int(64 * GIB), 8, devices)


class TestPlan:
    """What is loaded has taken its own memory from the machine already; its file's pages count as available there."""

    def test_two_fit_where_there_is_room(self) -> None:
        uses = estimate(H20, machine(64)).uses
        assert fits_beside(H20, Wish(), machine(60), uses)

    def test_two_do_not_fit_where_there_is_room_for_one(self) -> None:
        uses = estimate(H20, machine(20)).uses
        assert not fits_beside(H20, Wish(), machine(18), uses)

    def test_one_that_would_get_a_smaller_window_beside_the_old_one_is_loaded_alone(self) -> None:
        uses = estimate(H20, machine(40)).uses
        now = machine(26)
        small = estimate(H20, replace(now, available=now.available - uses[0].weights)).choice  # it would fit
        assert small.n_ctx < estimate(H20, machine(40)).choice.n_ctx
        assert not fits_beside(H20, Wish(), now, uses)

    def test_a_graphics_processor_that_is_taken(self) -> None:
        card = Device("CUDA0", "a card", "gpu", int(16 * GIB), int(16 * GIB))
        uses = estimate(H20, machine(60, card)).uses
        taken = sum(use.total for use in uses if use.device == "CUDA0")
        assert taken
        assert not fits_beside(H20, Wish(), machine(60, replace(card, free=card.free - taken)), uses)

    def test_one_that_never_fits_is_refused_before_anything_goes(self) -> None:
        with pytest.raises(UserError):
            fits_beside(H120, Wish(), machine(18), estimate(H20, machine(20)).uses)


class Heard:
    """A client's mailbox."""

    def __init__(self) -> None:
        self.events: list[EngineEvent] = []
        self.outbox = self

    def put(self, report: object) -> None:
        self.events.append(report.event)  # type: ignore[attr-defined]

    @property
    def end(self) -> Finished:
        assert isinstance(self.events[-1], Finished)
        return self.events[-1]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSpec, ModelSpec, ModelSpec]:
    """Two models, and one that passes all that is checked before it is loaded, and cannot be."""
    llama.start()
    folder = tmp_path_factory.mktemp("models")
    bad = random_model.write(folder / "bad.gguf", pre="of-another-time")
    paths = [random_model.write(folder / "a.gguf", 1), random_model.write(folder / "b.gguf", 2), bad]
    a, b, c = (ModelSpec(str(path), 512, 0, 1) for path in paths)
    return a, b, c


class TestRunner:
    @pytest.fixture
    def told(self) -> list[EngineStatus]:
        return []

    @pytest.fixture
    def runner(self, told: list[EngineStatus]) -> Runner:
        return Runner(told.append)

    def load(self, runner: Runner, spec: ModelSpec, *, cancelled: bool = False) -> Finished:
        heard = Heard()
        job = Job(heard, Load(1, spec))  # type: ignore[arg-type]
        job.cancelled = cancelled
        runner._work(job)
        return heard.end

    @pytest.mark.parametrize("both_fit", [True, False])
    def test_the_old_one_stays_until_the_new_one_stands_if_both_fit(
        self,
        runner: Runner,
        told: list[EngineStatus],
        files: tuple[ModelSpec, ModelSpec, ModelSpec],
        monkeypatch: pytest.MonkeyPatch,
        both_fit: bool,
    ) -> None:
        a, b, _ = files
        monkeypatch.setattr(memory, "fits_beside", lambda *_: both_fit)
        self.load(runner, a)
        told.clear()
        assert self.load(runner, b).reason is StopReason.STOP
        beside = {status.model.spec if status.model else None for status in told if status.state is EngineState.LOADING}
        assert beside == {a if both_fit else None}
        assert told[-1].state is EngineState.READY
        assert told[-1].model is not None
        assert told[-1].model.spec == b

    @pytest.mark.parametrize("both_fit", [True, False])
    @pytest.mark.parametrize("how", ["fails", "cancelled"])
    def test_what_does_not_load_leaves_the_old_one(
        self,
        runner: Runner,
        told: list[EngineStatus],
        files: tuple[ModelSpec, ModelSpec, ModelSpec],
        monkeypatch: pytest.MonkeyPatch,
        both_fit: bool,
        how: str,
    ) -> None:
        a, b, bad = files
        monkeypatch.setattr(memory, "fits_beside", lambda *_: both_fit)
        self.load(runner, a)
        end = self.load(runner, bad) if how == "fails" else self.load(runner, b, cancelled=True)
        assert end.reason is (StopReason.FAILED if how == "fails" else StopReason.CANCELLED)
        assert told[-1].state is EngineState.READY
        assert told[-1].model is not None
        assert told[-1].model.spec == a
        assert runner._loaded_now().bench(0, 1) > 0  # it answers

    def test_without_an_old_one_there_is_none(
        self, runner: Runner, told: list[EngineStatus], files: tuple[ModelSpec, ModelSpec, ModelSpec]
    ) -> None:
        end = self.load(runner, files[2])
        assert end.reason is StopReason.FAILED
        assert told[-1].state is EngineState.OFF
        assert told[-1].error == end.error

    def test_by_this_machines_memory_two_small_ones_fit(
        self, runner: Runner, told: list[EngineStatus], files: tuple[ModelSpec, ModelSpec, ModelSpec]
    ) -> None:
        self.load(runner, files[0])
        told.clear()
        self.load(runner, files[1])
        assert told
        assert all(s.model is not None for s in told)

    def test_a_file_that_is_refused_before_loading_touches_nothing(
        self, runner: Runner, files: tuple[ModelSpec, ModelSpec, ModelSpec], tmp_path: Path
    ) -> None:
        self.load(runner, files[0])
        before = runner._loaded_now()
        (tmp_path / "x.gguf").write_bytes(b"GGUF")
        assert self.load(runner, ModelSpec(str(tmp_path / "x.gguf"))).reason is StopReason.FAILED
        assert runner._loaded_now() is before
