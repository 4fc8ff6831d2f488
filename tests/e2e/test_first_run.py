"""From a fresh home to a chat with the model, by one button: the real window, engine and downloads, a loopback Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.library.hub import REPOSITORY, Fault, LoopbackHub

DRIVER = Path(__file__).with_name("first_run.py")
NAME = "gpt-oss-20b-MXFP4.gguf"


def test_one_button_to_a_chat_with_the_model_and_the_demo_meanwhile(demo_gguf: Path, tmp_path: Path) -> None:
    """The demo model stands for the large one.

    It comes at a rate that would take a minute, is paused once the demo has answered, and then comes at once: so the
    demo answers in time on any machine.
    """
    with LoopbackHub() as hub:
        file = hub.add(NAME, demo_gguf.read_bytes())
        hub.always = Fault(drip=(4_000, 0.1))
        home = tmp_path / "home"
        (home / "config").mkdir(parents=True)
        (home / "config" / "settings.json").write_text('{"temperature": 0.0}')
        environment = {
            **os.environ, "INGLENOOK_HOME": str(home), "QT_QPA_PLATFORM": "offscreen", "LANG": "C.UTF-8",
            "PYTHONPATH": str(Path(__file__).parents[2]), "NO_PROXY": "*",
        }  # fmt: skip
        command = [sys.executable, str(DRIVER), hub.endpoint, NAME, str(file.size), file.digest]
        told: dict[str, Any] = {}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as program:
            try:
                assert program.stdout is not None
                for line in program.stdout:
                    step = json.loads(line)
                    told[step["step"]] = step
                    assert step["step"] != "timeout", step
                    if step["step"] == "paused":
                        hub.always = None
                        (home / "data" / "go").touch()
                assert program.wait(60) == 0, program.stderr and program.stderr.read()
            finally:
                program.kill()
    model = str(home / "data" / "models" / REPOSITORY / NAME)
    assert told["offered"]["button"] == "Get gpt-oss-20b"
    assert told["offered"]["chip"].endswith("Ready")
    assert "left" in told["fetching"]["words"]
    assert "Thought for" in told["demo"]["shown"]  # an answer, while the model was still on its way
    assert "left" in told["demo"]["bar"]
    assert told["paused"]["words"].startswith("Paused at ")
    assert told["arrived"]["chosen"] == model
    assert "Hello!" in told["answered"]["shown"]
    assert told["answered"]["model"] == model
    assert told["opened"]["chip"] == "Inglenook Demo: Loads with your next message"
    assert told["opened"]["model"] == model  # opening the chat has loaded nothing
