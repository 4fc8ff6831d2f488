"""What the network was used for: one JSON line when a request goes out, more as bytes arrive. Bounded in size.

The line is on disk before the connection is opened, so that a program that is killed has hidden nothing. When the file
has grown too long, its older half becomes one line for each host and purpose, with the number of requests and bytes:
the sums stay true for ever. Several programs write to one file, under a lock.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inglenook.core.conversation import new_id
from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.locks import FileLock
from inglenook.library.remote.room import DiskFull, is_full

log = logging.getLogger(__name__)

MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """One request, or the sum of `count` older ones between `time` and `until` (seconds since 1970).

    `received` and `sent` are bytes of bodies; `status` is the HTTP status, or 0 where none came (yet). `purpose` is a
    key of `network.PURPOSES`. `id` is "" for a sum.
    """

    id: str
    time: float
    host: str
    purpose: str
    received: int = 0
    sent: int = 0
    status: int = 0
    count: int = 1
    until: float = 0.0


class Traffic:
    """The log of requests in `file`."""

    def __init__(self, file: Path, max_bytes: int = MAX_BYTES) -> None:
        self._file = file
        self._lock_file = file.with_suffix(".lock")
        self._max_bytes = max_bytes

    def begin(self, host: str, purpose: str, sent: int = 0) -> str:
        """Records a request that is about to go out, and returns its id. `UserError` if that cannot be written."""
        request = Request(new_id(), time.time(), host, purpose, sent=sent)
        line = {"id": request.id, "time": round(request.time, 3), "host": host, "purpose": purpose, "sent": sent}
        try:
            self._append(line)
        except OSError as error:
            said = UserError(
                N_(
                    "The list of network requests in {file} cannot be written: {reason}. "
                    "Nothing is sent that the list does not show. Make room there and try again."
                ),
                file=self._file,
                reason=error.strerror or error,
            )
            if is_full(error):  # a download waits for room
                raise DiskFull(self._file.parent, 0, refused=True, text=said.info) from error
            raise said from error
        return request.id

    def update(self, id_: str, received: int, status: int) -> None:
        """Records what has come so far of the request `id_`. A failure is logged: the request itself is listed."""
        try:
            self._append({"id": id_, "received": received, "status": status})
        except OSError as error:
            log.warning("the list of network requests could not be written: %s", error)

    def requests(self) -> list[Request]:
        """All of them, oldest first. Lines that are damaged (a crash of the machine) are left out."""
        if not self._file.exists():
            return []
        with FileLock(self._lock_file):
            return self._load()

    def _load(self) -> list[Request]:
        return _read(self._file.read_text("utf-8", errors="replace").splitlines())

    def _append(self, line: dict[str, Any]) -> None:
        data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        with FileLock(self._lock_file):
            with os.fdopen(os.open(self._file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "a+b") as f:
                size = f.seek(0, os.SEEK_END)
                if size:
                    f.seek(size - 1)
                    if f.read(1) != b"\n":
                        data = b"\n" + data  # the line before was cut by a full disk or a crash
                f.write(data)
            if size > self._max_bytes:
                self._compact()

    def _compact(self) -> None:
        """Replaces the file by one of at most half the size (if hosts and purposes are few, as they are)."""
        requests = self._load()
        kept: list[Request] = []
        room = self._max_bytes // 2
        while requests and requests[-1].id and room > 0:
            kept.append(requests.pop())
            room -= len(_line(kept[-1]))
        lines = [_line(r) for r in [*_sums(requests), *reversed(kept)]]
        temporary = self._file.with_suffix(".tmp")
        temporary.write_bytes(b"".join(lines))
        temporary.chmod(0o600)
        temporary.replace(self._file)


def _line(request: Request) -> bytes:
    names = ("id", "time", "host", "purpose", "received", "sent", "status", "count", "until")
    return json.dumps({name: getattr(request, name) for name in names}, ensure_ascii=False).encode() + b"\n"


def _read(lines: Iterable[str]) -> list[Request]:
    found: dict[str, Request] = {}
    for number, text in enumerate(lines):
        try:
            line = json.loads(text)
            key = line["id"] or f"sum {number}"
            if "host" in line:
                found[key] = Request(**line)
            elif key in found:
                found[key] = replace(found[key], received=int(line["received"]), status=int(line["status"]))
        except (ValueError, KeyError, TypeError):
            continue
    return list(found.values())


def _sums(requests: Iterable[Request]) -> list[Request]:
    """One line for each host and purpose."""
    sums: dict[tuple[str, str], Request] = {}
    for one in requests:
        key = (one.host, one.purpose)
        so_far = sums.get(key, replace(one, id="", received=0, sent=0, status=0, count=0, until=one.time))
        sums[key] = replace(
            so_far,
            received=so_far.received + one.received,
            sent=so_far.sent + one.sent,
            count=so_far.count + one.count,
            time=min(so_far.time, one.time),
            until=max(so_far.until, one.until, one.time),
        )
    return sorted(sums.values(), key=lambda s: s.time)
