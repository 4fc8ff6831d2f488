from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inglenook.core.inference import GenerateRequest, ModelSpec, Sampling
from inglenook.core.prompt import Text
from inglenook.engine.client import EngineClient

from .conftest import COMMAND, Program

GREEDY = ("--temperature", "0", "--effort", "low")
FIELDS = {
    "model": str,
    "reasoning": str,
    "final": str,
    "stop": str,
    "prompt_tokens": int,
    "cached_tokens": int,
    "output_tokens": int,
    "ttft_s": float,
    "prefill_tps": float,
    "decode_tps": float,
}


def test_the_answer_and_nothing_else(program: Program, demo_gguf: Path) -> None:
    asked = ("ask", "Hello!", "--model", demo_gguf, *GREEDY)
    plain = program(*asked)
    assert (plain.returncode, plain.stderr) == (0, "")
    told = json.loads(program(*asked, "--json").stdout)
    assert told["final"].strip()
    assert plain.stdout == told["final"] + "\n"
    assert told["reasoning"] not in plain.stdout


def test_json(program: Program, demo_gguf: Path) -> None:
    done = program("ask", "Hello!", "--model", demo_gguf, *GREEDY, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert {name: type(value) for name, value in found.items()} == FIELDS
    assert found["stop"] == "stop"
    assert found["reasoning"]
    assert 0 <= found["cached_tokens"] < found["prompt_tokens"]
    assert found["output_tokens"] > 3
    assert found["ttft_s"] > 0
    assert found["decode_tps"] > 0


def test_the_question_may_come_from_a_pipe(program: Program, demo_gguf: Path) -> None:
    typed = program("ask", "Hello!", "--model", demo_gguf, *GREEDY)
    for arguments in (("ask", "-"), ("ask",)):
        piped = program(*arguments, "--model", demo_gguf, *GREEDY, input="Hello!\n")
        assert piped.stdout == typed.stdout


def test_an_empty_question(program: Program, demo_gguf: Path) -> None:
    done = program("ask", "--model", demo_gguf, input=" \n")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_max_tokens(program: Program, demo_gguf: Path) -> None:
    done = program("ask", "Tell me a story.", "--model", demo_gguf, *GREEDY, "--max-tokens", "9", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert (found["stop"], found["output_tokens"]) == ("length", 9)
    assert "9 tokens" in done.stderr


def test_seed(program: Program, demo_gguf: Path) -> None:
    """With words that mean nothing: most of what the demo model says is nearly certain at any temperature."""
    question = ("ask", "Repeat: xq zzy 99 kkl uoa poi wqe", "--model", demo_gguf, "--temperature", "2")

    def ask(seed: int) -> tuple[str, str]:
        done = program(*question, "--max-tokens", "60", "--seed", str(seed), "--json")
        found = json.loads(done.stdout)
        return found["reasoning"], found["final"]

    first = ask(1)
    assert ask(1) == first
    assert any(ask(seed) != first for seed in (2, 3, 4))


@pytest.mark.parametrize("kind", ["missing", "folder", "text", "empty", "header", "truncated", "other"])
def test_a_bad_model_file(program: Program, spoiled: dict[str, Path], kind: str) -> None:
    done = program("ask", "Hello!", "--model", spoiled[kind])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("inglenook ask: ")
    assert spoiled[kind].name in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c(environment: dict[str, str], demo_gguf: Path) -> None:
    command = [*COMMAND, "ask", "Tell me a story.", "--model", str(demo_gguf), *GREEDY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.read(5)  # it has begun
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert errors == b""


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_reader_that_has_enough(environment: dict[str, str], demo_gguf: Path) -> None:
    command = [*COMMAND, "ask", "Tell me a story.", "--model", str(demo_gguf), *GREEDY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.read(5)
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(60) == 1


@contextlib.contextmanager
def a_busy_window(home: Path, model: Path) -> Iterator[None]:
    """Another program at the same engine: as soon as a model is loaded it has one turn after the other."""
    client, ended = EngineClient(home / "run", home / "logs"), threading.Event()
    client.count(ModelSpec(str(model)), (Text("a"),))

    def work() -> None:
        while not ended.wait(0.002):
            if (loaded := client.status().model) is not None:
                for _ in client.generate(GenerateRequest(loaded.spec, (Text("a"),), Sampling(0.0), 100)):
                    pass

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        client.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("piped", [True, False])
def test_beside_a_window_it_says_why_it_waits(
    environment: dict[str, str], home: Path, demo_gguf: Path, program: Program, piped: bool
) -> None:
    command = [*COMMAND, "ask", "Tell me a long story", "--model", str(demo_gguf), *GREEDY]
    alone = program(*command[len(COMMAND) :]).stdout
    ours, theirs = os.openpty()
    shown = b""
    with a_busy_window(home, demo_gguf):
        child = subprocess.Popen(command, stdout=subprocess.PIPE if piped else theirs, stderr=theirs, env=environment)
        os.close(theirs)
        reader = threading.Thread(target=lambda: answers.append(child.communicate()[0]))
        answers: list[bytes] = []
        reader.start()
        with contextlib.suppress(OSError):  # as Linux tells that nobody writes any more
            while more := os.read(ours, 4096):
                shown += more
        reader.join()
    os.close(ours)
    assert child.returncode == 0
    note, waits = (
        rb"\r\n\(Another answer goes first; this one goes on after it\.\)\r\n",
        rb"\rWaiting for another answer\.\.\.",
    )
    if piped:
        assert re.search(waits, shown)
        assert answers == [alone.encode()]
        assert shown.endswith(b" \r"), "nothing of it stays"
    else:
        assert re.search(note, shown)
        written = re.sub(waits + rb" *\r *\r", b"", re.sub(note, b"", shown))
        assert written.decode().replace("\r\n", "\n").endswith("\r" + alone)


def test_nothing_is_stored(program: Program, demo_gguf: Path, home: Path) -> None:
    before = program("chat", input="/list\n").stderr
    program("ask", "Where is my unusual question?", "--model", demo_gguf, *GREEDY, "--max-tokens", "3")
    assert program("chat", input="/list\n").stderr == before
    for file in home.rglob("*"):
        if file.is_file() and file.suffix != ".gguf":
            assert b"unusual question" not in file.read_bytes()


def test_schema(program: Program, demo_gguf: Path, tmp_path: Path) -> None:
    """The answer alone on standard output, as JSON that the model would not have written."""
    file = tmp_path / "schema.json"
    file.write_text(json.dumps({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3}))
    asked = ("ask", "Hello!", "--model", demo_gguf, *GREEDY, "--schema", file)
    plain = program(*asked)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert set(json.loads(plain.stdout)) <= {"a", "b"}
    told = json.loads(program(*asked, "--json").stdout)
    assert told["final"] + "\n" == plain.stdout
    assert told["reasoning"]
    cut = program(*asked, "--json", "--max-tokens", "6")
    assert (cut.returncode, json.loads(cut.stdout)["stop"]) == (1, "length")


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "not JSON"), ('{"not": {}}', '"not" at #'), ('{"type": 3}', '"type" at #'), (None, "cannot be read")],
)
def test_a_schema_that_cannot_be_used(
    content: str | None, said: str, program: Program, demo_gguf: Path, tmp_path: Path
) -> None:
    file = tmp_path / "schema.json"
    if content is not None:
        file.write_text(content)
    done = program("ask", "Hello!", "--model", demo_gguf, "--schema", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
