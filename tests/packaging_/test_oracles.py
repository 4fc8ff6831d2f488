from __future__ import annotations

import io
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

import oracles
from bootstrap import ROOT, llama_version


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"llama_cpp_python-{oracles.VERSION}/{name}")
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INGLENOOK_TOOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_of_the_version_that_the_program_runs_on() -> None:
    assert llama_version((ROOT / "pyproject.toml").read_text("utf-8")) == oracles.VERSION


def test_only_the_converter_is_kept(tmp_path: Path) -> None:
    at = "vendor/llama.cpp/"
    wanted = {"convert_hf_to_gguf.py": b"1", "conversion/base.py": b"2", "gguf-py/gguf/gguf.py": b"3", "LICENSE": b"4"}
    others = {"setup.py": b"", f"{at}LICENSES": b"", f"{at}conversion.py": b"", f"{at}gguf-py/tests/a.py": b""}
    source = archive(tmp_path / "a.tar.gz", {**{f"{at}{name}": data for name, data in wanted.items()}, **others})
    oracles._extract(source, tmp_path / "kept")
    kept = {path.relative_to(tmp_path / "kept").as_posix(): path for path in (tmp_path / "kept").rglob("*.*")}
    assert {name: path.read_bytes() for name, path in kept.items()} == {k: v for k, v in wanted.items() if "." in k}
    assert (tmp_path / "kept" / "LICENSE").read_bytes() == b"4"


def test_a_changed_converter_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = oracles.cache_folder()
    if not oracles.present():
        pytest.skip(f"{fetched} is missing. Run: python packaging/bootstrap.py test")
    monkeypatch.setenv("INGLENOOK_TOOL_CACHE", str(tmp_path))
    folder = oracles.cache_folder()
    assert folder.is_relative_to(tmp_path)
    assert not oracles.present()
    shutil.copytree(fetched, folder)
    assert oracles.present()
    assert oracles.fetch("no python is needed") == folder
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    assert oracles.present()
    script = folder / oracles.SCRIPT
    script.write_bytes(script.read_bytes() + b"\n")
    assert not oracles.present()


@pytest.mark.parametrize("offered", [False, True])
def test_no_archive_or_a_wrong_one(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: bool) -> None:
    (tmp_path / "links").mkdir()
    if offered:
        archive(tmp_path / "links" / f"llama_cpp_python-{oracles.VERSION}.tar.gz", {"PKG-INFO": b""})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "nul" if sys.platform == "win32" else "/dev/null")
    with pytest.raises(oracles.OracleError, match="(?i)hash" if offered else "No matching distribution"):
        oracles.fetch()
    assert list(cache.rglob("*")) == [cache / "oracles"]  # nothing unfinished is left
