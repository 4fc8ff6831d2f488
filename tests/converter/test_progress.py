import io
import json

import pytest

from inglenook_convert.progress import JsonProgress, TextProgress


class Terminal(io.StringIO):
    """Says that it is a terminal, and keeps what was written."""

    def isatty(self) -> bool:
        return True


def test_a_bar_shows_how_far_it_is_and_makes_way_for_the_summary() -> None:
    stream = Terminal()
    progress = TextProgress(stream)
    progress.report("plan", "", 0)
    progress.total = 4_000_000_000
    progress.report("write", "blk.0", 1_000_000_000)
    progress.report("sync", "", 4_000_000_000)
    progress.report("verify", "blk.1", 0)
    progress.result("out.gguf: 4 GB", {})
    shown = [line for line in stream.getvalue().split("\r\x1b[K") if line]
    assert shown[0].startswith("Reading")
    assert shown[1].startswith("write [#####...............]  25%  1.00 of 4.00 GB")
    assert " MB/s" in shown[1]
    assert " left" in shown[1]
    assert shown[2].startswith("Waiting")
    assert shown[3] == "verify [....................]   0%  0.00 of 4.00 GB  blk.1"  # no pace is known yet
    assert shown[4:] == ["out.gguf: 4 GB\n"]


def test_a_phase_has_its_own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("inglenook_convert.progress.time.monotonic", lambda: now)
    progress = TextProgress(io.StringIO())
    now = 105.0
    progress.report("write", "t", 1)
    now = 107.0
    progress.report("write", "t", 2)
    assert (progress.seconds(), progress.phase_seconds()) == (7.0, 2.0)
    progress.report("verify", "t", 0)
    now = 108.0
    assert progress.phase == "verify"
    assert (progress.seconds(), progress.phase_seconds()) == (8.0, 1.0)


def test_without_a_terminal_there_is_only_the_result() -> None:
    stream = io.StringIO()
    progress = TextProgress(stream)
    progress.total = 10
    progress.report("write", "t", 5)
    progress.clear()
    assert stream.getvalue() == ""
    progress.result("out.gguf", {"phase": "done"})
    assert stream.getvalue() == "out.gguf\n"


def test_lines_are_few_but_each_phase_is_told() -> None:
    stream = io.StringIO()
    progress = JsonProgress(stream)
    progress.total = 100_000
    for done in range(100_000):
        progress.report("write", "t", done)
    progress.report("sync", "", 100_000)
    progress.result("for people", {"phase": "done", "file": "ä.gguf"})
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[0] == {"phase": "write", "tensor": "t", "bytes_done": 0, "bytes_total": 100_000}
    assert [line["phase"] for line in lines[-2:]] == ["sync", "done"]
    assert lines[-1]["file"] == "ä.gguf"
    assert lines[-1]["seconds"] <= progress.seconds() + 0.001  # it is rounded
    assert len(lines) <= 3 + 10 * progress.seconds()
