from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.library.hub import COMMIT, REPOSITORY, Fault, LoopbackHub

from inglenook.core.settings import ALLOW_NETWORK, HUB_ADDRESS, MODEL_FILE
from inglenook.library.catalogue import BY_ADDRESS, ENTRIES
from inglenook.library.files.bin import Bin, Deleted
from inglenook.library.remote.download import lock_of
from inglenook.library.remote.jobs import JobFolder

from .conftest import COMMAND, Program

NAME = "gpt-oss-20b-MXFP4.gguf"
KEY = "gpt-oss-20b"


class User:
    """A home of its own, and the program with a catalogue of one small model at a Hub on this machine."""

    def __init__(self, home: Path, environment: dict[str, str], hub: LoopbackHub, gguf: Path) -> None:
        self.home = home
        self.hub = hub
        self.gguf = gguf
        self.digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
        self.models = home / "data" / "models"
        self.file = self.models / REPOSITORY / NAME
        kept = {k: v for k, v in environment.items() if not k.startswith(("HF_", "XDG_", "OLLAMA", "LLAMA"))}
        self.environment = {**kept, "INGLENOOK_HOME": str(home), "HOME": str(home), "USERPROFILE": str(home)}
        self.environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "NO_PROXY": "*"}
        self.set(**{HUB_ADDRESS.key: hub.endpoint})

    @property
    def settings(self) -> dict[str, object]:
        return dict(json.loads((self.home / "config" / "settings.json").read_text()))

    def set(self, **values: object) -> None:
        file = self.home / "config" / "settings.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(values))

    def command(self, *arguments: str | Path) -> list[str]:
        about = (NAME, str(self.gguf.stat().st_size), self.digest)
        return [sys.executable, "-m", "tests.cli.models_program", *about, *map(str, arguments)]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, env=self.environment, timeout=240, check=False
        )

    def fails(self, code: int, *arguments: str | Path) -> str:
        """Runs it and returns the one line that says why it failed."""
        done = self.run(*arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith("inglenook models: ")
        assert done.stderr.count("\n") == 1
        return done.stderr

    def listed(self) -> dict[str, dict[str, object]]:
        done = self.run("--json")
        assert (done.returncode, done.stderr) == (0, "")
        return {model["name"]: model for model in json.loads(done.stdout)["models"]}

    def put(self) -> None:
        """The model is here, as if it had been fetched."""
        self.file.parent.mkdir(parents=True)
        shutil.copy(self.gguf, self.file)


@pytest.fixture
def user(tmp_path: Path, environment: dict[str, str], demo_gguf: Path) -> Iterator[User]:
    with LoopbackHub() as hub:
        hub.add(NAME, demo_gguf.read_bytes())
        yield User(tmp_path, environment, hub, demo_gguf)


def test_list(user: User) -> None:
    """What Inglenook fetched, what another program has, and the demo model; which is in use; what cannot be used."""
    assert list(user.listed()) == ["demo"]
    user.put()
    other = user.home / ".lmstudio" / "models" / "a" / "b"
    other.mkdir(parents=True)
    shutil.copy(user.gguf, other / "mine.gguf")
    (other / "half.gguf").write_bytes(user.gguf.read_bytes()[: user.gguf.stat().st_size // 2])
    user.set(**{MODEL_FILE.key: str(user.file)})
    found = user.listed()
    assert set(found) == {"demo", KEY, "mine", "half"}
    assert {name for name, model in found.items() if model["in_use"]} == {KEY}
    assert {name for name, model in found.items() if model["problem"]} == {"half"}
    assert (found[KEY]["owner"], found[KEY]["path"]) == ("Inglenook", str(user.file))
    assert (found["mine"]["owner"], found["mine"]["bytes"]) == ("LM Studio", user.gguf.stat().st_size)
    done = user.run()
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.split()[0 if line[0] == " " else 1]: line for line in done.stdout.splitlines()}
    assert lines[KEY].startswith("* ")
    assert lines[KEY].endswith(str(user.file))
    assert "LM Studio" in lines["mine"]
    assert not user.hub.seen


def test_catalogue(user: User, program: Program) -> None:
    user.put()
    done = user.run("catalogue", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (offer,) = json.loads(done.stdout)["models"]
    assert [one["repository"] for one in json.loads(done.stdout)["by_address"]] == [k.repository for k in BY_ADDRESS]
    assert (offer["name"], offer["path"], offer["revision"]) == (KEY, str(user.file), COMMIT)
    assert offer["files"] == [{"name": NAME, "bytes": user.gguf.stat().st_size, "sha256": user.digest}]
    assert isinstance(offer["fits"], bool)
    done = program("models", "catalogue")
    assert (done.returncode, done.stderr) == (0, "")
    starts = [line.split()[0] for line in done.stdout.splitlines() if line[0] != " "]
    assert starts == [entry.key for entry in ENTRIES] + [known.repository for known in BY_ADDRESS]
    assert not user.hub.seen


def test_use(user: User) -> None:
    user.put()
    for name, chosen in (
        (KEY.upper(), str(user.file)),
        ("demo", ""),
        (user.gguf, str(user.gguf)),
        (user.file, str(user.file)),
    ):
        done = user.run("use", name)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert user.settings.get(MODEL_FILE.key, "") == chosen
    assert user.settings[HUB_ADDRESS.key] == user.hub.endpoint


def test_use_of_what_cannot_be_used(user: User, spoiled: dict[str, Path]) -> None:
    assert f"inglenook models get {KEY}" in user.fails(1, "use", KEY)
    assert "no-such-model" in user.fails(2, "use", "no-such-model")
    for kind in ("text", "truncated", "other"):
        user.fails(2, "use", spoiled[kind])
    for name in ("a", "b"):
        (user.models / name).mkdir(parents=True)
        shutil.copy(user.gguf, user.models / name / "twice.gguf")
    assert "Name the file" in user.fails(2, "use", "twice")
    assert MODEL_FILE.key not in user.settings


def test_verify(user: User) -> None:
    user.fails(1, "verify", KEY)
    user.put()
    done = user.run("verify", KEY)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{user.digest}  {user.file}\n", "")
    data = bytearray(user.file.read_bytes())
    data[-1] ^= 1
    user.file.write_bytes(data)
    assert user.digest in user.fails(1, "verify", KEY)
    user.file.rename(user.file.with_name("mine.gguf"))
    assert "No sha256" in user.fails(1, "verify", "mine")
    user.fails(2, "verify", "no-such-model")


def test_verify_of_another_programs_file(user: User) -> None:
    """A file with the name and size of one in the catalogue is held to its sha256."""
    other = user.home / ".lmstudio" / "models"
    other.mkdir(parents=True)
    shutil.copy(user.gguf, other / NAME)
    done = user.run("verify", Path(NAME).stem)
    assert (done.returncode, done.stdout) == (0, f"{user.digest}  {other / NAME}\n")
    with (other / NAME).open("r+b") as file:
        file.write(b"XXXX")
    with (other / NAME).open("r+b") as file:
        file.write(b"GGUF")
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    assert "instead of" in user.fails(1, "verify", Path(NAME).stem)


def test_get(user: User) -> None:
    """The first model to come is the one in use; a second time nothing is fetched. Why it waited is said once."""
    user.hub.faults.append(Fault(status=503))
    done = user.run("get", KEY)
    assert (done.returncode, done.stdout) == (0, f"{user.file}\n"), done.stderr
    assert done.stderr.splitlines() == [
        "The server is busy (HTTP 503). Trying again.",
        "gpt-oss-20b is used from now on.",
    ]
    assert user.file.read_bytes() == user.gguf.read_bytes()
    assert user.settings[MODEL_FILE.key] == str(user.file)
    assert not list((user.models / ".downloads").glob("*.json"))
    traffic = (user.home / "data" / "network.jsonl").read_text()
    assert traffic.count('"download"') == len(user.hub.seen) > 0
    user.set(**{HUB_ADDRESS.key: user.hub.endpoint, MODEL_FILE.key: str(user.gguf)})
    sent = user.hub.sent
    done = user.run("get", KEY)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{user.file}\n", "")
    assert user.hub.sent == sent
    assert user.settings[MODEL_FILE.key] == str(user.gguf)


def test_get_of_what_cannot_be_fetched(user: User) -> None:
    assert KEY in user.fails(2, "get", "no-such-model")
    user.set(**{HUB_ADDRESS.key: user.hub.endpoint, ALLOW_NETWORK.key: False})
    assert "switched off" in user.fails(1, "get", KEY)
    assert not user.hub.seen
    assert not (user.models / ".downloads").exists()
    user.set(**{HUB_ADDRESS.key: user.hub.endpoint})
    user.hub.always = Fault(flip=1000)
    assert "wrong bytes" in user.fails(1, "get", KEY)
    assert not user.file.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals, and no signal to a child alone")
def test_ctrl_c_pauses_and_the_next_run_goes_on(user: User) -> None:
    user.hub.always = Fault(drip=(1 << 14, 0.02))
    ours, theirs = os.openpty()
    command, shown = user.command("get", KEY), b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=user.environment) as running:
        os.close(theirs)
        try:
            while b" left" not in shown:
                shown += os.read(ours, 1000)
            assert b" a second, " in shown
            running.send_signal(signal.SIGINT)
            with contextlib.suppress(OSError):  # as Linux tells that nobody writes any more
                while more := os.read(ours, 1000):
                    shown += more
            assert running.communicate(timeout=60)[0] == b""
        finally:
            running.kill()
            os.close(ours)
    assert running.returncode == 130
    last = shown.decode().splitlines()[-1]
    assert "Paused at " in last
    assert last.endswith(f"inglenook models get {KEY}")
    assert list((user.models / ".downloads").glob("*.paused.json"))
    assert not user.file.exists()
    user.hub.always = None
    before = len(user.hub.seen)
    done = user.run("get", KEY)
    assert (done.returncode, done.stdout) == (0, f"{user.file}\n")
    assert user.file.read_bytes() == user.gguf.read_bytes()
    ranges = [seen.headers.get("Range") for seen in user.hub.seen[before:] if seen.where == "store"]
    assert ranges
    assert None not in ranges


@pytest.mark.parametrize("what", ["pause", "cancel"])
def test_what_another_program_stops_has_ended_here_too(user: User, what: str) -> None:
    """That fetches it while this one waits, and does with its job what a window does."""
    lock, jobs = lock_of(user.file), JobFolder(user.models / ".downloads")
    user.file.parent.mkdir(parents=True)
    assert lock.try_acquire()
    with subprocess.Popen(
        user.command("get", KEY), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=user.environment
    ) as running:
        try:
            assert running.stderr is not None
            assert "Another" in running.stderr.readline()
            (job,) = jobs.read()
            if what == "pause":
                jobs.set_paused(job, True)
            else:
                jobs.remove(job)
            lock.release()
            out, told = running.communicate(timeout=60)
        finally:
            running.kill()
            lock.release()
    assert (running.returncode, out) == (130 if what == "pause" else 1, "")
    assert ("Paused at " if what == "pause" else "has cancelled it.") in told.splitlines()[-1]


def test_remove(user: User) -> None:
    user.put()
    user.set(**{MODEL_FILE.key: str(user.file)})
    assert "in use" in user.fails(1, "remove", KEY)
    assert user.file.exists()
    user.run("use", "demo")
    done = user.run("remove", KEY)
    assert (done.returncode, done.stdout) == (0, "")
    assert "inglenook models restore" in done.stderr
    assert not user.file.exists()
    done = user.run("restore")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{user.file}\n", "gpt-oss-20b is back.\n")
    assert user.file.read_bytes() == user.gguf.read_bytes()
    user.run("remove", KEY)
    done = user.run("empty-bin")
    assert (done.returncode, done.stdout) == (0, "")
    assert "more room" in done.stderr
    assert "nothing to bring back" in user.fails(1, "restore")
    left = [file.name for file in user.models.rglob("*") if file.is_file()]
    assert set(left) <= {".moved.json", ".moved.lock"}


def test_remove_of_what_is_not_ours(user: User) -> None:
    other = user.home / ".lmstudio" / "models" / "mine.gguf"
    other.parent.mkdir(parents=True)
    shutil.copy(user.gguf, other)
    assert "another program" in user.fails(1, "remove", "mine")
    user.fails(1, "remove", "demo")
    user.fails(2, "remove", "no-such-model")
    assert other.exists()


def test_what_a_window_deleted_can_still_be_brought_back(user: User) -> None:
    """A look from the command line leaves alone what an open window holds for its Undo."""
    user.put()
    window = Bin(user.models)
    window.put(Deleted(KEY, (user.file,)))
    for command in ("catalogue", "empty-bin"):
        assert user.run(command).returncode == 0
    assert window.restore() is not None
    assert user.file.read_bytes() == user.gguf.read_bytes()


def test_arguments(program: Program) -> None:
    for arguments in (("models", "get"), ("models", "paint"), ("models", "use", "a", "b")):
        done = program(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_ask_does_not_pay_for_it() -> None:
    """The parser and `ask` import none of it."""
    code = "import sys, inglenook.cli.main as m, inglenook.cli.ask; m.parser()\n"
    code += "sys.exit(any(name in sys.modules for name in ('inglenook.cli.models', 'inglenook.library.shelf')))"
    assert subprocess.run([COMMAND[0], "-c", code], check=False).returncode == 0
