"""Reads the bytes of tensors, from several threads at once. Standard library only."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path
from threading import Lock
from types import TracebackType

from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import HeaderError, StoredTensor


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
