"""Damaged model files: llama.cpp never sees what would end it. INGLENOOK_MUTATIONS is how many (150); soak has more."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.engine import mutated

ROOT = Path(__file__).parents[2]
COUNT = int(os.environ.get("INGLENOOK_MUTATIONS", "150"))
SEED = os.environ.get("INGLENOOK_SEED", "1")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


def test_no_mutated_file_ends_the_process(demo_gguf: Path) -> None:
    command = [sys.executable, "-m", "tests.engine.mutated", str(demo_gguf), str(COUNT), SEED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + COUNT, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    print(f"{COUNT} mutated files, seed {SEED}: {result['ways']} in {result['seconds']} s")
    assert result["bad"] == []
    assert result["left"] == []
    assert sum(result["ways"].values()) == COUNT
    assert result["ways"][mutated.REFUSED] > COUNT // 2
    assert result["ways"][mutated.RAN] > COUNT // 20


WOULD_END_IT = [("gpt-oss.expert_count", 0), ("gpt-oss.expert_used_count", 33)]
LOAD = """
import sys
from pathlib import Path
from tests.engine import mutated
print([[mutated.load(Path(path), checked) for checked in (True, False)] for path in sys.argv[1:]])
"""


def test_what_would_end_it_is_refused(demo_gguf: Path, tmp_path: Path) -> None:
    """The control: without our check, llama.cpp aborts."""
    paths = [tmp_path / f"{key} {value}.gguf" for key, value in WOULD_END_IT]
    for path, (key, value) in zip(paths, WOULD_END_IT, strict=True):
        path.write_bytes(mutated.set_number(demo_gguf.read_bytes(), key, value))
    assert run(tmp_path, LOAD, *paths) == [[mutated.REFUSED, f"signal {signal.SIGABRT}"]] * 2


DOES = """
import os, sys, time
from pathlib import Path
from tests.engine import mutated

def writes(_):
    print("x", file=open("written", "w"), flush=True)

def crashes(_):
    os.kill(os.getpid(), 11)

def grows(_):
    bytearray(mutated.MEMORY)

def raises(_):
    1 / 0

def hangs(_):
    time.sleep(60)

seen = {}
with mutated.bounds():
    for does in writes, crashes, grows, raises, hangs:
        mutated.HANGS = 0.5 if does is hangs else mutated.HANGS
        mutated.loaded.check_model_file = does
        path = Path(sys.argv[1])
        here = mutated.check(path) if does is not crashes else "crash"
        seen[does.__name__] = [here.split("(")[0], mutated.load(path, True)]
print(seen)
"""


def test_what_does_more_than_refuse_or_run_is_seen(demo_gguf: Path, tmp_path: Path) -> None:
    """The control of the bounds: for what runs in this process, and for what has one of its own."""
    assert run(tmp_path, DOES, demo_gguf) == {
        "writes": ["exception OSError", f"signal {signal.SIGXFSZ}"],
        "crashes": ["crash", f"signal {signal.SIGSEGV}"],
        "hangs": ["hung", "hung"],
        "grows": ["exception MemoryError", "exception"],
        "raises": ["exception ZeroDivisionError", "exception"],
    }


def run(folder: Path, script: str, *arguments: Path) -> object:
    """What a program prints that runs in that folder."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout)
