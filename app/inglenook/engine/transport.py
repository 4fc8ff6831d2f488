"""How clients and the engine process find and trust each other: folder, key, address, lock, handshake.

A socket has a name of its own, and a file tells the current one: so an engine that leaves can never remove the socket
of the one that follows it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Client, Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.engine import protocol

_WINDOWS = sys.platform == "win32"
_FAMILY = "AF_PIPE" if _WINDOWS else "AF_UNIX"
_LONGEST_FOLDER = 80  # bytes: a Unix socket's path may have 103 on macOS
LOCK_SECONDS = 90.0  # that another program may take to start the engine; see `launch.START_SECONDS`
PATIENCE = 10.0  # seconds that a living process may take for a step of the handshake


class NoEngineError(Exception):
    """Nobody answers at the published address, or it is just leaving."""


class SilentEngineError(Exception):
    """The process at the address took the connection and says nothing; `pid` is it."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.pid = pid


def private_folder(runtime: Path) -> Path:
    """`runtime`, or a short one of this user alone where its path is too long for a socket. Raises `UserError`."""
    folder = runtime
    if not _WINDOWS and len(os.fsencode(runtime.absolute())) > _LONGEST_FOLDER:
        key = hashlib.sha256(os.fsencode(runtime.absolute())).hexdigest()[:8]
        name = f"inglenook-{os.getuid()}-{key}"
        folder = Path(tempfile.gettempdir(), name)
        if len(os.fsencode(folder)) > _LONGEST_FOLDER:
            folder = Path("/tmp", name)  # noqa: S108 - ownership and mode are checked below
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _WINDOWS:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise UserError(N_("The folder {folder} belongs to somebody else. Remove it and try again."), folder=folder)
        if stat.S_IMODE(found.st_mode) & 0o077:
            folder.chmod(0o700)
    return folder


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock under which an engine is started; waits for whoever has it. Raises `UserError` after a while."""
    with (folder / "lock").open("ab") as file:
        give_up = time.monotonic() + LOCK_SECONDS
        while not _lock(file.fileno()):
            if time.monotonic() > give_up:
                raise UserError(
                    N_("Another Inglenook is starting the engine and does not get on. Close it, then try again.")
                )
            time.sleep(0.02)
        yield  # closing the file releases the lock, as does any death of the process


def _lock(descriptor: int) -> bool:
    """False if somebody else has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # as Unix and Windows say it
        return False
    return True


def read_key(folder: Path) -> bytes:
    """The secret that both sides prove to know; made by the first who asks, under the lock."""
    file = folder / "key"
    with contextlib.suppress(FileNotFoundError):
        if key := file.read_bytes():
            return key
    key = secrets.token_bytes(32)
    new = file.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(key)
    new.replace(file)
    return key


def listen(folder: Path) -> Listener:
    """A listener at a new address. Clients are let in by `admit`, not by `accept`, which would wait for a slow one."""
    name = f"e{os.getpid():x}-{secrets.token_hex(2)}"
    address = rf"\\.\pipe\inglenook-{secrets.token_hex(8)}" if _WINDOWS else str(folder / name)
    return Listener(address, _FAMILY, backlog=16)


def publish(folder: Path, address: str) -> None:
    """Tells clients where this process listens."""
    new = folder / f"address.{os.getpid()}"
    new.write_text(json.dumps({"address": address, "pid": os.getpid()}), "utf-8")
    new.replace(folder / "address")


def published(folder: Path) -> tuple[str, int] | None:
    """Address and process that were last published."""
    try:
        found = json.loads((folder / "address").read_text("utf-8"))
        return str(found["address"]), int(found["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget(folder: Path) -> None:
    """Removes what dead engines left. Under the lock, when nobody answers: one that leaves needs its socket no more."""
    for left in (folder / "address", *folder.glob("address.*"), *folder.glob("e*-*")):
        left.unlink(missing_ok=True)


def connect(folder: Path) -> tuple[Connection, dict[str, Any]]:
    """A connection to the running engine, and its greeting.

    Raises `NoEngineError`, `SilentEngineError`, and `UserError` if it is another version.
    """
    found = published(folder)
    if found is None:
        raise NoEngineError
    address, pid = found
    try:
        connection: Connection = Client(address, _FAMILY)
    except OSError as error:
        raise NoEngineError from error
    try:
        key, patient = read_key(folder), _Patient(connection, pid)
        answer_challenge(patient, key)  # type: ignore[arg-type] # it only sends and receives
        deliver_challenge(patient, key)  # type: ignore[arg-type]
        connection.send_bytes(protocol.greeting(pid=os.getpid()))
        greeting = protocol.read_greeting(patient.recv_bytes())
    except (OSError, EOFError) as error:
        connection.close()
        raise NoEngineError from error
    except BaseException:
        connection.close()
        raise
    if greeting["version"] != protocol.VERSION:
        connection.close()
        raise UserError(N_("Another version of Inglenook is running. Close it, then try again."))
    if not _WINDOWS:  # there a message comes whole or not at all
        _limit_reads(connection)
    return connection, greeting


def _limit_reads(connection: Connection) -> None:
    """What is read after a message has begun raises OSError after `PATIENCE`: its sender may stand still since."""
    with socket.socket(socket.AF_UNIX, fileno=os.dup(connection.fileno())) as end:
        whole, part = divmod(PATIENCE, 1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(whole), int(part * 1e6)))


class _Patient:
    """A connection whose other end, the process `pid`, may be silent for `PATIENCE` at every step, and no longer."""

    def __init__(self, connection: Connection, pid: int) -> None:
        self._connection, self._pid = connection, pid
        self.send_bytes = connection.send_bytes

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """As a connection's. Raises `SilentEngineError`, OSError, EOFError."""
        if not self._connection.poll(PATIENCE):
            raise SilentEngineError(self._pid)
        return self._connection.recv_bytes(maxlength)


def admit(connection: Connection, key: bytes) -> bool:
    """The engine's side of the handshake up to the client's greeting; whether its version is ours.

    Raises OSError, EOFError or AuthenticationError.
    """
    deliver_challenge(connection, key)
    answer_challenge(connection, key)
    return bool(protocol.read_greeting(connection.recv_bytes())["version"] == protocol.VERSION)
