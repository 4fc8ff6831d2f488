"""llama-cpp-python for this machine: a wheel from our own cache, from its project's wheel index, or built from source.

The package registry has only the source, and its default build takes a quarter of an hour. Ready wheels come in
variants (CPU, Metal, CUDA by version). What we build ourselves is for this processor alone (-march=native), so the
cache's key holds the processor's features: under another one, in a home folder that several machines share, it would
crash with an illegal instruction.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from o200k import cache_folder as vocabulary_folder
from setup_console import Progress, SetupError, Step, errors_in, parse_build_line, parse_pip_line, run_logged
from setup_system import require_compiler

INDEX = "https://abetlen.github.io/llama-cpp-python/whl"
CUDA_VARIANTS = ((13, 2), (13, 0), (12, 5), (12, 4), (12, 3), (12, 2), (12, 1), (11, 8))  # of the index, newest first
ANSWER_SECONDS = 5.0
# Multimodal, tools, server and tests: none of it is used, all of it takes time to compile.
FLAGS = tuple(
    f"-D{name}=OFF"
    for name in (
        "LLAVA_BUILD", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_TOOLS",
        "LLAMA_BUILD_SERVER", "LLAMA_BUILD_COMMON",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """What decides which wheel runs here. `features` describes the processor and the C library in words."""

    system: str  # linux, darwin, win32
    arch: str  # x86_64, arm64
    features: str = ""
    cuda: tuple[int, int] | None = None

    @property
    def ready_cpu_wheel_runs(self) -> bool:
        """The index's CPU wheels for x86 need AVX2 and FMA; where we cannot tell, we try."""
        words = self.features.split()
        return self.arch != "x86_64" or "sse2" not in words or {"avx2", "fma"} <= set(words)


@dataclass(frozen=True)
class Link:
    """A file that the index offers; `sha256` is '' where the index does not tell it."""

    name: str
    url: str
    sha256: str = ""


def this_machine(ask_gpu: bool = True) -> Machine:
    """Describes this machine; asking for the GPU costs a moment and is left out where only the processor matters."""
    arch = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    system = "linux" if sys.platform.startswith("linux") else sys.platform
    return Machine(system, arch, _features(system), _cuda_version() if ask_gpu else None)


def _features(system: str) -> str:
    if system == "linux":
        with contextlib.suppress(OSError):
            found = re.search(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
            if found:
                return " ".join([*platform.libc_ver(), *sorted(set(found[1].split()))])
    if system == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return subprocess.check_output(["sysctl", "-n", "machdep.cpu.brand_string"], text=True, timeout=10).strip()
    return platform.processor()


def _cuda_version() -> tuple[int, int] | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return parse_cuda_version(subprocess.run([program], capture_output=True, text=True, timeout=15).stdout)
    return None


def parse_cuda_version(report: str) -> tuple[int, int] | None:
    """The CUDA version that the driver supports, from what nvidia-smi prints."""
    found = re.search(r"CUDA (?:UMD )?Version:\s*(\d+)\.(\d+)", report)
    return (int(found[1]), int(found[2])) if found else None


def gpu_variant(machine: Machine) -> str | None:
    """The index's variant for this machine's GPU, or None."""
    if machine.system == "darwin":
        return "metal" if machine.arch == "arm64" else None
    if machine.cuda is None or machine.arch != "x86_64":
        return None
    return next((f"cu{major}{minor}" for major, minor in CUDA_VARIANTS if (major, minor) <= machine.cuda), None)


def build_flags() -> tuple[str, ...]:
    """Ours, then the user's own CMAKE_ARGS, which so have the last word."""
    return (*FLAGS, *shlex.split(os.environ.get("CMAKE_ARGS", "")))


def compiler_flags(machine: Machine) -> tuple[str, ...]:
    """No AMX, which some server processors have: with GCC before 11.5, 12.4, 13.3 and 14 its code crashes.

    That compiler forgets what was written into the tile configuration (its bug 114098; Debian 12 has 12.2), and the
    first prompt of more than one token ends in an illegal instruction.
    """
    return ("-mno-amx-int8",) if machine.system == "linux" and "amx_int8" in machine.features.split() else ()


def cache_key(version: str, variant: str, machine: Machine, flags: tuple[str, ...] = ()) -> str:
    """Folder name in the cache. Only what is built here (`native`) depends on flags and processor."""
    key = f"{version}-{variant}-{machine.system}_{machine.arch}"
    if variant != "native":
        return key
    return f"{key}-{hashlib.sha256(repr((flags, machine.features)).encode()).hexdigest()[:12]}"


def cache_folder() -> Path:
    """Where this user's wheels are kept, beside what else the set-up caches."""
    return vocabulary_folder().parent / "wheels"


def parse_index(page: str, base: str) -> list[Link]:
    """The wheels that a page of the index links to."""
    links = []
    for found in re.finditer(r"""href=["']([^"']+\.whl(?:#[^"']*)?)["']""", page):
        url, _, fragment = urllib.parse.urljoin(base, html.unescape(found[1])).partition("#")
        digest = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else ""
        links.append(Link(urllib.parse.unquote(url.rsplit("/", 1)[-1]), url, digest))
    return links


def choose(links: list[Link], version: str, machine: Machine) -> Link | None:
    """The wheel of that version for that machine. pip has the last word on it when it installs."""
    arch = {"linux": {"arm64": "aarch64"}, "win32": {"x86_64": "amd64"}}.get(machine.system, {})
    system = {"linux": r"(?:many)?linux\w*", "win32": "win", "darwin": r"macosx\w*"}.get(machine.system, "none")
    name = re.compile(
        rf"llama_cpp_python-{re.escape(version)}-py3-none-(?:\w+\.)*{system}_{arch.get(machine.arch, machine.arch)}"
        r"(?:\.\w+)*\.whl"
    )
    return next((link for link in links if name.fullmatch(link.name)), None)


class Wheels:
    """Finds or makes the wheel. `pip` is the command line that runs pip in the virtual environment."""

    def __init__(self, version: str, machine: Machine, pip: list[str], log: Path) -> None:
        self._version = version
        self._machine = machine
        self._pip = pip
        self._log = log
        self._cache = cache_folder()
        self._index_answers = True

    def candidates(self) -> Iterator[Path]:
        """Wheels in order of preference, each obtained only when asked for; the last is built. Raises SetupError.

        Ask for the next one if a wheel does not load; `discard` the one before.
        """
        gpu = gpu_variant(self._machine)
        if gpu is not None:
            yield from self._ready(gpu)
        yield from self._cached("native")
        if self._machine.ready_cpu_wheel_runs:
            yield from self._ready("cpu")
        yield self._build()

    @staticmethod
    def discard(wheel: Path) -> None:
        """Removes a wheel that does not work here from the cache."""
        shutil.rmtree(wheel.parent, ignore_errors=True)

    def _folder(self, variant: str) -> Path:
        flags = (*build_flags(), *compiler_flags(self._machine))
        return self._cache / cache_key(self._version, variant, self._machine, flags)

    def _cached(self, variant: str) -> Iterator[Path]:
        yield from sorted(self._folder(variant).glob("*.whl"))

    def _ready(self, variant: str) -> Iterator[Path]:
        cached = list(self._cached(variant))
        yield from cached
        if cached or not self._index_answers:
            return
        page_url = f"{INDEX}/{variant}/llama-cpp-python/"
        page = fetch_text(page_url)
        if page is None:
            self._index_answers = False
            print("The wheel index of llama-cpp-python does not answer; going on without it.", flush=True)
            return
        link = choose(parse_index(page, page_url), self._version, self._machine)
        if link is None:
            return
        try:
            wheel = download(link, self._folder(variant))
        except (OSError, ValueError) as error:
            print(f"The ready wheel could not be downloaded ({error}); going on without it.", flush=True)
            return
        yield wheel

    def _build(self) -> Path:
        require_compiler(self._log)
        self._cache.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "CMAKE_ARGS": shlex.join(build_flags())}
        for name in ("CFLAGS", "CXXFLAGS"):
            environment[name] = " ".join([os.environ.get(name, ""), *compiler_flags(self._machine)]).strip()
        requirement = f"llama-cpp-python=={self._version}"
        step = Step("Building llama.cpp for this processor (once, some minutes)")
        with tempfile.TemporaryDirectory(prefix="building-", dir=self._cache) as made:
            # Without pip's own cache: its key knows neither our flags nor the processor.
            status = run_logged(
                [
                    *self._pip,
                    "wheel",
                    "-v",
                    "--no-deps",
                    "--no-cache-dir",
                    "--progress-bar",
                    "raw",
                    "-w",
                    made,
                    requirement,
                ],
                self._log,
                lambda line: step.update(parse_build_line(line) or parse_pip_line(line)),
                environment,
            )
            wheels = list(Path(made).glob("*.whl"))
            if status or not wheels:
                step.failed()
                raise SetupError(_why_not_built(self._log))
            wheel = store(wheels[0], self._folder("native"))
        step.done()
        return wheel


def store(wheel: Path, folder: Path) -> Path:
    """Moves a finished wheel into its folder of the cache in one step, so that nobody finds half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    return wheel.replace(folder / wheel.name)


def _why_not_built(log: Path) -> str:
    text = log.read_text("utf-8", "replace")[-20_000:]
    if re.search(r"Could not find a version|No matching distribution|Connection|Name or service|timed out", text):
        todo = "The source could not be fetched. Check the network (or pip's configuration) and run this again."
    elif re.search(r"Killed|out of memory|cannot allocate", text, re.IGNORECASE):
        todo = "Memory ran out. Close other programs, set CMAKE_BUILD_PARALLEL_LEVEL=1 and run this again."
    elif re.search(r"No space left", text):
        todo = "The disk is full. Make room (about 1 GB) and run this again."
    elif sys.platform == "win32":
        todo = "Install Visual Studio Build Tools with 'Desktop development with C++' and run this again."
    else:
        todo = "Install a C++17 compiler (Debian: sudo apt-get install build-essential) and run this again."
    return f"llama.cpp could not be built. {todo}\n{errors_in(log)}\n    The whole log: {log}"


def fetch_text(url: str, seconds: float = ANSWER_SECONDS) -> str | None:
    """The page at `url`, or None if it does not come within `seconds`.

    On a thread of its own because looking up a name has no time limit.
    """
    pages: list[str] = []

    def fetch() -> None:
        with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=seconds) as answer:
            pages.append(answer.read(4_000_000).decode("utf-8", "replace"))

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(seconds)
    return pages[0] if pages else None


def download(link: Link, folder: Path) -> Path:
    """Fetches a wheel into `folder`, checking its hash where one is known. Raises OSError, ValueError."""
    step = Step(f"Downloading {link.name}")
    digest = hashlib.sha256()
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{link.name}.{os.getpid()}.partial"
    try:
        with urllib.request.urlopen(link.url, timeout=30) as answer, partial.open("wb") as file:
            total = int(answer.headers.get("Content-Length") or 0)
            while block := answer.read(1 << 18):
                file.write(block)
                digest.update(block)
                step.update(Progress(file.tell() / total) if total else None)
            if total and file.tell() != total:
                raise OSError(f"{link.name}: the download ended early")
        if link.sha256 and digest.hexdigest() != link.sha256:
            raise ValueError(f"{link.name}: wrong hash")
    except BaseException:
        step.failed()
        partial.unlink(missing_ok=True)
        raise
    step.done()
    return partial.replace(folder / link.name)
