import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.converter.checkpoints import write_safetensors

from inglenook_convert import reader
from inglenook_convert.headers import StoredTensor, read_safetensors
from inglenook_convert.reader import ShardReader


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
