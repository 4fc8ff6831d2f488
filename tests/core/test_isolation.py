"""Core, and all rooms but ui, work on a machine without Qt."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_QT = """
import sys
class NoQt:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "PySide6":
            raise ImportError("no Qt here")
sys.meta_path.insert(0, NoQt())
import inglenook.bootstrap, inglenook.cli.main, inglenook.__main__
print("numpy" in sys.modules, "llama_cpp" in sys.modules, "PySide6" in sys.modules)
"""


def test_everything_but_ui_imports_without_qt_and_without_the_engine() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_QT], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "False", "False"], done.stderr
