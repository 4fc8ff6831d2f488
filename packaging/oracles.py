"""Fetches llama.cpp's own converter, the oracle of tests/converter/oracles.

It is in the source archive of llama-cpp-python, of the version that the program runs on. pip downloads it, so that the
user's registry and its configuration apply, and nothing is built; a few folders of Python are kept. `python
packaging/oracles.py` prints where; tests find it by themselves (`cache_folder`). Standard library only: set-up calls
this before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from o200k import cache_folder as vocabulary_folder

VERSION = "0.3.36"
ARCHIVE_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
TREE_SHA256 = "9a620948c967af94008216a4625c5916798c296d7617abe3f3ac10f0b818e6d0"
SCRIPT = "convert_hf_to_gguf.py"
_PARTS = (SCRIPT, "LICENSE", "conversion", "gguf-py/gguf")
_IN_ARCHIVE = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/"
# pip prepares the metadata of every source archive that it downloads, by running its build system, which here would
# have to be fetched with CMake. This one in its place says what pip already knows.
_BUILD_SYSTEM = f"""
import pathlib

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    made = pathlib.Path(folder, "llama_cpp_python-{VERSION}.dist-info")
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\\nName: llama_cpp_python\\nVersion: {VERSION}\\n")
    return made.name
"""


class OracleError(Exception):
    """llama.cpp's converter could not be had; says why."""


def cache_folder() -> Path:
    """Where this user keeps the converter, beside what else the set-up caches."""
    return vocabulary_folder().parent / "oracles" / f"llama.cpp-{VERSION}"


def present() -> bool:
    """Whether the converter is there, whole and unchanged."""
    folder = cache_folder()
    return folder.is_dir() and _tree_hash(folder) == TREE_SHA256


def fetch(python: str = sys.executable) -> Path:
    """The folder with the verified converter, downloaded with `python -m pip` where it is not there yet.

    Raises `OracleError` if it cannot be downloaded or is not the right one.
    """
    folder = cache_folder()
    if present():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        temporary = Path(name)
        _extract(_download(python, temporary), temporary / "kept")
        if (found := _tree_hash(temporary / "kept")) != TREE_SHA256:
            raise OracleError(f"The archive of llama-cpp-python {VERSION} does not hold the right files: {found}")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            (temporary / "kept").replace(folder)
        except OSError:  # another set-up was faster
            if not present():
                raise
    return folder


def _download(python: str, folder: Path) -> Path:
    package = folder / "build_system" / "scikit_build_core"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "build.py").write_text(_BUILD_SYSTEM, "utf-8")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"llama-cpp-python=={VERSION} --hash=sha256:{ARCHIVE_SHA256}\n", "utf-8")
    command = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    command += ["--no-binary=:all:", "--no-build-isolation", "--no-cache-dir", "--require-hashes"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode != 0 or not archives:
        raise OracleError(f"llama-cpp-python {VERSION} could not be downloaded:\n{done.stderr.strip()}")
    return archives[0]


def _extract(archive: Path, folder: Path) -> None:
    """Writes the regular files of `_PARTS`; pip has checked the archive's hash, so that its names can be trusted."""
    with tarfile.open(archive) as members:
        for member in members:
            name = member.name.removeprefix(_IN_ARCHIVE)
            if name == member.name or not any(name == part or name.startswith(f"{part}/") for part in _PARTS):
                continue
            if (source := members.extractfile(member)) is not None:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read())


def _tree_hash(folder: Path) -> str:
    """Of names and contents of all files but compiled Python."""
    digest = hashlib.sha256()
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name, path in sorted(files.items()):
        if "__pycache__" not in name:
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    try:
        print(fetch())
    except OracleError as problem:
        sys.exit(f"llama.cpp's converter is missing. {problem}")
