"""Finding and trusting the engine: folders, key, address."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from inglenook.core.errors import UserError
from inglenook.engine import transport

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes of Unix")


def test_folder_is_made_for_the_user_alone(tmp_path: Path):
    folder = transport.private_folder(tmp_path / "a" / "run")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_open_folder_is_closed_to_others(tmp_path: Path):
    (tmp_path / "run").mkdir(mode=0o755)
    (tmp_path / "run").chmod(0o777)
    assert stat.S_IMODE(transport.private_folder(tmp_path / "run").stat().st_mode) == 0o700


def test_long_path_gets_a_short_folder_of_its_own(tmp_path: Path):
    deep = tmp_path.joinpath(*["a folder with a long name"] * 5)
    folder = transport.private_folder(deep)
    other = transport.private_folder(deep / "other")
    try:
        assert len(os.fsencode(folder)) <= 80
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder == transport.private_folder(deep) != other
        transport.listen(folder).close()  # the socket's path is short enough
    finally:
        folder.rmdir()
        other.rmdir()


def test_link_in_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "real")
    with pytest.raises(UserError):
        transport.private_folder(tmp_path / "run")


@pytest.mark.skipif(os.geteuid() != 0 if hasattr(os, "geteuid") else True, reason="only root can give a folder away")
def test_folder_of_somebody_else_is_refused(tmp_path: Path):
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 12345, 12345)
    with pytest.raises(UserError):
        transport.private_folder(tmp_path / "run")


def test_key_is_kept_and_for_the_user_alone(tmp_path: Path):
    key = transport.read_key(tmp_path)
    assert len(key) == 32
    assert transport.read_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_address_of_a_dead_engine(tmp_path: Path):
    with pytest.raises(transport.NoEngineError):
        transport.connect(tmp_path)
    listener = transport.listen(tmp_path)
    transport.publish(tmp_path, str(listener.address))
    found = transport.published(tmp_path)
    assert found == (listener.address, os.getpid())
    listener.close()
    with pytest.raises(transport.NoEngineError):
        transport.connect(tmp_path)
    (tmp_path / "e123-abcd").touch()  # of one that was killed before it told its address
    transport.read_key(tmp_path)
    transport.forget(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["key"]
    assert transport.published(tmp_path) is None


@pytest.mark.parametrize("content", ["", "no JSON", "[]", '{"address": "x"}', "null"])
def test_damaged_address(tmp_path: Path, content: str):
    (tmp_path / "address").write_text(content)
    assert transport.published(tmp_path) is None
