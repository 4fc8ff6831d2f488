"""Pieces made by other processes: the same bytes, in order, and nobody left whatever happens."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.converter.checkpoints import Shape, tensors, write_checkpoint

from inglenook_convert import processes
from inglenook_convert.checkpoint import open_checkpoint
from inglenook_convert.config import parse_config
from inglenook_convert.errors import ConvertError
from inglenook_convert.plan import PlannedTensor, make_plan
from inglenook_convert.processes import produced

MEMORY = 100 << 20


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even little is made by other processes."""
    monkeypatch.setattr(processes, "_WORTHWHILE", 0)
    monkeypatch.setattr(processes, "thread_count", lambda: 2)


def planned(folder: Path, scale: int = 100) -> tuple[PlannedTensor, ...]:
    content = tensors(Shape())
    content["model.layers.1.mlp.experts.down_proj_scales"][1].reshape(-1)[-1] = scale
    checkpoint = open_checkpoint(write_checkpoint(folder / "model", content=content))
    return make_plan(checkpoint, parse_config(checkpoint.config)).tensors


def made(plan: tuple[PlannedTensor, ...], memory: int = MEMORY) -> list[tuple[str, int, int, bytes]]:
    with produced(plan, memory) as found:
        return [(piece.tensor.info.name, piece.first, piece.count, bytes(data)) for piece, data in found]


@pytest.mark.parametrize("memory", [0, MEMORY])
def test_the_same_as_without_them(tmp_path: Path, memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inglenook_convert.stages._PIECE", 1 << 12)  # many pieces
    plan = planned(tmp_path)
    here = made(plan)
    assert len(here) > 2 * len(plan)
    monkeypatch.setattr(processes, "_WORTHWHILE", 0)
    assert made(plan, memory) == here


@pytest.mark.usefixtures("others")
def test_an_error_comes_back_as_it_was(tmp_path: Path) -> None:
    plan = planned(tmp_path, scale=255)
    with pytest.raises(ConvertError, match=r"layers\.1\.mlp\.experts\.down_proj_scales' has the scale 255"):
        made(plan)


@pytest.mark.usefixtures("others")
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_one_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inglenook_convert.stages._PIECE", 1 << 12)
    plan = planned(tmp_path)
    with produced(plan, MEMORY) as found:
        next(found)
        for child in multiprocessing.active_children():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(ConvertError, match="process of the converter was ended"):
            list(found)


@pytest.mark.usefixtures("others")
def test_whoever_stops_early_leaves_nobody(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    children = []

    def begin() -> None:
        with produced(plan, MEMORY) as found:
            next(found)
            children.extend(multiprocessing.active_children())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert len(children) == 2


@pytest.mark.usefixtures("others")
@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals of POSIX")
def test_they_are_deaf_to_what_a_terminal_sends_to_all(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    with produced(plan, MEMORY) as found:
        for child in multiprocessing.active_children():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGINT)
        assert sum(1 for _ in found) >= len(plan)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
