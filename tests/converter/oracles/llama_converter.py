"""Runs llama.cpp's own converter, which set-up has fetched (packaging/oracles.py), as a subprocess.

One process makes all the files that are asked for, since importing torch and transformers takes longer than the work.
As a script, inside that process: `llama_converter.py CONVERTER` with the jobs as JSON on standard input.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from types import ModuleType

import pytest

PACKAGING = Path(__file__).resolve().parents[3] / "packaging"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Job:
    """A checkpoint folder, the GGUF to make of it, and its --outtype."""

    source: str
    target: str
    outtype: str


def fetched() -> ModuleType:
    """packaging/oracles.py, which knows where the converter is."""
    sys.path.insert(0, str(PACKAGING))  # it imports its neighbour
    try:
        spec = importlib.util.spec_from_file_location("inglenook_packaging_oracles", PACKAGING / "oracles.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(PACKAGING))
    return module


def need_torch() -> None:
    """Skips where the dependency group `oracle` is not installed."""
    for name in ("torch", "transformers"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed. Run: python packaging/bootstrap.py test")


def run(jobs: Iterable[Job]) -> None:
    """Makes the file of each job; skips if the oracle is not there, fails with its last words if it fails."""
    need_torch()
    oracles = fetched()
    if not oracles.present():
        pytest.skip(f"{oracles.cache_folder()} is missing or changed. Run: python packaging/bootstrap.py test")
    script([sys.executable, __file__, str(oracles.cache_folder())], [astuple(job) for job in jobs])


def script(command: list[str], jobs: object) -> None:
    """Runs a script that reads its jobs as JSON, without a network."""
    done = subprocess.run(
        command,
        input=json.dumps(jobs),
        env={**os.environ, **OFFLINE},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-4000:]}"


def main(converter: str) -> None:
    """Inside the subprocess: runs the jobs one after the other."""
    sys.path.insert(0, converter)
    import convert_hf_to_gguf
    from conversion.base import TextModel

    # It knows a tokenizer by a hash of what it makes of a long text, and only the real vocabulary has that hash.
    TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-4o"
    for source, target, outtype in json.load(sys.stdin):
        sys.argv = ["convert_hf_to_gguf.py", source, "--outfile", target, "--outtype", outtype]
        convert_hf_to_gguf.main()


if __name__ == "__main__":
    main(sys.argv[1])
