"""An open chat does not wake an engine that was left because nobody used it."""

from __future__ import annotations

import time
from pathlib import Path

from tests.chat.conftest import MakeBench
from tests.chat.test_with_engine import DemoModel
from tests.engine.conftest import engines, wait_until

from inglenook.core.inference import EngineState
from inglenook.core.settings import TEMPERATURE
from inglenook.engine.client import EngineClient


def test_an_open_chat_lets_the_engine_sleep(make_bench: MakeBench, demo_gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    patience = [0.0]
    client = EngineClient(tmp_path / "run", tmp_path / "logs", sleep_after=lambda: patience[0])
    states: list[EngineState] = []
    client.subscribe(lambda status: states.append(status.state))
    try:
        bench = make_bench(client, DemoModel(demo_gguf))
        bench.settings.set(TEMPERATURE, 0.0)
        chat = bench.ask("Hello!")
        patience[0] = 0.3
        bench.service.watch(chat)
        bench.service.save_draft(chat, "What is")

        def stays_asleep() -> bool:
            """It may sleep before the draft is counted, which wakes it once; but not again and again."""
            begun = states.count(EngineState.STARTING)
            time.sleep(1.0)
            return states[-1] is EngineState.OFF and states.count(EngineState.STARTING) == begun

        wait_until(stays_asleep)
        assert not engines(tmp_path)
        start = bench.heard.mark()
        bench.ask("Hello!", chat)
        assert bench.heard.ended(chat, start).error is None
    finally:
        client.close()
