import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from tests.converter.checkpoints import write_safetensors

from inglenook_convert import reader
from inglenook_convert.headers import StoredTensor, read_safetensors
from inglenook_convert.reader import ReadAhead, ShardReader


def read_everywhere(tensors: list[StoredTensor]) -> None:
    """Has eight threads read pieces of all tensors, whose bytes are their own place."""
    together = threading.Barrier(8)

    def work(seed: int, shards: ShardReader) -> None:
        random = np.random.default_rng(seed)
        together.wait(60)
        for _ in range(300):
            tensor = tensors[random.integers(len(tensors))]
            start = 4 * int(random.integers(tensor.nbytes // 4 - 100))
            found = np.empty(100, "<u4")
            shards.read_into(tensor, start, found.view(np.uint8).data)
            assert np.array_equal(found, np.arange(start // 4, start // 4 + 100))

    with ShardReader() as shards, ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work, seed, shards) for seed in range(8)]:
            done.result()


@pytest.mark.parametrize("positioned", [True, False])
def test_threads_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, positioned: bool) -> None:
    if not positioned:
        monkeypatch.delattr(reader.os, "preadv", raising=False)  # as on Windows
    elif not hasattr(reader.os, "preadv"):
        pytest.skip("this system has no reads at a place")
    tensors = []
    for i in range(3):
        path = tmp_path / f"{i}.safetensors"
        write_safetensors(path, {f"t{i}": ("F32", np.arange(200_000, dtype="<u4").view("<f4"))})
        tensors += read_safetensors(path).values()
    read_everywhere(tensors)


class Watched(ShardReader):
    """Tells what is read."""

    read: ClassVar[list[tuple[str, int, int]]] = []

    def read_into(self, tensor: StoredTensor, start: int, buffer: memoryview) -> None:
        super().read_into(tensor, start, buffer)
        self.read.append((tensor.name, start, len(buffer)))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    monkeypatch.setattr(reader, "ShardReader", Watched)
    monkeypatch.setattr(reader, "_STEP", 40)
    monkeypatch.setattr(Watched, "read", [])
    return Watched.read


def stored(file: Path, name: str, offset: int, nbytes: int) -> StoredTensor:
    return StoredTensor(name, "U8", (nbytes,), file, offset, nbytes)


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


def test_read_ahead_reads_each_tensor_once_and_stops_at_what_cannot_be_read(
    tmp_path: Path, watched: list[tuple[str, int, int]]
) -> None:
    file = tmp_path / "x"
    file.write_bytes(bytes(200))
    a, b = stored(file, "a", 0, 100), stored(file, "b", 100, 40)
    cut, later = stored(file, "cut", 190, 40), stored(file, "later", 0, 10)
    with ReadAhead([a, a, b, a, cut, later]) as ahead:
        ahead._thread.join()
    assert watched == [("a", 0, 40), ("a", 40, 40), ("a", 80, 20), ("b", 0, 40)]


def test_read_ahead_has_a_limit(
    tmp_path: Path, watched: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_AHEAD", 100)
    file = tmp_path / "x"
    file.write_bytes(bytes(1000))
    with ReadAhead([stored(file, "a", 0, 1000)]) as ahead:
        ahead._thread.join()
    assert sum(count for _, _, count in watched) == 120  # the step that reached it was whole


def test_read_ahead_ends_when_it_is_left(tmp_path: Path, watched: list[tuple[str, int, int]]) -> None:
    file = tmp_path / "x"
    with file.open("wb") as made:
        made.truncate(1 << 40)
    without_end = (stored(file, f"{i}", i, 1) for i in itertools.count())
    with ReadAhead(without_end) as ahead:
        until(lambda: len(watched) >= 100)
    assert not ahead._thread.is_alive()
