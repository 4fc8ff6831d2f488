"""Fetches the vocabulary o200k_base, which openai-harmony, the oracle of the tests, needs and does not bring along.

It is OpenAI's file, unchanged, from a wheel in which it is shipped; the checksum says so. The wheel is only unpacked,
never installed or run. `python packaging/o200k.py` prints the folder; tests find it by themselves (`cache_folder`).
Standard library only: set-up calls this before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

FILE = "o200k_base.tiktoken"
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
SIZE = 3_613_922  # bytes
WHEEL = "litellm==1.83.0"  # 15 MB, for any Python; the smallest package known to hold the file
MEMBER = "litellm/litellm_core_utils/tokenizers/fb374d419588a4632f3f557e76b4b70aebbca790"


class VocabularyError(Exception):
    """The vocabulary could not be had; says why."""


def cache_folder() -> Path:
    """Where this user keeps it: `o200k` in $INGLENOOK_TOOL_CACHE, or in the system's cache folder for Inglenook."""
    if chosen := os.environ.get("INGLENOOK_TOOL_CACHE"):
        return Path(chosen).expanduser().absolute() / "o200k"
    home = Path.home()
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "inglenook" / "o200k"


def fetch(python: str = sys.executable) -> Path:
    """The folder with the verified file, downloaded with `python -m pip` where it is not there yet.

    Raises `VocabularyError` if it cannot be downloaded or is not the right one.
    """
    folder = cache_folder()
    target = folder / FILE
    if target.is_file() and target.stat().st_size == SIZE and _is_right(target.read_bytes()):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        data = _download(python, Path(temporary))
    if not _is_right(data):
        raise VocabularyError(f"{MEMBER} of {WHEEL} is not {FILE}: its checksum differs")
    # The process id keeps two set-ups at once out of each other's way; each replaces the file whole.
    partial = folder / f"{FILE}.{os.getpid()}.partial"
    partial.write_bytes(data)
    partial.replace(target)
    return folder


def _download(python: str, folder: Path) -> bytes:
    command = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--no-cache-dir", "--dest", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise VocabularyError(f"{WHEEL} could not be downloaded:\n{done.stderr.strip()}")
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            return wheel.read(MEMBER)
    except (KeyError, zipfile.BadZipFile) as error:
        raise VocabularyError(f"{WHEEL} does not hold {MEMBER}: {error}") from error


def _is_right(data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == SHA256


if __name__ == "__main__":
    try:
        print(fetch())
    except VocabularyError as problem:
        sys.exit(f"The vocabulary of the tests is missing. {problem}")
