import io
import json

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
    progress.finish("out.gguf")
    shown = [line for line in stream.getvalue().split("\r\x1b[K") if line]
    assert shown[0].startswith("Reading")
    assert shown[1].startswith(" 25%  1.00 of 4.00 GB")
    assert " left" in shown[1]
    assert shown[2].startswith("Waiting")
    assert shown[3].startswith("out.gguf: 4,000.0 MB in ")
    assert shown[3].endswith("\n")


def test_without_a_terminal_there_is_only_the_summary() -> None:
    stream = io.StringIO()
    progress = TextProgress(stream)
    progress.total = 10
    progress.report("write", "t", 5)
    progress.clear()
    assert stream.getvalue() == ""
    progress.finish("out.gguf")
    assert stream.getvalue().count("\n") == 1


def test_lines_are_few_but_each_phase_is_told() -> None:
    stream = io.StringIO()
    progress = JsonProgress(stream)
    progress.total = 100_000
    for done in range(100_000):
        progress.report("write", "t", done)
    progress.report("sync", "", 100_000)
    progress.finish("out.gguf")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[0] == {"phase": "write", "tensor": "t", "bytes_done": 0, "bytes_total": 100_000}
    assert [line["phase"] for line in lines[-2:]] == ["sync", "done"]
    assert len(lines) <= 3 + 10 * progress.seconds()
