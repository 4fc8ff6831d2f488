from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import setup_llama
from setup_console import SetupError
from setup_llama import (
    FLAGS,
    Link,
    Machine,
    Wheels,
    build_flags,
    cache_key,
    choose,
    compiler_flags,
    download,
    fetch_text,
    gpu_variant,
    parse_cuda_version,
    parse_index,
    store,
    this_machine,
)

VERSION = "0.3.36"
LINUX = Machine("linux", "x86_64", "glibc 2.36 avx2 fma sse2")
BASE = "https://example.org/whl/cpu/llama-cpp-python/"
PAGE = """<html><body>
<a href="https://example.org/d/v0.3.36/llama_cpp_python-0.3.36-py3-none-macosx_11_0_arm64.whl">a</a>
<a href="https://example.org/d/v0.3.36/llama_cpp_python-0.3.36-py3-none-win_amd64.whl">b</a>
<a href="https://example.org/d/v0.3.36/llama_cpp_python-0.3.36-py3-none-win32.whl">b</a>
<a href='../files/llama_cpp_python-0.3.36-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl#sha256=ab12'>c</a>
<a href="https://example.org/d/v0.3.36/llama_cpp_python-0.3.36-py3-none-linux_aarch64.whl">d</a>
<a href="https://example.org/d/v0.3.35/llama_cpp_python-0.3.35-py3-none-linux_x86_64.whl">e</a>
<a href="https://example.org/d/v0.3.36/llama_cpp_python-0.3.36.tar.gz">f</a>
</body></html>"""


def test_index_page() -> None:
    links = parse_index(PAGE, BASE)
    assert len(links) == 6
    assert links[3] == Link(
        "llama_cpp_python-0.3.36-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "https://example.org/whl/cpu/files/"
        "llama_cpp_python-0.3.36-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "ab12",
    )


@pytest.mark.parametrize(
    ("machine", "end"),
    [
        (LINUX, "manylinux_2_17_x86_64.whl"),
        (Machine("linux", "arm64"), "linux_aarch64.whl"),
        (Machine("darwin", "arm64"), "macosx_11_0_arm64.whl"),
        (Machine("win32", "x86_64"), "win_amd64.whl"),
    ],
)
def test_the_wheel_of_this_version_and_machine(machine: Machine, end: str) -> None:
    link = choose(parse_index(PAGE, BASE), VERSION, machine)
    assert link is not None
    assert link.name.startswith("llama_cpp_python-0.3.36-")
    assert link.name.endswith(end)


@pytest.mark.parametrize(
    "machine", [Machine("darwin", "x86_64"), Machine("win32", "arm64"), Machine("freebsd", "x86_64")]
)
def test_no_wheel_for_other_machines(machine: Machine) -> None:
    assert choose(parse_index(PAGE, BASE), VERSION, machine) is None
    assert choose(parse_index(PAGE, BASE), "0.3.34", LINUX) is None


@pytest.mark.parametrize(
    ("machine", "variant"),
    [
        (LINUX, None),
        (Machine("darwin", "arm64"), "metal"),
        (Machine("darwin", "x86_64"), None),
        (Machine("linux", "x86_64", cuda=(12, 4)), "cu124"),
        (Machine("win32", "x86_64", cuda=(12, 9)), "cu125"),
        (Machine("linux", "x86_64", cuda=(13, 1)), "cu130"),
        (Machine("linux", "x86_64", cuda=(11, 4)), None),  # older than any wheel
        (Machine("linux", "arm64", cuda=(13, 0)), None),
    ],
)
def test_gpu_variant(machine: Machine, variant: str | None) -> None:
    assert gpu_variant(machine) == variant


def test_cuda_version_of_the_driver() -> None:
    report = "| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15    CUDA Version: 12.4     |"
    assert parse_cuda_version(report) == (12, 4)
    assert parse_cuda_version("NVIDIA-SMI has failed") is None


def test_key_of_a_build_names_flags_and_processor() -> None:
    key = cache_key(VERSION, "native", LINUX, FLAGS)
    assert key.startswith("0.3.36-native-linux_x86_64-")
    assert key == cache_key(VERSION, "native", LINUX, FLAGS)
    others = {
        cache_key("0.3.37", "native", LINUX, FLAGS),
        cache_key(VERSION, "native", LINUX, (*FLAGS, "-DGGML_CUDA=ON")),
        cache_key(VERSION, "native", Machine("linux", "x86_64", LINUX.features + " avx512f"), FLAGS),
        cache_key(VERSION, "native", Machine("linux", "arm64", LINUX.features), FLAGS),
    }
    assert len(others) == 4
    assert key not in others


def test_key_of_a_ready_wheel_is_the_same_on_every_processor() -> None:
    assert cache_key(VERSION, "cpu", LINUX, FLAGS) == "0.3.36-cpu-linux_x86_64"
    assert cache_key(VERSION, "cpu", Machine("linux", "x86_64", "other")) == "0.3.36-cpu-linux_x86_64"


def test_no_amx_in_a_build() -> None:
    assert compiler_flags(LINUX) == ()
    assert compiler_flags(Machine("linux", "x86_64", "glibc 2.36 amx_int8 amx_tile avx2")) == ("-mno-amx-int8",)


def test_flags_of_the_user_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON '-DCMAKE_C_COMPILER=a b'")
    assert build_flags() == (*FLAGS, "-DGGML_CUDA=ON", "-DCMAKE_C_COMPILER=a b")


def test_ready_wheels_need_avx2() -> None:
    assert LINUX.ready_cpu_wheel_runs
    assert not Machine("linux", "x86_64", "glibc 2.36 sse2 avx").ready_cpu_wheel_runs
    assert Machine("linux", "arm64", "glibc 2.36 asimd").ready_cpu_wheel_runs
    assert Machine("win32", "x86_64", "Intel64 Family 6").ready_cpu_wheel_runs  # not known: try it


def test_this_machine_is_described() -> None:
    machine = this_machine(ask_gpu=False)
    assert machine.system
    assert machine.arch
    assert machine.features
    assert machine.cuda is None
    assert machine == this_machine(ask_gpu=False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server of the folder tmp_path/site."""
    site = tmp_path / "site"
    site.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(site))  # type: ignore[arg-type]  # as the server passes them

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name in the base class
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


def test_download_checks_the_hash(server: str, tmp_path: Path) -> None:
    (tmp_path / "site" / "a.whl").write_bytes(b"wheel")
    right = Link("a.whl", f"{server}/a.whl", hashlib.sha256(b"wheel").hexdigest())
    assert download(right, tmp_path / "cache").read_bytes() == b"wheel"
    with pytest.raises(ValueError, match="wrong hash"):
        download(Link("b.whl", right.url, "0" * 64), tmp_path / "cache")
    with pytest.raises(OSError, match="404"):
        download(Link("c.whl", f"{server}/c.whl"), tmp_path / "cache")
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["a.whl"]  # nothing half-done is left


def test_an_index_that_does_not_answer(server: str, tmp_path: Path) -> None:
    (tmp_path / "site" / "page.html").write_text(PAGE)
    assert fetch_text(f"{server}/page.html") == PAGE
    assert fetch_text(f"{server}/none.html") is None
    assert fetch_text("http://127.0.0.1:9/", seconds=1) is None


class TestOrderOfCandidates:
    @pytest.fixture(autouse=True)
    def cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: str) -> Path:
        monkeypatch.setenv("INGLENOOK_TOOL_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("CMAKE_ARGS", raising=False)
        monkeypatch.setattr(setup_llama, "INDEX", f"{server}/whl")
        monkeypatch.setattr(setup_llama, "require_compiler", self._no_compiler)
        return tmp_path / "cache" / "wheels"

    @staticmethod
    def _no_compiler(log: Path) -> None:
        raise SetupError("reached the build")

    @staticmethod
    def _offer(tmp_path: Path, variant: str) -> None:
        folder = tmp_path / "site" / "whl" / variant / "llama-cpp-python"
        folder.mkdir(parents=True)
        name = "llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"
        (folder / "index.html").write_text(f'<a href="{name}">{name}</a>')
        (folder / name).write_bytes(variant.encode())

    @staticmethod
    def _keep(cache: Path, tmp_path: Path, variant: str) -> Path:
        file = tmp_path / "llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"
        file.write_text(variant)
        return store(file, cache / cache_key(VERSION, variant, LINUX, FLAGS))

    def _candidates(self, machine: Machine, tmp_path: Path) -> Iterator[Path]:
        return Wheels(VERSION, machine, ["no-pip"], tmp_path / "log").candidates()

    def test_what_was_built_before_comes_first(self, cache: Path, tmp_path: Path) -> None:
        self._offer(tmp_path, "cpu")
        kept = self._keep(cache, tmp_path, "native")
        assert next(self._candidates(LINUX, tmp_path)) == kept

    def test_a_ready_wheel_before_a_build_and_kept(self, cache: Path, tmp_path: Path) -> None:
        self._offer(tmp_path, "cpu")
        first = next(self._candidates(LINUX, tmp_path))
        assert first == cache / "0.3.36-cpu-linux_x86_64" / "llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"
        assert first.read_text() == "cpu"
        (tmp_path / "site" / "whl" / "cpu" / "llama-cpp-python" / first.name).unlink()
        assert next(self._candidates(LINUX, tmp_path)) == first

    def test_a_gpu_wheel_that_does_not_load_gives_way(self, cache: Path, tmp_path: Path) -> None:
        self._offer(tmp_path, "cu124")
        self._offer(tmp_path, "cpu")
        machine = Machine(LINUX.system, LINUX.arch, LINUX.features, (12, 4))
        candidates = self._candidates(machine, tmp_path)
        first = next(candidates)
        assert first.read_text() == "cu124"
        Wheels.discard(first)
        assert not first.exists()
        assert next(candidates).read_text() == "cpu"
        with pytest.raises(SetupError, match="reached the build"):
            next(candidates)

    def test_an_old_processor_gets_a_build(self, tmp_path: Path) -> None:
        self._offer(tmp_path, "cpu")
        with pytest.raises(SetupError, match="reached the build"):
            next(self._candidates(Machine("linux", "x86_64", "glibc 2.36 sse2"), tmp_path))

    def test_no_index(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SetupError, match="reached the build"):
            next(self._candidates(LINUX, tmp_path))
        assert "does not answer" in capsys.readouterr().out

    def test_an_index_without_our_version(self, tmp_path: Path) -> None:
        folder = tmp_path / "site" / "whl" / "cpu" / "llama-cpp-python"
        folder.mkdir(parents=True)
        (folder / "index.html").write_text("<p>nothing</p>")
        with pytest.raises(SetupError, match="reached the build"):
            next(self._candidates(LINUX, tmp_path))
