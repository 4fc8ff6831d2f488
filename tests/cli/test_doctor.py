from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from inglenook.cli.doctor import memory, parse_meminfo, parse_vm_stat

from .conftest import Program


def test_memory_agrees_with_psutil() -> None:
    found = memory()
    assert found is not None
    total, available = found
    assert total == psutil.virtual_memory().total
    assert 0 < available <= total


def test_meminfo() -> None:
    text = "MemTotal:       16000000 kB\nMemFree:  1000000 kB\nMemAvailable:    8000000 kB\nHugePages_Total:  0\n"
    assert parse_meminfo(text) == (16_384_000_000, 8_192_000_000)
    assert parse_meminfo("MemTotal: 16 kB\n") is None


def test_vm_stat() -> None:
    text = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free:                              100.\nPages active:                          90000.\n"
        "Pages inactive:                          200.\nPages speculative:                        30.\n"
        "Pages wired down:                      70000.\nPages purgeable:                           4.\n"
    )
    assert parse_vm_stat(text) == 16384 * 334
    with pytest.raises(ValueError, match="page size"):
        parse_vm_stat("")


def test_json(program: Program, environment: dict[str, str]) -> None:
    done = program("doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["versions"]["llama-cpp-python"] == "0.3.36"
    assert found["qt"] is True
    assert found["engine"]["devices"]
    assert found["memory"]["total_bytes"] == psutil.virtual_memory().total
    assert found["model"] == {"file": None, "present": None}
    assert found["plan"] is None
    assert len(found["paths"]) >= 4
    assert all(path.startswith(environment["INGLENOOK_HOME"] + os.sep) for path in found["paths"].values())


def test_text(program: Program) -> None:
    done = program("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line[:22].strip(): line[23:].strip() for line in done.stdout.splitlines()}
    assert rows["llama-cpp-python"] == "0.3.36"
    assert rows["Model"] == "Demo model"
    assert rows["Memory"].endswith("GB")


def test_plan_of_a_model(program: Program, demo_gguf: Path) -> None:
    """The same as JSON and in words."""
    done = program("doctor", "--json", "--model", demo_gguf)
    assert (done.returncode, done.stderr) == (0, "")
    plan = json.loads(done.stdout)["plan"]
    (use,) = plan["uses"]
    assert use["device"] == "CPU"
    assert demo_gguf.stat().st_size / 2 < use["weights"] < demo_gguf.stat().st_size
    assert min(use["cache"], use["compute"], use["output"]) > 0
    done = program("doctor", "--model", demo_gguf)
    rows = [(line[:22].strip(), line[23:].strip()) for line in done.stdout.splitlines()]
    assert ("Context window", f"{plan['choice']['n_ctx']} (f16)") in rows
    assert ("Plan", plan["why"]) in rows
    assert "compute buffers" in dict(rows)["Memory of CPU"]


def test_no_plan_for_what_is_no_model(program: Program, spoiled: dict[str, Path]) -> None:
    done = program("doctor", "--model", spoiled["other"])
    assert done.returncode == 0
    rows = {line[:22].strip(): line[23:].strip() for line in done.stdout.splitlines()}
    assert rows["Plan"].endswith("Inglenook runs gpt-oss models only.")
