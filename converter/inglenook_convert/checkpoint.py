"""A checkpoint folder: which safetensors files it has, their tensors by name, and its JSON files.

Only headers and small files are read here; `ShardReader` reads tensor bytes. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inglenook_convert import lora
from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import StoredTensor, file_size, read_safetensors, shown

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_METAL = "model.bin"
_METAL_REASON = "is rounded for OpenAI's Metal program, so that the model's own values cannot be had from it."
_PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl")
_JSON_LIMIT = 64 << 20  # bytes; the tokenizer.json of gpt-oss has 28 MB, and parsed it takes many times that


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The folder, its tensors by name (from all shards), and config.json's object.

    With a LoRA adapter: the adapter's folder, the tensors of both, the base's config.json, and adapter_config.json's
    object. Small files that are not in the folder are looked for in the folders `others`.
    """

    folder: Path
    tensors: Mapping[str, StoredTensor]
    config: Mapping[str, Any]
    adapter: Mapping[str, Any] | None = None
    others: tuple[Path, ...] = ()

    def text(self, name: str) -> str | None:
        """The text of the file `name` in the folder; None if there is none. Raises `ConvertError`."""
        path = self._path(name)
        if path is None:
            return None
        if file_size(path) > _JSON_LIMIT:
            raise ConvertError(f"{path} is too large to be part of a checkpoint.")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ConvertError(f"{path} is not UTF-8 text.") from None

    def json(self, name: str) -> dict[str, Any] | None:
        """The JSON object in the file `name`; None if there is no such file. Raises `ConvertError`."""
        path, text = self._path(name), self.text(name)
        return None if path is None or text is None else _json_object(path, text)

    def _path(self, name: str) -> Path | None:
        places = (folder / name for folder in (self.folder, *self.others))
        return next((path for path in places if path.exists()), None)


def open_checkpoint(folder: Path, base: Path | None = None) -> Checkpoint:
    """Reads the headers of the checkpoint in `folder`, which may be a LoRA adapter and `base` the folder of its base.

    Without `base`, that is the folder that the adapter names. Raises `ConvertError` that names the file at fault.
    """
    if not folder.is_dir():
        raise ConvertError(
            f"{folder} {_no_folder(folder)} Give the folder that has config.json and the safetensors files."
        )
    if _is_adapter(folder):
        return _open_adapter(folder, base)
    if base is not None:
        raise ConvertError(f"{folder} has no {lora.CONFIG}, so it is not an adapter and has no base. Leave --base out.")
    bare = Checkpoint(folder, {}, {})
    config = bare.json("config.json")
    if config is None:
        raise ConvertError(_no_config(folder))
    index = bare.json(_INDEX)
    tensors = _from_index(folder, index) if index is not None else _from_files(folder)
    return Checkpoint(folder, tensors, config)


def _no_folder(path: Path) -> str:
    if not path.exists():
        return "does not exist."
    if path.name == _METAL and path.parent.name == "metal":
        return _METAL_REASON
    if path.suffix in _PICKLES:
        return "is not a folder, and pickles are not read: they can run programs."
    return "is not a folder."


def _no_config(folder: Path) -> str:
    if (folder / _METAL).exists() and folder.name == "metal":
        return f"{folder / _METAL} {_METAL_REASON} Convert the published model or its folder original/ instead."
    if (folder / "original" / "config.json").exists():
        return f"{folder} has no config.json. Give the folder {folder / 'original'}."
    return f"{folder} has no config.json, so it is not a checkpoint. Choose its folder, or get it all."


def _is_adapter(folder: Path) -> bool:
    """Whether there is an adapter, and no model that some program left one beside."""
    model = (folder / _SINGLE, folder / _INDEX, *folder.glob("model-*.safetensors"))
    return (folder / lora.CONFIG).exists() and not any(path.exists() for path in model)


def _has_model(name: str) -> bool:
    """Whether `name` is a folder's. One on the Hub may be so by chance, but not with a model in it."""
    try:
        return (Path(name) / "config.json").exists()
    except (OSError, ValueError):  # no name that a file can have
        return False


def _open_adapter(folder: Path, base: Path | None) -> Checkpoint:
    config = Checkpoint(folder, {}, {}).json(lora.CONFIG) or {}
    lora.check_config(config, str(folder / lora.CONFIG))
    if not (folder / lora.WEIGHTS).exists():
        raise ConvertError(f"{folder} has no {lora.WEIGHTS}. Save the adapter as safetensors; pickles are not read.")
    if base is None:
        named = config.get("base_model_name_or_path")
        if not isinstance(named, str) or not _has_model(named):
            raise ConvertError(f"{folder} is a LoRA adapter of {shown(named)}. Give that model's folder with --base.")
        base = Path(named)
    if base.is_dir() and _is_adapter(base):
        raise ConvertError(f"{base} is an adapter itself. Give the folder of a whole model with --base.")
    model = open_checkpoint(base)
    tensors = lora.combined(model.tensors, read_safetensors(folder / lora.WEIGHTS))
    others = (base, base.absolute().parent) if base.name == "original" else (base,)
    return Checkpoint(folder, tensors, model.config, config, others)


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
    files = [single] if single.exists() else sorted(set(folder.glob("*.safetensors")) - {folder / lora.WEIGHTS})
    if not files:
        pickle = next((path.name for path in sorted(folder.iterdir()) if path.suffix in _PICKLES), None)
        found = f", only {pickle}: pickles can run programs and are not read" if pickle else ""
        raise ConvertError(f"{folder} has no safetensors files{found}. Save the model as safetensors, or get it again.")
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
