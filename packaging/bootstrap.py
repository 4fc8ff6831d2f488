"""Sets up a fresh machine and runs Inglenook or its tests: `python packaging/bootstrap.py run` is all a person types.

Standard library only, since nothing else is there yet. Each step is skipped when the stamps in the virtual environment
say that it was done with the same inputs, so that a second run starts at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import o200k
import oracles
from setup_console import SetupError, Step, errors_in, parse_pip_line, run_logged
from setup_llama import Machine, Wheels, build_flags, compiler_flags, this_machine
from setup_system import install, missing_packages, missing_tools, require_venv

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
LOG = VENV / "setup.log"
USAGE = """usage: python packaging/bootstrap.py run|test|soak|setup|clean [arguments]

run    set up and open the window; arguments go to the program (run ask "Hello", run chat, run doctor, ...)
test   set up and run all that CI runs: ruff, mypy, import-linter, pytest
soak   set up and run the long tests; arguments go to pytest
setup  set up only
clean  remove the virtual environment and what tools left behind (not the wheels in the user's cache)"""
TEST_GROUPS = ("test", "lint", "oracle")
PIP_VERSION = "pip>=25.1"  # the first that knows --group


class Stamps:
    """Which steps were done with which inputs: a small JSON file in the virtual environment."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._done: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError):
            loaded = json.loads(file.read_text("utf-8"))
            if isinstance(loaded, dict):
                self._done = loaded

    def current(self, step: str, key: str) -> bool:
        """Whether `step` was last done with the inputs that `key` stands for."""
        return self._done.get(step) == key

    @property
    def empty(self) -> bool:
        """Whether nothing is recorded: the environment, if there is one, was made by somebody else."""
        return not self._done

    def set(self, step: str, key: str) -> None:
        """Records `step` as done."""
        self._done[step] = key
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps(self._done, indent=2), "utf-8")
        temporary.replace(self._file)


def key_of(*inputs: str | bytes) -> str:
    """A short hash that changes when any of `inputs` does."""
    digest = hashlib.sha256()
    for value in inputs:
        data = value.encode() if isinstance(value, str) else value
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:20]


def llama_version(pyproject: str) -> str:
    """The version of llama-cpp-python that the project pins."""
    found = re.search(r'"llama-cpp-python==([^"]+)"', pyproject)
    if found is None:
        raise SetupError("pyproject.toml does not pin llama-cpp-python to a version.")
    return found[1]


def check_python(version: tuple[int, int]) -> None:
    """Raises SetupError where this Python is not one that the project runs on."""
    if not (3, 11) <= version < (3, 15):
        raise SetupError(
            f"Inglenook needs Python 3.11 to 3.14; this is {version[0]}.{version[1]}. "
            "Run this with another one, for example: make run PYTHON=python3.12"
        )


class Setup:
    """The steps. `tests` includes what only the tests need."""

    def __init__(self, tests: bool) -> None:
        self._tests = tests
        self._pyproject = (ROOT / "pyproject.toml").read_bytes()
        self._machine = this_machine(ask_gpu=False)
        self._stamps = Stamps(VENV / "setup.json")
        own = key_of(*(path.read_bytes() for path in sorted(Path(__file__).parent.glob("setup_*.py"))))
        # The folder, since an environment that was moved does not work; the base, since it may have been updated.
        self._venv_key = key_of(str(VENV), sys.version, sys.base_prefix)
        self._packages_key = key_of(self._venv_key, self._pyproject, self._wheel_key())
        self._system_key = key_of(self._venv_key, own)
        self._system_step = "test system" if tests else "system"

    def _wheel_key(self) -> str:
        return key_of(
            llama_version(self._pyproject.decode()),
            repr(build_flags()),
            repr(compiler_flags(self._machine)),
            repr(self._machine),
        )

    def _current(self) -> bool:
        return (
            PYTHON.exists()
            and self._stamps.current("venv", self._venv_key)
            and self._stamps.current("packages", self._packages_key)
            and (not self._tests or self._stamps.current("test packages", self._packages_key))
            and (not sys.platform.startswith("linux") or self._stamps.current(self._system_step, self._system_key))
        )

    def run(self) -> None:
        """Does what is not done. Raises SetupError."""
        if self._current():
            return
        begun = time.monotonic()
        with locked(VENV):
            self._stamps = Stamps(VENV / "setup.json")  # another set-up may have done it meanwhile
            if self._current():
                return
            self._environment()
            self._system()
            self._packages()
        if (seconds := time.monotonic() - begun) >= 1:
            print(f"Set up in {seconds:.0f} s.", flush=True)

    def _environment(self) -> None:
        if PYTHON.exists() and self._stamps.current("venv", self._venv_key):
            return
        if self._stamps.empty and works_here():
            self._pip("Updating pip of the .venv that is here", "install", "--upgrade", PIP_VERSION)
            self._stamps.set("venv", self._venv_key)
            return
        require_venv(LOG)
        step = Step(f"Creating the virtual environment (Python {sys.version.split()[0]})")
        for entry in VENV.iterdir():  # all but the lock that we hold and the log
            if entry.name not in (LOCK, LOG.name):
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        if run_logged([sys.executable, "-m", "venv", VENV], LOG):
            step.failed()
            raise SetupError(f"The virtual environment could not be made.\n{errors_in(LOG)}")
        step.done()
        self._pip("Updating pip", "install", "--upgrade", PIP_VERSION)
        self._stamps = Stamps(VENV / "setup.json")
        self._stamps.set("venv", self._venv_key)

    def _system(self) -> None:
        if self._stamps.current(self._system_step, self._system_key):
            return
        libraries, tools = missing_packages(), missing_tools() if self._tests else []
        if libraries + tools and not install(libraries + tools, LOG):
            without = "the terminal works without them, the window may not open"
            print(f"Going on: {without if libraries else 'tests that need them are skipped'}.", flush=True)
            return
        self._stamps.set(self._system_step, self._system_key)

    def _packages(self) -> None:
        step = "test packages" if self._tests else "packages"
        if self._stamps.current(step, self._packages_key):
            return
        groups = [part for group in TEST_GROUPS if self._tests for part in ("--group", group)]
        what = ["-e", str(ROOT), *groups]
        if self._stamps.current("llama", self._wheel_key()):
            self._pip("Installing Python packages", "install", *what)
        else:
            self._with_wheel(what)
        self._stamps.set("packages", self._packages_key)  # the test groups come with what runs the program
        if self._tests:
            self._stamps.set("test packages", self._packages_key)

    def _with_wheel(self, what: list[str]) -> None:
        machine: Machine = this_machine()
        wheels = Wheels(llama_version(self._pyproject.decode()), machine, pip_command(), LOG)
        for wheel in wheels.candidates():
            # pip leaves an equal version as it is, even one that was built for another processor.
            run_logged([*pip_command(), "uninstall", "-y", "llama-cpp-python"], LOG)
            try:
                self._pip("Installing Python packages", "install", str(wheel), *what)
            except SetupError:
                if run_logged([*pip_command(), "install", "--no-deps", "--dry-run", str(wheel)], LOG) == 0:
                    raise  # the wheel is not what pip objects to
            else:
                if run_logged([PYTHON, "-c", "import llama_cpp; llama_cpp.llama_backend_init()"], LOG) == 0:
                    self._stamps.set("llama", self._wheel_key())
                    return
            print(f"{wheel.parent.name}: this build does not load here; trying another.", flush=True)
            wheels.discard(wheel)
        raise SetupError(f"llama-cpp-python was built but does not load.\n{errors_in(LOG)}\n    The whole log: {LOG}")

    def _pip(self, title: str, *arguments: str) -> None:
        step = Step(title)
        command = [*pip_command(), *arguments]
        if arguments[-1] != PIP_VERSION:  # the pip that comes with Python may not know it
            command += ["--progress-bar", "raw"]
        if run_logged(command, LOG, lambda line: step.update(parse_pip_line(line)), cwd=ROOT):
            step.failed()
            raise SetupError(
                f"pip could not do its work. If the network is at fault, run this again later.\n{errors_in(LOG)}\n"
                f"    The whole log: {LOG}"
            )
        step.done()


def works_here() -> bool:
    """Whether there is a virtual environment, made by hand, of the Python that runs this."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        question = "import pip, sys; print(sys.version, sys.base_prefix)"
        answer = subprocess.run([str(PYTHON), "-c", question], capture_output=True, text=True, timeout=60).stdout
        return answer.strip() == f"{sys.version} {sys.base_prefix}"
    return False


def pip_command() -> list[str]:
    """Runs pip in the virtual environment; the user's own configuration of pip applies."""
    return [str(PYTHON), "-m", "pip", "--no-input", "--disable-pip-version-check"]


LOCK = "setup.lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one set-up at a time work in `folder`; the system frees the lock even if we are killed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+b") as file:
        told = False
        while not _try_lock(file.fileno()):
            if not told:
                print("Another set-up is at work here; waiting for it.", flush=True)
                told = True
            time.sleep(0.3)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt  # of this system only

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # of the others

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def run_app(arguments: Sequence[str]) -> int:
    """Becomes the program (on Windows, waits for it)."""
    command = [str(PYTHON), "-m", "inglenook", *arguments]
    sys.stdout.flush()
    if sys.platform != "win32":
        # Replaced rather than waited for: Ctrl-C and the exit status are the program's own.
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # the program got it too, and decides


def run_checks() -> int:
    """All that CI runs: every check runs even if one before it failed; 1 if any did."""
    scripts = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "packaging").glob("*.py"))
    tool = str(PYTHON)
    checks = (
        ("ruff check", [tool, "-m", "ruff", "check", "."]),
        ("ruff format", [tool, "-m", "ruff", "format", "--check", "."]),
        ("mypy", [tool, "-m", "mypy"]),
        ("mypy packaging", [tool, "-m", "mypy", *scripts]),
        ("import-linter", [str(PYTHON.parent / "lint-imports")]),
        ("pytest", [tool, "-m", "pytest"]),
    )
    results = [(name, *_timed(name, command)) for name, command in checks]
    print("\nSummary")
    for name, status, seconds in results:
        print(f"  {name:16} {'passed' if status == 0 else 'FAILED':8} {seconds:6.1f} s")
    print(f"  {'all':16} {'':8} {sum(seconds for _, _, seconds in results):6.1f} s", flush=True)
    return int(any(status for _, status, _ in results))


def run_soak(arguments: Sequence[str]) -> int:
    """The long tests."""
    os.environ.setdefault("INGLENOOK_EXPLORE", "1")  # see tests/conftest.py
    options = ("-o", "norecursedirs=.* data", "-o", "timeout=3600")  # neither left out nor held to minutes
    return _timed("soak", [str(PYTHON), "-m", "pytest", "tests/soak", *options, *arguments])[0]


def _timed(name: str, command: Sequence[str]) -> tuple[int, float]:
    print(f"\n== {name}", flush=True)
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "MYPYPATH": str(ROOT / "packaging")}
    begun = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    return status, time.monotonic() - begun


def fetch_vocabulary() -> None:
    """The o200k vocabulary that the rendering tests compare with; kept per user. Raises SetupError."""
    try:
        o200k.fetch(str(PYTHON))
    except o200k.VocabularyError as error:
        raise SetupError(f"The o200k vocabulary that the tests need could not be had. {error}") from error


def fetch_oracles() -> None:
    """llama.cpp's own converter, which the converter's tests compare with; kept per user. Raises SetupError."""
    if oracles.present():
        return
    step = Step("Downloading llama.cpp's converter for the tests (77 MB, once)")
    try:
        oracles.fetch(str(PYTHON))
    except oracles.OracleError as error:
        step.failed()
        raise SetupError(f"llama.cpp's converter, which the tests need, could not be had. {error}") from error
    step.done()


def clean() -> int:
    """Removes what set-up and tools made in this folder."""
    for name in (
        ".venv",
        "build",
        "dist",
        ".hypothesis",
        ".mypy_cache",
        ".ruff_cache",
        ".import_linter_cache",
        ".pytest_cache",
    ):
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for folder in (ROOT / "app", ROOT / "converter", ROOT / "tests", ROOT / "packaging"):
        for cache in list(folder.rglob("__pycache__")):
            shutil.rmtree(cache, ignore_errors=True)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Runs one verb; returns the exit status."""
    verb, rest = (arguments[0], list(arguments[1:])) if arguments else ("", [])
    if verb not in ("run", "test", "soak", "setup", "clean"):
        print(USAGE, file=sys.stdout if verb in ("-h", "--help") else sys.stderr)
        return 0 if verb in ("-h", "--help") else 2
    if verb == "clean":
        return clean()
    check_python(sys.version_info[:2])
    Setup(tests=verb in ("test", "soak")).run()
    if verb in ("test", "soak"):
        fetch_vocabulary()
        fetch_oracles()
    if verb == "run":
        return run_app(rest)
    if verb == "test":
        return run_checks()
    return run_soak(rest) if verb == "soak" else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        sys.exit(130)
