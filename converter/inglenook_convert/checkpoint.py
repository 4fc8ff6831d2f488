"""A checkpoint folder: which safetensors files it has, their tensors by name, and its JSON files.

Only headers and small files are read here; `ShardReader` reads tensor bytes. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import HeaderError, StoredTensor, file_size, read_safetensors

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_JSON_LIMIT = 256 << 20  # bytes; the tokenizer.json of gpt-oss has 28 MB


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The folder, its tensors by name (from all shards), and config.json's object."""

    folder: Path
    tensors: Mapping[str, StoredTensor]
    config: Mapping[str, Any]

    def text(self, name: str) -> str | None:
        """The text of the file `name` in the folder; None if there is none. Raises `ConvertError`."""
        path = self.folder / name
        if not path.exists():
            return None
        if file_size(path) > _JSON_LIMIT:
            raise ConvertError(f"{path} is too large to be part of a checkpoint.")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ConvertError(f"{path} is not UTF-8 text.") from None

    def json(self, name: str) -> dict[str, Any] | None:
        """The JSON object in the file `name`; None if there is no such file. Raises `ConvertError`."""
        text = self.text(name)
        return None if text is None else _json_object(self.folder / name, text)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Reads the headers of the checkpoint in `folder`. Raises `ConvertError` that names the file at fault."""
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise ConvertError(f"{folder} {problem}. Give the folder that has config.json and the safetensors files.")
    bare = Checkpoint(folder, {}, {})
    config = bare.json("config.json")
    if config is None:
        raise ConvertError(f"{folder} has no config.json, so it is not a checkpoint. Choose its folder, or get it all.")
    index = bare.json(_INDEX)
    tensors = _from_index(folder, index) if index is not None else _from_files(folder)
    return Checkpoint(folder, tensors, config)


def _from_index(folder: Path, index: Mapping[str, Any]) -> dict[str, StoredTensor]:
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise ConvertError(f"{folder / _INDEX} has no weight_map from tensors to files.")
    for name, file in weight_map.items():
        if file != Path(file).name or "\\" in file or "\0" in file or not file.endswith(".safetensors"):
            raise ConvertError(f"{folder / _INDEX}: tensor {name!r} is said to be in {file!r}, outside the folder.")
    tensors = _merge([folder / file for file in sorted(set(weight_map.values()))])
    for name, file in weight_map.items():
        if name not in tensors or tensors[name].file.name != file:
            raise ConvertError(f"{folder / file}: tensor {name!r}, which the index lists, is missing. Get it again.")
    return tensors


def _from_files(folder: Path) -> dict[str, StoredTensor]:
    single = folder / _SINGLE
    files = [single] if single.exists() else sorted(folder.glob("*.safetensors"))
    if not files:
        raise ConvertError(f"{folder} has no safetensors files. Pickles (.bin, .pth) and metal/model.bin are not read.")
    return _merge(files)


def _merge(files: list[Path]) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        for name, tensor in read_safetensors(file).items():
            if name in tensors:
                raise ConvertError(f"{file}: tensor {name!r} is also in {tensors[name].file.name}.")
            tensors[name] = tensor
    return tensors


def _json_object(path: Path, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConvertError(f"{path} is not valid JSON ({error}). Get the file again.") from None
    if not isinstance(value, dict):
        raise ConvertError(f"{path} does not hold a JSON object.")
    return value


class ShardReader:
    """Reads bytes of tensors, keeping the files open. A context manager; for one thread."""

    def __init__(self) -> None:
        self._files: dict[Path, FileIO] = {}

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files.values():
            file.close()

    def read_into(self, tensor: StoredTensor, start: int, buffer: memoryview) -> None:
        """Fills `buffer` with the tensor's bytes from `start` on. Raises `ConvertError` if the file is too short."""
        try:
            file = self._files.get(tensor.file)
            if file is None:
                # Unbuffered: pieces are large, and go straight to the caller's memory.
                file = self._files[tensor.file] = tensor.file.open("rb", buffering=0)
            file.seek(tensor.offset + start)
            while buffer:
                count = file.readinto(buffer)
                if not count:
                    raise HeaderError(f"{tensor.file}: the file ends inside tensor {tensor.name!r}. Get it again.")
                buffer = buffer[count:]
        except OSError as error:
            reason = error.strerror or error
            raise ConvertError(f"{tensor.file}: tensor {tensor.name!r} cannot be read: {reason}.") from None
