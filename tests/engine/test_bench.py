"""The benchmark measures something on the real engine, and gives the object that was promised; and the description."""

from __future__ import annotations

import json

import pytest

from inglenook.core.errors import UserError
from inglenook.core.inference import ModelSpec
from inglenook.engine import bench
from inglenook.engine.client import EngineClient, describe


def test_bench(client: EngineClient, random_spec: ModelSpec):
    found = json.loads(json.dumps(bench.run(client, random_spec, prefill=64, decode=40, repetitions=3)))
    for kind in ("raw", "path"):
        assert set(found[kind]) == {"prefill_tps", "decode_tps"}
        for name, speed in found[kind].items():
            low, high = found["spread"][kind][name]
            assert 0 < low <= speed <= high
    for phase, ratio in found["ratio"].items():
        low, high = found["spread"]["ratio"][phase]
        assert 0 < low <= ratio <= high


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
