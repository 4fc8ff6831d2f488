from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import inglenook
from inglenook.cli.main import check_model_file, main
from inglenook.cli.terminal import BadInputError
from inglenook.core.errors import UserError
from inglenook.engine import loaded


def no_services(model: Path | None, name: str) -> object:
    raise AssertionError("arguments are checked before anything is made")


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    return captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["walk"],
        ["ask", "hello", "--effort", "enormous"],
        ["ask", "hello", "--temperature", "3"],
        ["ask", "hello", "--temperature", "nan"],
        ["ask", "hello", "--temperature", "warm"],
        ["ask", "hello", "--seed", "-1"],
        ["ask", "hello", "--max-tokens", "0"],
        ["ask", "hello", "goodbye"],
        ["ask", "hello", "--no-such-option"],
        ["bench"],
        ["ask", "hello", "--model", "missing\n.gguf"],
        ["chat", "--model", "."],
    ],
)
def test_what_is_typed_wrong_is_one_line_and_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments, no_services) == 2
    assert error_of(capsys).startswith("inglenook")


@pytest.mark.parametrize("arguments", [["--help"], ["ask", "--help"], ["--version"]])
def test_help_and_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments, no_services) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "inglenook" in captured.out
    if arguments == ["--version"]:
        assert captured.out == f"inglenook {inglenook.__version__}\n"


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF" + bytes(20))
    check_model_file(file)  # the engine looks further
    for content in (b"", b"GGU", b"PK\x03\x04"):
        file.write_bytes(content)
        with pytest.raises(BadInputError, match="not a GGUF file"):
            check_model_file(file)
    with pytest.raises(BadInputError, match="no file"):
        check_model_file(tmp_path / "b.gguf")
    with pytest.raises(BadInputError, match="folder"):
        check_model_file(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no such files")
@pytest.mark.parametrize("check", [check_model_file, loaded.check_model_file])
def test_a_named_pipe_is_not_waited_for(tmp_path: Path, check: Callable[[Path], None]) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(UserError, match="is not a file"):
        check(tmp_path / "pipe.gguf")


def test_our_own_mistakes_are_logged_and_told(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(model: Path | None, name: str) -> object:
        raise ZeroDivisionError("as an example")

    assert main(["doctor"], broken) == 1
    assert "ZeroDivisionError" in error_of(capsys)
    assert "as an example" in caplog.text
    assert "Traceback" in caplog.text
