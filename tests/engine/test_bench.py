"""The benchmark measures something on the real engine, and gives the object that was promised; and the description."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from inglenook.core.errors import UserError
from inglenook.core.inference import ModelSpec
from inglenook.engine import bench
from inglenook.engine.client import EngineClient, describe


def test_bench(client: EngineClient, random_spec: ModelSpec):
    heard: list[int] = []
    made = bench.run(client, random_spec, prefill=64, decode=40, repetitions=3, progress=heard.append)
    found = json.loads(json.dumps(made))
    assert heard == [-1, 0, 1, 2]
    assert (found["pairs"], found["prefill_tokens"], found["decode_tokens"]) == (3, 64, 40)
    for kind in ("raw", "path", "ratio"):
        what = {"prefill", "decode"} if kind == "ratio" else {"prefill_tps", "decode_tps"}
        assert set(found[kind]) == set(found["quartiles"][kind]) == set(found["spread"][kind]) == what
        for name, median in found[kind].items():
            least, most = found["spread"][kind][name]
            lower, upper = found["quartiles"][kind][name]
            assert 0 < least <= lower <= median <= upper <= most


class Paced:
    """Times the C calls alone with speeds that are given; its answers never come."""

    def __init__(self, speeds: list[float]) -> None:
        self._speeds = speeds

    def model_info(self, _: ModelSpec) -> SimpleNamespace:
        return SimpleNamespace(n_ctx=1000, name="Paced")

    def bench_raw(self, _: ModelSpec, prefill: int, decode: int) -> float:
        assert (prefill, decode) in ((999, 0), (0, 40)), "a prompt leaves room for a token"
        return self._speeds.pop(0) if prefill else 100.0


def test_figures(monkeypatch: pytest.MonkeyPatch):
    """Of ten pairs and one to warm up; one that was disturbed is in the spread alone."""
    monkeypatch.setattr(bench, "_path_prefill", lambda *_: 50.0)
    monkeypatch.setattr(bench, "_path_decode", lambda *_: 90.0)
    speeds = [1.0, 100, 100, 80, 100, 100, 125, 100, 100, 100, 5]
    found = bench.run(cast(Any, Paced(speeds)), ModelSpec("any"), prefill=5000, decode=40)
    assert not speeds
    assert found["pairs"] == 10
    assert (found["raw"]["prefill_tps"], found["path"]["prefill_tps"], found["ratio"]["prefill"]) == (100, 50, 0.5)
    assert found["quartiles"]["raw"]["prefill_tps"] == [100, 100]
    assert found["spread"]["raw"]["prefill_tps"] == [5, 125]
    assert found["spread"]["ratio"]["prefill"] == [0.4, 10]
    assert found["ratio"]["decode"] == 0.9


@pytest.mark.parametrize(
    ("values", "quartiles"), [([3.0], [3, 3]), ([1.0, 3.0], [1.5, 2.5]), ([5.0, 1.0, 4.0, 2.0, 3.0], [2, 4])]
)
def test_quartiles(values: list[float], quartiles: list[float]):
    assert bench._quartiles(values) == quartiles


def test_bench_of_a_bad_file(client: EngineClient):
    with pytest.raises(UserError, match="does not exist"):
        bench.run(client, ModelSpec("/nowhere/model.gguf"))
    with pytest.raises(UserError, match="does not exist"):
        client.bench_raw(ModelSpec("/nowhere/model.gguf"), 8, 0)


def test_describe():
    found = describe()
    assert found["llama_cpp_python"] == "0.3.36"
    assert found["system"]
    assert [d for d in found["devices"] if d["kind"] == "cpu" and d["total"] > 1 << 28]
