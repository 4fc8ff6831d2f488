from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inglenook.cli.chat import _NOW_SIGNAL, _on_signal

from .conftest import COMMAND, Program


def test_each_line_of_a_pipe_is_answered(program: Program, demo_gguf: Path) -> None:
    one = program("chat", "--model", demo_gguf, input="/effort low\nHello!\n")
    two = program("chat", "--model", demo_gguf, input="Hello!\n\n  \nThank you!")
    assert one.returncode == two.returncode == 0
    assert one.stdout.strip()
    assert len(two.stdout) > len(one.stdout) / 2
    assert len(two.stdout.splitlines()) >= 2
    assert "\x1b" not in two.stdout + two.stderr


def test_chats_are_stored_and_opened_again(program: Program, demo_gguf: Path) -> None:
    answer = program("chat", "--model", demo_gguf, input="Hello, this is a title!\n").stdout.strip()
    listed = program("chat", "--model", demo_gguf, input="/list\n").stderr
    assert "1  Hello, this is a title!" in listed.splitlines()[0]
    opened = program("chat", "--model", demo_gguf, input="/list\n/open 1\n").stderr
    assert "> Hello, this is a title!" in opened
    assert answer in opened


def test_commands(program: Program, demo_gguf: Path) -> None:
    done = program(
        "chat", "--model", demo_gguf, input="/help\n/new\n/effort enormous\n/open 1\n/nonsense\n/effort high\n"
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.count("/effort LEVEL") == 3  # /help, and twice because it was not understood
    assert "Effort: high" in done.stderr
    assert "no such number" in done.stderr


def test_a_model_that_cannot_be_loaded(program: Program, spoiled: dict[str, Path]) -> None:
    done = program("chat", "--model", spoiled["truncated"], input="Hello!\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "truncated.gguf" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_ctrl_c_stops_the_answer_and_ctrl_d_leaves(environment: dict[str, str], demo_gguf: Path) -> None:
    terminal = Terminal([*COMMAND, "chat", "--model", str(demo_gguf)], environment)
    terminal.expect("\n> ")
    terminal.type("abc")
    terminal.expect("abc")
    terminal.interrupt_until("\n> ")  # nothing runs: only what was typed is dropped
    terminal.type("Tell me a story.\n")
    terminal.expect("Thinking")
    terminal.type("\x03")
    terminal.expect("(stopped)")
    terminal.expect("\n> ")
    terminal.type("Hello!\n")
    terminal.expect("\n> ")
    terminal.type("\x04")
    assert terminal.end() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_key_to_answer_now_does_not_end_the_program(environment: dict[str, str], demo_gguf: Path) -> None:
    """Whether it comes in time or not: an answer does. Which one, with the reasoning cut anywhere, is the model's."""
    terminal = Terminal([*COMMAND, "chat", "--model", str(demo_gguf)], environment)
    terminal.expect("\n> ")
    terminal.type("/effort high\n")
    terminal.expect("\n> ")
    terminal.type("What is Inglenook?\n")
    terminal.expect("Thinking")
    terminal.type("\x1c")
    terminal.expect("\n> ")
    terminal.type("/effort low\n")
    terminal.expect("Effort: low")
    terminal.expect("\n> ")
    terminal.type("\x04")
    assert terminal.end() == 0


def test_the_key_to_answer_now() -> None:
    before = signal.getsignal(_NOW_SIGNAL)
    pressed: list[bool] = []
    with _on_signal(_NOW_SIGNAL, lambda: pressed.append(True)):
        signal.raise_signal(_NOW_SIGNAL)
    assert pressed == [True]
    assert signal.getsignal(_NOW_SIGNAL) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_reasoning_is_dim_where_the_terminal_knows_that(environment: dict[str, str], demo_gguf: Path) -> None:
    styled = {name: value for name, value in environment.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    terminal = Terminal([*COMMAND, "chat", "--model", str(demo_gguf)], styled)
    terminal.expect("> ")
    terminal.type("Hello!\n")
    terminal.expect("\x1b[2m")
    terminal.expect("\x1b[0m")
    terminal.expect("> ")
    terminal.type("\x04")
    assert terminal.end() == 0


class Terminal:
    """A program on a pseudo-terminal of its own, as the foreground process of its session."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._ours, theirs = os.openpty()
        self._child = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
            preexec_fn=_own_the_terminal,
        )  # fmt: skip
        os.close(theirs)
        self._shown = ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def expect(self, text: str) -> None:
        """Waits until `text` is shown, after what was expected before. TimeoutError if that takes two minutes."""
        if not self._comes(text, 120):
            self._child.kill()
            self._child.wait()
            raise TimeoutError(f"{text!r} is not shown after {self._shown!r}")

    def interrupt_until(self, text: str) -> None:
        """Ctrl-C, and once more if nothing came of it, as a person does.

        CPython's readline hears of a signal only when it interrupts the wait for a key: one that comes just before
        that wait (2 of 400,000 on a busy machine) is seen with the next key.
        """
        self.type("\x03")
        if not self._comes(text, 10):
            self.type("\x03")
            self.expect(text)

    def _comes(self, text: str, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while text not in self._shown:
            if not select.select([self._ours], [], [], max(0.0, end - time.monotonic()))[0]:
                return False
            block = os.read(self._ours, 4096)  # OSError when the program is gone: then the test fails
            self._shown += block.decode("utf-8", "replace")
        self._shown = self._shown.partition(text)[2]
        return True

    def end(self) -> int:
        try:
            while os.read(self._ours, 4096):
                pass
        except OSError:  # on Linux a terminal ends so
            pass
        os.close(self._ours)
        return self._child.wait(60)


def _own_the_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
