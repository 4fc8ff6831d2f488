"""Damaged model files: llama.cpp never sees what would end it. INGLENOOK_MUTATIONS is how many (150); soak has more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.engine import mutated

COUNT = int(os.environ.get("INGLENOOK_MUTATIONS", "150"))
SEED = os.environ.get("INGLENOOK_SEED", "1")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


def test_no_mutated_file_ends_the_process(demo_gguf: Path) -> None:
    command = [sys.executable, "-m", "tests.engine.mutated", str(demo_gguf), str(COUNT), SEED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + COUNT, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    print(f"{COUNT} mutated files: {result['ways']}")
    assert result["bad"] == []
    assert result["left"] == ["mutated.gguf"]
    assert result["ways"]["refused"] > COUNT // 2
    assert result["ways"]["ran"] > COUNT // 20


@pytest.mark.parametrize(("key", "value"), [("gpt-oss.expert_count", 0), ("gpt-oss.expert_used_count", 33)])
def test_what_would_end_it_is_refused(demo_gguf: Path, tmp_path: Path, key: str, value: int) -> None:
    """The control: without our check, llama.cpp aborts."""
    script = (
        "import sys; from pathlib import Path; from tests.engine import mutated;"
        "print([mutated.load(Path(sys.argv[1]), checked) for checked in (True, False)])"
    )
    path = tmp_path / "m.gguf"
    path.write_bytes(mutated.set_number(demo_gguf.read_bytes(), key, value))
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['refused', 'signal 6']"
