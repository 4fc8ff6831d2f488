"""Reads the bytes of tensors, from several threads at once, and ahead of time. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType

from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import HeaderError, StoredTensor

_AHEAD = 1 << 30  # bytes: what is read much later has left the system's memory again on a small machine
_STEP = 8 << 20  # bytes


class ReadAhead:
    """A context manager: within, a thread reads these tensors, so that the system has them in memory when it ends.

    What cannot be read is left to who needs it. Each tensor is read once.
    """

    def __init__(self, tensors: Iterable[StoredTensor]) -> None:
        self._tensors = tensors
        self._ended = Event()
        self._thread = Thread(target=self._run, name="read-ahead", daemon=True)

    def __enter__(self) -> ReadAhead:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        buffer, left = memoryview(bytearray(_STEP)), _AHEAD
        seen: set[tuple[Path, int]] = set()
        with suppress(ConvertError, HeaderError), ShardReader() as reader:
            for tensor in self._tensors:
                place = (tensor.file, tensor.offset)
                for start in range(0, 0 if place in seen else tensor.nbytes, _STEP):
                    if self._ended.is_set() or left <= 0:
                        return
                    count = min(_STEP, tensor.nbytes - start)
                    reader.read_into(tensor, start, buffer[:count])
                    left -= count
                seen.add(place)


class ShardReader:
    """Keeps the files open that it has read from. A context manager; `read_into` may be called from any thread."""

    def __init__(self) -> None:
        self._files: dict[Path, FileIO] = {}
        self._lock = Lock()

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files.values():
            file.close()

    def read_into(self, tensor: StoredTensor, start: int, buffer: memoryview) -> None:
        """Fills `buffer` with the tensor's bytes from `start` on. Raises `ConvertError` if the file is too short."""
        at = tensor.offset + start
        try:
            file = self._open(tensor.file)
            while buffer:
                count = self._read(file, at, buffer)
                if not count:
                    raise HeaderError(f"{tensor.file}: the file ends inside tensor {tensor.name!r}. Get it again.")
                buffer = buffer[count:]
                at += count
        except OSError as error:
            reason = error.strerror or error
            raise ConvertError(f"{tensor.file}: tensor {tensor.name!r} cannot be read: {reason}.") from None

    def _open(self, path: Path) -> FileIO:
        with self._lock:
            file = self._files.get(path)
            if file is None:
                # Unbuffered: pieces are large, and go straight to the caller's memory.
                file = self._files[path] = path.open("rb", buffering=0)
            return file

    def _read(self, file: FileIO, at: int, buffer: memoryview) -> int:
        if hasattr(os, "preadv"):
            count: int = os.preadv(file.fileno(), [buffer], at)
            return count
        with self._lock:  # Windows: place and read are two steps
            file.seek(at)
            return file.readinto(buffer)
