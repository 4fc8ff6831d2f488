"""Checkpoints as models of several files: a folder with config.json, safetensors files and a tokenizer.

Its config.json stands for the whole, as the first part does for a GGUF in parts. Only files directly in the folder
belong to it, and of those only the kinds that a checkpoint is made of; headers are read, tensors are not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook_convert.checkpoint import open_checkpoint
from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import HeaderError, read_safetensors

CONFIG = "config.json"
WEIGHTS = ".safetensors"
_ADAPTER = "adapter_config.json"
_KINDS = (WEIGHTS, ".json", ".jinja", ".txt", ".md", ".model")
_PLAIN = ("LICENSE", "NOTICE", "USAGE_POLICY")
_MAX_CONFIG = 1 << 20
_MAX_ENTRIES = 20_000
_UNSAFE = frozenset('<>:"/|?*\\')


def is_gpt_oss(config: Path) -> bool:
    """Whether that config.json is of a gpt-oss checkpoint; of what cannot be read it is not. Never raises.

    Not the folder `original/`, whose tokenizer is elsewhere: it is converted where it is.
    """
    try:
        with config.open("rb") as opened:
            found = json.loads(opened.read(_MAX_CONFIG))
        return isinstance(found, dict) and found.get("model_type") == "gpt_oss"
    except (OSError, ValueError, RecursionError):
        return False


def contents(config: Path) -> tuple[Path, ...]:
    """The files of the checkpoint whose config.json that is, which comes first, the large ones last.

    Empty if it is none of gpt-oss, or still being fetched. OSError.
    """
    folder = config.parent
    if not config.is_file() or not is_gpt_oss(config) or (folder / _ADAPTER).exists():
        return ()
    with os.scandir(folder) as entries:
        files = [Path(entry.path) for entry in islice(entries, _MAX_ENTRIES) if entry.is_file()]
    fetching = any(file.suffix == ".part" for file in files)
    files = [file for file in files if _belongs(file.name)]
    files.sort(key=lambda file: (file.name != CONFIG, file.suffix == WEIGHTS, file.name))
    if fetching or not any(file.suffix == WEIGHTS for file in files):
        return ()
    return tuple(files)


def check(files: Sequence[Path]) -> None:
    """Raises `UserError` that says what is wrong with the checkpoint whose `contents` those are; OSError."""
    folder = files[0].parent
    _check_names(folder, files)
    try:
        open_checkpoint(folder)
    except ConvertError as error:
        raise UserError("{reason}", reason=error) from None


def title_of(config: Path) -> str:
    """What people call it: the name of its folder, in the Hub's cache that of the repository."""
    cached = (part.name for part in config.parents if part.name.startswith("models--"))
    return next(cached, config.parent.name).rpartition("--")[2]


def check_copied(files: Sequence[Path], names: Sequence[str]) -> None:
    """Looks at the headers of copies of files of those names. `HeaderError`."""
    for file, name in zip(files, names, strict=True):
        if name == CONFIG and not is_gpt_oss(file):
            raise HeaderError(f"{name} is not that of a gpt-oss checkpoint.")
        if name.endswith(WEIGHTS):
            read_safetensors(file)


def _belongs(name: str) -> bool:
    return not name.startswith(".") and (name.endswith(_KINDS) or name in _PLAIN)


def _check_names(folder: Path, files: Sequence[Path]) -> None:
    """No name that would lead elsewhere on any system, and no link out of the folder, save as the Hub's cache does."""
    roots = [folder.resolve()]
    roots += [part.parent.resolve() / "blobs" for part in folder.parents if part.name == "snapshots"]
    for file in files:
        if any(c in _UNSAFE or ord(c) < 32 for c in file.name):
            raise UserError(N_("The name {name} is not safe as that of a file. Rename it."), name=file.name)
        if file.is_symlink() and not any(file.resolve().is_relative_to(root) for root in roots):
            text = N_("{file} is a link that leads out of its folder. Put the file itself there.")
            raise UserError(text, file=file)
