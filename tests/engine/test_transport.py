"""Finding and trusting the engine: folders, key, address."""

from __future__ import annotations

import os
import stat
import struct
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from inglenook.core.errors import UserError
from inglenook.engine import protocol, transport

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


def test_who_holds_the_lock_is_waited_for_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A program that stands still while it starts the engine."""
    order = []

    def hold() -> None:
        with transport.locked(tmp_path):
            order.append("first")
            held.set()
            time.sleep(0.2)
            order.append("first is done")

    held, first = threading.Event(), threading.Thread(target=hold)
    first.start()
    held.wait()
    with transport.locked(tmp_path):
        order.append("second")
        monkeypatch.setattr(transport, "LOCK_SECONDS", 0.1)
        with pytest.raises(UserError, match="Close it"), transport.locked(tmp_path):
            order.append("never")
    first.join()
    assert order == ["first", "first is done", "second"]
    with transport.locked(tmp_path):
        pass


def test_half_a_message_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An engine that stands still just then: whoever reads would not hear of anything else."""
    listener, key = transport.listen(tmp_path), transport.read_key(tmp_path)
    transport.publish(tmp_path, str(listener.address))
    engine_ends: list[Connection] = []

    def engine() -> None:
        connection = listener.accept()
        engine_ends.append(connection)
        assert transport.admit(connection, key)
        connection.send_bytes(protocol.greeting(pid=os.getpid()))
        connection.send_bytes(b"whole")
        os.write(connection.fileno(), struct.pack("!i", 100) + b"half")

    threading.Thread(target=engine).start()
    monkeypatch.setattr(transport, "PATIENCE", 0.5)
    connection, _ = transport.connect(tmp_path)
    assert connection.recv_bytes() == b"whole"
    with pytest.raises(BlockingIOError):
        connection.recv_bytes()
    connection.close()
    engine_ends[0].close()
    listener.close()


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
