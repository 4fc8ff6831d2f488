from __future__ import annotations

import json
from pathlib import Path

from .conftest import Program


def test_bench(program: Program, demo_gguf: Path) -> None:
    done = program("bench", demo_gguf)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for way in ("raw", "path"):
        assert found[way]["prefill_tps"] > 0
        assert found[way]["decode_tps"] > 0
    for what in ("prefill", "decode"):
        assert found["ratio"][what] > 0


def test_no_such_file(program: Program, tmp_path: Path) -> None:
    done = program("bench", tmp_path / "none.gguf")
    assert (done.returncode, done.stdout) == (2, "")
    assert "none.gguf" in done.stderr
    assert done.stderr.count("\n") == 1
