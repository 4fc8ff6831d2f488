"""Fixtures that several rooms share: the real demo model, converted by the real converter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

from inglenook.core.paths import resources

# No time limit for an example: on a busy machine it fails a test that has nothing wrong with it. And the same examples
# every time, so that what is green stays green; INGLENOOK_EXPLORE=1 (and make soak) looks for new ones.
hypothesis.settings.register_profile("inglenook", deadline=None, derandomize="INGLENOOK_EXPLORE" not in os.environ)
hypothesis.settings.load_profile("inglenook")


# Where the environment tells Python to keep nothing compiled, each of the hundreds of programs that the tests start
# would compile all of ours again, which is a third of what starting one takes. Git ignores what is kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# No test, and no program that one starts, touches the keyring of whoever runs them.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"

# A shell that starts us in the background has us ignore Ctrl-C, and so would all programs that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def demo_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model as GGUF."""
    target = tmp_path_factory.mktemp("demo") / "demo.gguf"
    command = [sys.executable, "-m", "inglenook_convert", str(resources() / "demo-model"), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return target
