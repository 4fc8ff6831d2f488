from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setup_console import Progress, Step, errors_in, parse_build_line, parse_pip_line, run_logged, time_left


@pytest.mark.parametrize(
    ("line", "fraction"),
    [
        ("  [33/132] Building CXX object vendor/llama.cpp/src/CMakeFiles/llama.dir/llama-graph.cpp.o", 0.25),
        ("  [35/140] /usr/bin/g++ -DGGML_BUILD -O3 -march=native -o ggml-cpu.dir/ops.cpp.o -c ops.cpp", 0.25),
        ("[132/132] Linking CXX shared library bin/libllama.so", 1.0),
        ("  [ 12%] Building C object vendor/llama.cpp/ggml/src/CMakeFiles/ggml-base.dir/ggml.c.o", 0.12),
        ("[100%] Built target llama", 1.0),
        ("-- Performing Test GGML_MACHINE_SUPPORTS_dotprod", None),
        ("  *** Building project with Ninja...", None),
        ("[5/0] odd", None),
        ("[9/3] odd", None),
        ("", None),
    ],
)
def test_build_line(line: str, fraction: float | None) -> None:
    progress = parse_build_line(line)
    assert (progress.fraction if progress else None) == fraction


@given(st.text(max_size=60))
def test_any_line_is_harmless(line: str) -> None:
    for progress in (parse_build_line(line), parse_pip_line(line)):
        assert progress is None or progress.fraction is None or 0 <= progress.fraction <= 1


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("Progress 40000000 of 76600000", "40 of 77 MB"),
        ("Progress 1000 of 20000", None),  # gone before it could be read
        ("Collecting llama-cpp-python==0.3.36", "looking for llama-cpp-python"),
        ("Collecting PySide6-Essentials!=6.12.0,<6.13,>=6.8 (from inglenook==0.1.0)", "looking for PySide6-Essentials"),
        ("  Downloading llama_cpp_python-0.3.36.tar.gz (76.6 MB)", "downloading llama_cpp_python"),
        ("  Downloading markdown_it_py-4.3.0-py3-none-any.whl (91 kB)", "downloading markdown_it_py"),
        ("  Installing build dependencies: started", "fetching build tools"),
        ("Installing collected packages: idna, urllib3", "installing"),
        ("WARNING: Location '/nowhere' is ignored", None),
    ],
)
def test_pip_line(line: str, detail: str | None) -> None:
    progress = parse_pip_line(line)
    assert (progress.detail if progress else None) == detail


def test_time_left() -> None:
    assert time_left(1.0, 0.5) == ""  # too early to say
    assert time_left(100.0, 0.01) == ""
    assert time_left(100.0, 0.25) == "about 5 min left"
    assert time_left(60.0, 0.75) == "about 20 s left"


def test_a_step_without_a_terminal_writes_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    step = Step("Building")
    for done in (1, 5, 12, 13, 9, 55):
        step.update(Progress(done / 100))
    step.update(None)
    step.done()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["Building ...", "  10%", "  50%"]
    assert lines[3].startswith("Building: done (")
    assert len(lines) == 4


def test_a_step_on_a_terminal_rewrites_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    step = Step("Building")
    step.update(Progress(None, "looking for cmake"))
    step.update(Progress(0.5))
    step.done()
    shown = out.getvalue()
    assert shown.count("\n") == 1
    assert "\r" in shown
    assert "############------------]  50%" in shown
    assert "\x1b" not in shown


def test_run_logged(tmp_path: Path) -> None:
    lines: list[str] = []
    log = tmp_path / "logs" / "setup.log"
    code = "import sys; print('one'); print('error: two', file=sys.stderr, flush=True); sys.exit(3)"
    assert run_logged([sys.executable, "-u", "-c", code], log, lines.append) == 3
    assert lines == ["one", "error: two"]
    assert log.read_text().splitlines()[1:] == lines
    assert errors_in(log).strip() == "error: two"
