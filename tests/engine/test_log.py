"""What llama.cpp says goes to the log with its true level, and nowhere else."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from inglenook.core.errors import UserError
from inglenook.core.inference import ModelSpec
from inglenook.engine import llama
from inglenook.engine.client import EngineClient


def test_levels_are_those_of_llama(
    random_llama: llama.Model,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
):
    with caplog.at_level(logging.DEBUG, "llama.cpp"):
        llama.Context(random_llama, 2 * random_llama.n_ctx_train, 1).close()
        with pytest.raises(UserError):
            llama.Model(tmp_path / "none.gguf")
    found = [(r.levelno, r.getMessage()) for r in caplog.records if r.name == "llama.cpp"]
    assert [level for level, text in found if "context: n_ctx  " in text] == [logging.INFO]
    assert {level for level, text in found if "n_ctx_train" in text and ">" in text} == {logging.WARNING}
    assert {level for level, text in found if "none.gguf" in text} == {logging.ERROR}
    assert all(text and not text.endswith("\n") for _, text in found)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ours", [True, False])
def test_nothing_is_printed(ours: bool, random_gguf: Path):
    """The control: without us the library prints a screenful."""
    code = f"""
import logging, sys
from pathlib import Path
from inglenook.engine import llama
logging.getLogger().addHandler(logging.NullHandler())
if {ours}:
    llama.start()
llama.Context(llama.Model(Path(sys.argv[1])), 512, 1)
"""
    done = subprocess.run([sys.executable, "-c", code, str(random_gguf)], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert (done.stderr == "") is ours


def test_the_engine_s_file_has_it(client: EngineClient, random_spec: ModelSpec, tmp_path: Path):
    client.model_info(random_spec)
    lines = (tmp_path / "logs" / "engine.log").read_text("utf-8").splitlines()
    assert any(" INFO llama.cpp: " in line for line in lines)
    assert (tmp_path / "logs" / "engine-stderr.log").read_text() == ""
