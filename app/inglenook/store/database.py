"""Opening the database of conversations: pragmas, permissions, and errors in words that say what to do.

Only `store` knows SQLite. Everything here is about the file as a whole; tables are in `migrations`, queries in
`repository`.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import sqlite3
import time
from pathlib import Path

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.i18n import N_
from inglenook.store.migrations import MIGRATIONS, migrate

BUSY_SECONDS = 5.0
"""How long a statement waits for another program's transaction; ours take milliseconds."""

_LITTLE_SPACE = 1 << 20  # bytes; below this an I/O error is taken for a full disk


class DamagedError(UserError):
    """The file is not a (whole) database."""


def user_error(error: Exception, file: Path) -> UserError | None:
    """What `error` means to the user, or None if it tells of a bug of ours.

    Where SQLite finds no memory, Python raises `MemoryError`.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
    if code == sqlite3.SQLITE_IOERR and _free_bytes(file) < _LITTLE_SPACE:
        code = sqlite3.SQLITE_FULL
    if code == sqlite3.SQLITE_FULL:
        return UserError(
            N_(
                "The disk is full: conversations in {folder} cannot be saved. Free some space; what is on the "
                "screen is saved as soon as there is room, so leave the program open until then."
            ),
            folder=file.parent,
        )
    if isinstance(error, MemoryError):
        return UserError(
            N_(
                "Memory ran out, so conversations cannot be saved now. Close other programs; what is on the screen is "
                "saved as soon as there is room, so leave the program open until then."
            )
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return UserError(
            N_(
                "Another program keeps {file} locked, so conversations cannot be saved. Close other windows of "
                "Inglenook, and programs that copy or back up this file."
            ),
            file=file,
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH):
        return UserError(
            N_("{file} cannot be opened for writing. Check that the folder exists and belongs to you."), file=file
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DamagedError(
            N_(
                "The file of conversations, {file}, is damaged. Restart Inglenook: it will put the file aside "
                "(without deleting it) and begin a new one."
            ),
            file=file,
        )
    if code == sqlite3.SQLITE_IOERR:
        return UserError(
            N_("{file} could not be read or written: {reason}. Check the disk and its connection."),
            file=file,
            reason=error,
        )
    return None


def cannot_open(error: OSError, file: Path) -> UserError:
    """What it means that the system refuses `file`, or one beside it."""
    return UserError(
        N_("{file} cannot be opened ({reason}). Check that the folder exists, belongs to you, and is on a local disk."),
        file=file,
        reason=error.strerror,
    )


def open_database(file: Path) -> tuple[sqlite3.Connection, list[ErrorInfo]]:
    """Opens or creates the database, brings it to the current version, and tells what the user should know.

    A damaged file is renamed, never deleted; the second result then says so. Raises `UserError` if it is locked,
    cannot be read, or was made by a newer program.
    """
    try:
        return _open_checked(file), []
    except DamagedError:
        notice = _set_aside(file)
        return _open_checked(file), [notice]


def connect(file: Path) -> sqlite3.Connection:
    """A further connection to an open database; the caller takes care that one thread uses it at a time."""
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        # WAL: readers never wait for the writer. NORMAL: a commit is not fsynced, so a power cut may take the last
        # commits (never more, and nothing is corrupted), while a killed program loses none: the system has the pages.
        # FULL would cost an fsync five times a second while an answer streams.
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # a deleted conversation is not to be found in free pages
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait here if two programs create the file at once: it says at once that it is locked."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
        time.sleep(0.01)


def _open_checked(file: Path) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        _make_private(file)
        connection = connect(file)
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise UserError(
                N_(
                    "{file} was written by a newer version of Inglenook ({theirs}; this one knows {ours}). "
                    "Update Inglenook to open it."
                ),
                file=file,
                theirs=version,
                ours=len(MIGRATIONS),
            )
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise DamagedError(N_("{file} is damaged: {found}"), file=file, found=found)
        migrate(connection)
    except sqlite3.Error as error:
        _close(connection)
        meaning = user_error(error, file)
        if meaning is None:
            raise
        raise meaning from error
    except OSError as error:
        raise cannot_open(error, file) from error
    except UserError:
        _close(connection)
        raise
    return connection


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        with contextlib.suppress(sqlite3.Error):
            connection.close()


def _make_private(file: Path) -> None:
    """Creates the file readable by its owner only; SQLite gives its -wal and -shm the same mode."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    if file.stat().st_mode & 0o077:
        file.chmod(0o600)


def _set_aside(file: Path) -> ErrorInfo:
    stamp = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    aside = file.with_name(f"{file.stem}-damaged-{stamp}{file.suffix}")
    number = 1
    while aside.exists():
        number += 1
        aside = file.with_name(f"{file.stem}-damaged-{stamp}-{number}{file.suffix}")
    try:
        for tail in ("-wal", "-shm"):  # they belong to it: its last pages may be in there
            with contextlib.suppress(FileNotFoundError):
                file.with_name(file.name + tail).rename(aside.with_name(aside.name + tail))
        file.rename(aside)
    except OSError as error:
        raise UserError(
            N_("{file} is damaged and cannot be put aside ({reason}). Close other programs that use it."),
            file=file,
            reason=error.strerror,
        ) from error
    return ErrorInfo(
        N_(
            "The file of conversations was damaged. It is kept as {aside}, and a new one was begun; "
            "a backup of {file} can be put in its place while Inglenook is closed."
        ),
        (("aside", str(aside)), ("file", str(file))),
    )


def _free_bytes(file: Path) -> int:
    try:
        return shutil.disk_usage(file.parent).free
    except OSError:
        return _LITTLE_SPACE
