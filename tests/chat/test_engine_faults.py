"""The engine killed, aborted, hung or out of memory at any moment: the chat stays, and one click goes on.

Eight times here, two hundred in the soak (INGLENOOK_FAULTS).
"""

from __future__ import annotations

import os
import random
import sys
import threading
from pathlib import Path

import pytest
from tests.chat.conftest import MakeBench
from tests.chat.faults import Faults, cases, open_files
from tests.chat.test_with_engine import DemoModel
from tests.engine.conftest import engines, wait_until

from inglenook.core.settings import TEMPERATURE
from inglenook.engine import launch
from inglenook.engine.client import EngineClient

COUNT = int(os.environ.get("INGLENOOK_FAULTS", "8"))
SEED = int(os.environ.get("INGLENOOK_SEED", "0"))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")


def test_faults_of_the_engine_at_any_moment(
    make_bench: MakeBench, demo_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "START_SECONDS", 15.0)  # an engine that is stopped before it listens is given up then
    (tmp_path / "run").mkdir(mode=0o700)
    client = EngineClient(tmp_path / "run", tmp_path / "logs")
    try:
        bench = make_bench(client, DemoModel(demo_gguf))
        bench.settings.set(TEMPERATURE, 0.0)
        faults = Faults(bench, client, tmp_path, random.Random(SEED))
        bench.ask("Hello!")
        threads, files = threading.active_count(), open_files()
        for number, (fault, moment) in enumerate(cases(COUNT)):
            try:
                faults.strike(fault, moment)
            except AssertionError as error:
                raise AssertionError(f"fault {number} of seed {SEED}: {fault} at {moment}\n{error}") from error
        assert threading.active_count() <= threads + 2
        assert open_files() <= files + 2
        told = sum(count for what, count in faults.seen.items() if what.endswith("failed"))
        assert told >= COUNT // 2, "most faults strike"
        print(f"\n{COUNT} faults, {told} answers marked as failed: {dict(sorted(faults.seen.items()))}")
    finally:
        client.close()
    wait_until(lambda: not engines(tmp_path))
