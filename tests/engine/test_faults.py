"""What can go wrong: the engine or a client dies, hangs, is another version; model files that are none."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engine import random_model
from tests.engine.conftest import engines, wait_until
from tests.engine.test_engine import PROMPT, finished, long_answer, until

from inglenook.core.errors import UserError
from inglenook.core.events import Prefill, StopReason, Tokens
from inglenook.core.inference import EngineState, GenerateRequest, ModelSpec
from inglenook.core.prompt import Ids
from inglenook.engine import host, launch, protocol, supervise, transport
from inglenook.engine.client import EngineClient
from inglenook.engine.pulse import BEAT_SECONDS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")


def test_killed_engine_is_told_and_replaced(client: EngineClient, random_spec: ModelSpec):
    generation, waiting = client.generate(long_answer(random_spec)), client.generate(long_answer(random_spec))
    until(generation, Tokens)
    first = client.status().pid
    os.kill(first, signal.SIGKILL)
    for one in (generation, waiting):
        end = finished(list(one))
        assert end.reason is StopReason.FAILED
        assert end.error is not None
        assert "memory" in end.error.text()  # our own child: the system killed it
    assert client.status().state is EngineState.CRASHED
    assert finished(list(client.generate(long_answer(random_spec, max_tokens=5)))).reason is StopReason.LENGTH
    assert client.status().pid not in (0, first)


def test_killed_while_counting(client: EngineClient, random_spec: ModelSpec):
    client.model_info(random_spec)
    os.kill(client.status().pid, signal.SIGSTOP)
    failures: list[UserError] = []

    def count() -> None:
        try:
            client.count(random_spec, PROMPT)
        except UserError as error:
            failures.append(error)

    thread = threading.Thread(target=count)
    thread.start()
    os.kill(client.status().pid, signal.SIGKILL)
    thread.join(60)
    assert failures
    assert client.count(random_spec, PROMPT) == 28


@pytest.mark.parametrize("phase", ["decode", "prefill", "load", "idle"])
def test_engine_ends_with_its_killed_client(
    phase: str, random_gguf: Path, tmp_path: Path, record_property: Callable[[str, object], None]
):
    """Also when it is at work: there is nobody left to work for."""
    code = """
import sys, time
from pathlib import Path
from inglenook.core.events import *
from inglenook.core.inference import *
from inglenook.core.prompt import *
from inglenook.engine.client import EngineClient
folder, model, phase = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
client = EngineClient(folder / "run", folder / "logs")
prompt = (Ids((1,) * (8000 if phase == "prefill" else 10)),)
wanted = {"decode": Tokens, "prefill": Prefill, "load": Loading, "idle": Finished}[phase]
most = 1 if phase == "idle" else 0
for event in client.generate(GenerateRequest(ModelSpec(model), prompt, ignore_stop=most == 0, max_tokens=most)):
    if isinstance(event, wanted):
        print("now", flush=True)
        break
time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(tmp_path), str(random_gguf), phase]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"now\n"
        assert len(engines(tmp_path)) == 1
        child.kill()
        seconds = wait_until(lambda: not engines(tmp_path))
    record_property("seconds until the engine was gone", seconds)
    print(f"\nengine gone {seconds:.3f} s after its client, in {phase}")


def test_the_engine_ends_though_its_folder_is_gone(client: EngineClient, random_spec: ModelSpec, tmp_path: Path):
    """As a program that clears out temporary folders leaves it."""
    client.model_info(random_spec)
    shutil.rmtree(tmp_path / "run")
    client.close()
    wait_until(lambda: not engines(tmp_path))


def test_engine_stays_for_its_idle_time(
    make_client: Callable[..., EngineClient], random_spec: ModelSpec, tmp_path: Path
):
    patient = make_client(idle_seconds=30)
    patient.model_info(random_spec)
    pid = patient.status().pid
    patient.close()
    again = make_client()
    again.model_info(random_spec)
    assert again.status().pid == pid
    again.unload()
    wait_until(lambda: not engines(tmp_path))


def test_unload_leaves_the_engine_to_the_others(
    make_client: Callable[[], EngineClient], random_spec: ModelSpec, tmp_path: Path
):
    a, b = make_client(), make_client()
    a.model_info(random_spec)
    b.model_info(random_spec)
    running = a.generate(long_answer(random_spec))
    until(running, Tokens)
    a.unload()
    assert finished(list(running)).reason is StopReason.CANCELLED
    assert finished(list(b.generate(long_answer(random_spec, max_tokens=3)))).reason is StopReason.LENGTH
    assert len(engines(tmp_path)) == 1
    b.unload()
    wait_until(lambda: not engines(tmp_path))


def test_close_ends_what_runs(client: EngineClient, random_spec: ModelSpec):
    running = client.generate(long_answer(random_spec))
    until(running, Tokens)
    client.close()
    assert finished(list(running)).reason is StopReason.CANCELLED
    assert finished(list(client.generate(long_answer(random_spec)))).reason is StopReason.CANCELLED
    client.close()


def test_clients_that_start_at_once_share_one_engine(
    make_client: Callable[[], EngineClient], random_spec: ModelSpec, tmp_path: Path
):
    clients = [make_client() for _ in range(6)]
    generations = [c.generate(long_answer(random_spec, max_tokens=3)) for c in clients]
    assert {finished(list(g)).reason for g in generations} == {StopReason.LENGTH}
    assert len({c.status().pid for c in clients}) == 1
    assert len(engines(tmp_path)) == 1


def test_client_that_comes_as_the_engine_leaves(make_client: Callable[[], EngineClient], random_spec: ModelSpec):
    for _ in range(8):
        client = make_client()
        assert client.count(random_spec, PROMPT) == 28
        client.close()


def test_hung_engine_is_ended_after_a_cancel(
    client: EngineClient, random_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    generation = client.generate(long_answer(random_spec))
    until(generation, Tokens)
    monkeypatch.setattr(supervise, "PATIENCE", 0.3)
    second = client.generate(long_answer(random_spec))  # knows the new patience
    os.kill(client.status().pid, signal.SIGSTOP)
    generation.cancel()
    second.cancel()
    assert finished(list(generation)).reason is StopReason.CANCELLED
    assert client.status().state is EngineState.CRASHED
    wait_until(lambda: not engines(tmp_path))
    assert finished(list(client.generate(long_answer(random_spec, max_tokens=3)))).reason is StopReason.LENGTH


def impatient(client: EngineClient, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """From now on it takes a silence of `seconds` for a hang."""
    monkeypatch.setattr(supervise, "SILENCE", seconds)
    client._supervisor.cancel(0)  # so that its thread, which waits, knows


def test_hung_engine_is_ended_though_nobody_cancels(
    client: EngineClient, random_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    generation = client.generate(long_answer(random_spec))
    until(generation, Tokens)
    stopped = client.status().pid
    os.kill(stopped, signal.SIGSTOP)
    impatient(client, monkeypatch, 0.3)
    end = finished(list(generation))
    assert end.reason is StopReason.FAILED
    assert end.error is not None
    assert "did not answer" in end.error.text()
    wait_until(lambda: not engines(tmp_path))
    monkeypatch.undo()
    assert finished(list(client.generate(long_answer(random_spec, max_tokens=3)))).reason is StopReason.LENGTH
    assert client.status().pid not in (0, stopped)


def test_an_engine_that_beats_is_not_taken_for_hung(
    make_client: Callable[[], EngineClient], random_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
):
    """The control: one client works for a while, the other waits for something and hears nothing else."""
    busy, waiting = make_client(), make_client()
    waiting.model_info(random_spec)
    heard: list[type] = []
    report = waiting._supervisor._report

    def listen(message: object) -> None:
        heard.append(type(message))
        report(message)

    monkeypatch.setattr(waiting._supervisor, "_report", listen)
    running = [busy.generate(long_answer(random_spec)) for _ in range(20)]
    until(running[0], Tokens)
    second = waiting.generate(long_answer(random_spec, max_tokens=3))
    impatient(waiting, monkeypatch, 4 * BEAT_SECONDS)
    wait_until(lambda: heard.count(protocol.Beat) >= 2)
    for one in running:
        one.cancel()
    assert finished(list(second)).reason is StopReason.LENGTH


def test_a_sleep_of_the_machine_is_not_taken_for_a_hang(
    client: EngineClient, random_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
):
    """`test_hung_engine_is_ended_though_nobody_cancels` is the control."""
    generation = client.generate(long_answer(random_spec))
    until(generation, Tokens)
    pid = client.status().pid
    asleep, woken = [10], threading.Event()

    def noticed(_due: float | None = None) -> bool:
        asleep[0] -= 1
        if asleep[0] == 0:
            monkeypatch.undo()  # awake: its full patience
            os.kill(pid, signal.SIGCONT)
            woken.set()
        return asleep[0] >= 0

    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(client._supervisor._naps, "noticed", noticed)
    impatient(client, monkeypatch, 0.05)
    assert woken.wait(60)
    until(generation, Tokens)
    generation.cancel()
    assert finished(list(generation)).reason is StopReason.CANCELLED
    assert client.status().pid == pid


def test_an_engine_that_hangs_as_it_starts_is_ended(
    client: EngineClient, random_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(launch, "engine_command", lambda: [sys.executable, "-c", "import time; time.sleep(1000)"])
    monkeypatch.setattr(launch, "START_SECONDS", 0.3)
    end = finished(list(client.generate(long_answer(random_spec))))
    assert end.reason is StopReason.FAILED
    assert end.error is not None
    assert end.error.text() == launch.KILLED
    monkeypatch.undo()
    assert client.count(random_spec, PROMPT) == 28


def test_a_library_that_could_not_be_loaded_is_tried_again(
    client: EngineClient, random_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """As when memory was short just then; nobody has to restart the program."""
    program = tmp_path / "inglenook.engine"
    code = """
import sys
from inglenook.engine import __main__
sys.modules["llama_cpp"] = None
__main__.main()
"""
    program.write_text(code)
    monkeypatch.setattr(launch, "engine_command", lambda: [sys.executable, str(program)])
    end = finished(list(client.generate(long_answer(random_spec))))
    assert end.reason is StopReason.FAILED
    assert end.error is not None
    assert end.error.text() == protocol.BROKEN
    wait_until(lambda: not engines(tmp_path))
    monkeypatch.undo()
    assert finished(list(client.generate(long_answer(random_spec, max_tokens=3)))).reason is StopReason.LENGTH


def impatient_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second for the handshake, until an engine was ended for that; the next may be on a slow machine."""
    kill = launch.kill

    def end(pid: int) -> None:
        monkeypatch.setattr(transport, "PATIENCE", 60.0)
        kill(pid)

    monkeypatch.setattr(transport, "PATIENCE", 0.5)
    monkeypatch.setattr(launch, "kill", end)


@pytest.mark.parametrize("said", range(4))
def test_an_engine_that_hangs_once_it_listens_is_replaced(
    client: EngineClient, random_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: int
):
    """At every step of the handshake: it says so much, and no more."""
    program = tmp_path / "inglenook.engine"
    code = f"""
import os, signal, time
from multiprocessing.connection import Connection
from inglenook.engine import __main__
say, left = Connection.send_bytes, {said}
def say_so_much(*args):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(1000)
    say(*args)
Connection.send_bytes = say_so_much
__main__.main()
"""
    program.write_text(code)
    good, commands = launch.engine_command(), iter([[sys.executable, str(program)]])
    monkeypatch.setattr(launch, "engine_command", lambda: next(commands, good))
    impatient_with_the_first(monkeypatch)
    assert client.count(random_spec, PROMPT) == 28
    assert len(engines(tmp_path)) == 1


def test_an_engine_that_hangs_in_the_middle_of_a_message_is_ended(
    client: EngineClient, random_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    program = tmp_path / "inglenook.engine"
    code = """
import os, signal, struct, time
from multiprocessing.connection import Connection
from inglenook.engine import __main__
say, left = Connection.send_bytes, 4  # the handshake
def say_half(connection, message):
    global left
    left -= 1
    if left < 0:
        os.write(connection.fileno(), struct.pack("!i", len(message)) + message[:10])
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(1000)
    say(connection, message)
Connection.send_bytes = say_half
__main__.main()
"""
    program.write_text(code)
    good, commands = launch.engine_command(), iter([[sys.executable, str(program)]])
    monkeypatch.setattr(launch, "engine_command", lambda: next(commands, good))
    monkeypatch.setattr(transport, "PATIENCE", 3.0)
    with pytest.raises(UserError, match="did not answer"):
        client.count(random_spec, PROMPT)
    assert not engines(tmp_path)
    monkeypatch.setattr(transport, "PATIENCE", 60.0)
    assert client.count(random_spec, PROMPT) == 28


@pytest.mark.parametrize("within_c", [False, True])
def test_an_engine_without_memory_ends_and_says_so(
    client: EngineClient, random_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, within_c: bool
):
    """What goes on in a process after an allocation failed cannot be relied on."""
    code = f"""
import ctypes
from inglenook.engine import __main__, loaded
def refuse(*_):
    raise MemoryError
loaded.Loaded.bench = ctypes.CFUNCTYPE(ctypes.c_int)(refuse) if {within_c} else refuse
__main__.main()
"""
    program = tmp_path / "inglenook.engine"
    program.write_text(code)
    monkeypatch.setattr(launch, "engine_command", lambda: [sys.executable, str(program)])
    client.model_info(random_spec)
    with pytest.raises(UserError, match="memory ran out"):
        client.bench_raw(random_spec, 8, 0)
    assert "CRITICAL inglenook.engine.host: memory ran out" in (tmp_path / "logs/engine.log").read_text()
    assert client.count(random_spec, PROMPT) == 28


def test_engine_that_takes_connections_and_says_nothing_is_replaced(
    make_client: Callable[[], EngineClient], random_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
):
    a, b = make_client(), make_client()
    a.model_info(random_spec)
    impatient_with_the_first(monkeypatch)
    stopped = a.status().pid
    os.kill(stopped, signal.SIGSTOP)
    assert b.count(random_spec, PROMPT) == 28
    assert b.status().pid != stopped
    wait_until(lambda: a.status().state is EngineState.CRASHED)


def test_another_version_is_told(
    client: EngineClient, random_spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    client.model_info(random_spec)
    monkeypatch.setattr(protocol, "VERSION", protocol.VERSION + 1)
    with pytest.raises(UserError, match="version"):
        launch.attach(tmp_path / "run", tmp_path / "logs")
    monkeypatch.undo()
    assert client.count(random_spec, PROMPT) == 28


def test_stranger_without_the_key_is_not_let_in(client: EngineClient, random_spec: ModelSpec, tmp_path: Path):
    client.model_info(random_spec)
    (tmp_path / "run" / "key").write_bytes(b"another")
    with pytest.raises(Exception, match="digest"):
        transport.connect(tmp_path / "run")
    assert client.count(random_spec, PROMPT) == 28


def test_engine_that_cannot_start_is_told(
    client: EngineClient, random_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(launch, "engine_command", lambda: [sys.executable, "-c", "raise SystemExit('no library')"])
    end = finished(list(client.generate(long_answer(random_spec))))
    assert end.reason is StopReason.FAILED
    assert end.error is not None
    assert "could not be started" in end.error.text()
    monkeypatch.undo()
    assert client.count(random_spec, PROMPT) == 28


def test_message_of_an_abort_reaches_the_log(random_gguf: Path):
    code = """
import logging, sys
logging.basicConfig(stream=sys.stderr, level=logging.INFO)
from pathlib import Path
import llama_cpp.llama_cpp as lib
from inglenook.engine import llama
llama.start()
context = llama.Context(llama.Model(Path(sys.argv[1])), 512, 1)
lib.llama_sampler_sample(lib.llama_sampler_init_greedy(), context.handle, -1)
"""
    command = [sys.executable, "-c", code, str(random_gguf)]
    done = subprocess.run(command, capture_output=True, text=True, env=launch.environment(), check=False)
    assert done.returncode == -signal.SIGABRT
    assert "aborts:" in done.stderr


# -- model files --


def write_file(folder: Path, kind: str, good: Path) -> Path:
    path = folder / f"{kind}.gguf"
    data = good.read_bytes()
    if kind == "architecture":
        return random_model.write(path, arch="llama")
    contents = {
        "empty": b"",
        "text": b"This is no model at all.\n" * 100,
        "short": data[:10],
        "header": data[:3000],
        "truncated": data[: len(data) - 1000],
        "counts": data[:8] + struct.pack("<QQ", 1 << 60, 1 << 60) + data[24:],
    }
    if kind in contents:
        path.write_bytes(contents[kind])
    if kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "does not exist"),
        ("folder", "is not a file"),
        ("empty", "empty"),
        ("text", "not a GGUF model file"),
        ("short", "Download or copy it again"),
        ("header", "Download or copy it again"),
        ("truncated", "Download or copy it again"),
        ("counts", "Download or copy it again"),
        ("architecture", "gpt-oss models only"),
    ],
)
def test_bad_model_file_says_what_to_do(
    kind: str, words: str, client: EngineClient, random_gguf: Path, random_spec: ModelSpec, tmp_path: Path
):
    spec = ModelSpec(str(write_file(tmp_path, kind, random_gguf)))
    end = finished(list(client.load(spec)))
    assert end.reason is StopReason.FAILED
    assert end.error is not None
    assert words in end.error.text()
    assert str(tmp_path) in end.error.text()
    with pytest.raises(UserError):
        client.model_info(spec)
    with pytest.raises(UserError):
        client.count(spec, PROMPT)
    assert client.count(random_spec, PROMPT) == 28


def test_bad_file_leaves_the_loaded_model(client: EngineClient, random_spec: ModelSpec, tmp_path: Path):
    client.model_info(random_spec)
    assert finished(list(client.load(ModelSpec(str(tmp_path / "none.gguf"))))).reason is StopReason.FAILED
    events = list(client.generate(GenerateRequest(random_spec, (Ids((1, 2, 3)),), max_tokens=2)))
    assert isinstance(events[0], Prefill)  # no load


@pytest.mark.parametrize(
    ("error", "ends"),
    [(MemoryError(), True), (RuntimeError("can't start new thread"), True), (RuntimeError("a bug"), False)],
)
def test_a_thread_that_finds_no_memory_ends_the_engine(
    monkeypatch: pytest.MonkeyPatch, error: Exception, *, ends: bool
) -> None:
    """Its client would wait for what nobody does any more."""
    called: list[str] = []
    monkeypatch.setattr(host, "end_without_memory", lambda: called.append("ended"))
    monkeypatch.setattr(threading, "__excepthook__", lambda _: called.append("logged"))
    host._on_thread_error(threading.ExceptHookArgs((type(error), error, None, None)))
    assert called == (["ended", "logged"] if ends else ["logged"])
