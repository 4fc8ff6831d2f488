"""The conversion job: a real child process on the real demo checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from inglenook.core.errors import UserError
from inglenook.core.inference import Cancelled
from inglenook.library.making.conversion import convert
from inglenook.library.making.demo import demo_checkpoint
from inglenook_convert.headers import check_gguf


def test_a_checkpoint_becomes_a_file_with_progress(tmp_path: Path) -> None:
    heard: list[float] = []
    convert(demo_checkpoint(), tmp_path / "out" / "model.gguf", heard.append, lambda: False)
    assert check_gguf(tmp_path / "out" / "model.gguf").architecture == "gpt-oss"
    assert heard
    assert heard == sorted(heard)
    assert 0.0 <= heard[0] <= heard[-1] <= 1.0


def test_cancelled_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        convert(demo_checkpoint(), tmp_path / "model.gguf", lambda _: None, lambda: True)
    assert not (tmp_path / "model.gguf").exists()


def test_a_refusal_gives_the_converters_reason(tmp_path: Path) -> None:
    source = tmp_path / "checkpoint"
    shutil.copytree(demo_checkpoint(), source)
    data = (source / "model.safetensors").read_bytes()
    (source / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"model\.safetensors"):
        convert(source, tmp_path / "model.gguf", lambda _: None, lambda: False)
    assert list(tmp_path.iterdir()) == [source]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not be converted"):
        convert(tmp_path, tmp_path / "model.gguf", lambda _: None, lambda: False)
