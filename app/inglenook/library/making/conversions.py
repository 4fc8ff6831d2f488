"""Checkpoints and adapters that people bring along: recognised, converted and verified as a job, one at a time.

The file gets its name only when every tensor was compared with the checkpoint, so that nothing unverified is used.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.fitting import gigabytes
from inglenook.core.i18n import N_
from inglenook.core.inference import Cancelled
from inglenook.library.control import Control, Stopped
from inglenook.library.job import OneJob
from inglenook.library.making.conversion import Converter

CONVERTED = "Converted"
"""The folder of what was made, among the models."""

_WINDOW = 8.0  # seconds that a rate is measured over
_ADAPTER = "adapter_config.json"
_MAX_CONFIG = 1 << 20


class Kind(StrEnum):
    """What a file or folder is, by its name and what is in it; whether it is any good shows later."""

    MODEL = "model"  # a GGUF file: used where it is
    CHECKPOINT = "checkpoint"  # a folder of safetensors: converted
    ADAPTER = "adapter"  # LoRA: merged into its base, which is converted
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Brought:
    """Something that the user brought along: for a checkpoint or adapter `path` is its folder, for a model its file."""

    kind: Kind
    path: Path


def recognise(path: Path) -> Brought:
    """What `path` is; a file of a checkpoint stands for its folder. Reads names only; never raises."""
    with suppress(OSError):
        if path.suffix.lower() == ".gguf" and path.is_file():
            return Brought(Kind.MODEL, path)
        folder = path if path.is_dir() else path.parent
        of_checkpoint = path.is_dir() or path.suffix == ".safetensors" or path.name in ("config.json", _ADAPTER)
        models = [file for file in folder.glob("*.safetensors") if file.name != "adapter_model.safetensors"]
        if of_checkpoint and (folder / _ADAPTER).is_file() and not models:
            return Brought(Kind.ADAPTER, folder)
        if of_checkpoint and (folder / "config.json").is_file() and models:
            return Brought(Kind.CHECKPOINT, folder)
        if path.is_dir() and (folder / "original" / "config.json").is_file():
            return Brought(Kind.CHECKPOINT, folder / "original")
        inside = [file for file in folder.glob("*.gguf") if file.is_file()] if path.is_dir() else []
        if len(inside) == 1:
            return Brought(Kind.MODEL, inside[0])
    return Brought(Kind.OTHER, path)


def base_of(adapter: Path) -> str:
    """The name or folder that an adapter gives for its base; "" if it gives none."""
    with suppress(OSError, ValueError, RecursionError), (adapter / _ADAPTER).open("rb") as file:
        config = json.loads(file.read(_MAX_CONFIG))
        name = config.get("base_model_name_or_path") if isinstance(config, dict) else None
        return name if isinstance(name, str) else ""
    return ""


def find_base(adapter: Path, models: Path, hubs: list[Path]) -> Path | None:
    """The folder of an adapter's base: the one that it names, one of ours below `models`, or one in the Hub's cache."""
    name = base_of(adapter)
    owner, _, repository = name.partition("/")
    is_name = bool(owner and repository) and not {"", ".", ".."} & set(name.split("/")) and "\\" not in name
    found = [Path(name)] if name else []
    if is_name:
        found += [adapter.parent / repository, models / owner / repository]
        for hub in hubs:
            with suppress(OSError):
                found += sorted((hub / f"models--{owner}--{repository}" / "snapshots").iterdir())
    for folder in found:
        with suppress(OSError, ValueError):  # ValueError: no name that a file can have
            brought = recognise(folder.absolute())
            if brought.kind is Kind.CHECKPOINT:
                return brought.path
    return None


class Stage(StrEnum):
    """Where a conversion stands."""

    NEEDS_BASE = "needs base"  # `wants` is what the adapter calls it
    READING = "reading"
    WRITING = "writing"
    SYNCING = "syncing"  # waiting for the disk
    VERIFYING = "verifying"
    FINISHED = "finished"  # `path` is the file
    FAILED = "failed"  # `error` says why


_STAGES = {"write": Stage.WRITING, "sync": Stage.SYNCING, "verify": Stage.VERIFYING}
RUNNING = (Stage.READING, *_STAGES.values())


@dataclass(frozen=True, slots=True)
class ConversionStatus:
    """One conversion: bytes `done` of `total` in this stage, bytes a second, seconds left of the stage."""

    stage: Stage
    source: Path
    title: str
    done: int = 0
    total: int = 0
    rate: float = 0.0
    seconds_left: float | None = None
    wants: str = ""
    path: Path | None = None
    error: ErrorInfo | None = None


class Conversions(OneJob[ConversionStatus]):
    """`hubs` tells where the Hub keeps checkpoints."""

    def __init__(
        self, models: Path, hubs: Callable[[], list[Path]], tell: Callable[[ConversionStatus | None], None]
    ) -> None:
        super().__init__(tell, patience=10)
        self._models = models
        self._hubs = hubs

    def start(self, source: Path, base: Path | None = None) -> None:
        """Converts a checkpoint's or an adapter's folder. Raises `UserError` while another one is being converted."""
        first = ConversionStatus(Stage.READING, source, source.name)
        self._start(first, lambda first, control: self._convert(first, control, base))

    # -- the thread --

    def _busy(self) -> UserError:
        return UserError(N_("One conversion is running. Wait for its end, or cancel it, and try again."))

    def _trouble(self, error: OSError) -> UserError:
        text = N_("The folder {folder} cannot be used: {reason}. Check its disk and permissions.")
        return UserError(text, folder=self._models, reason=error.strerror or error)

    def _failed(self, first: ConversionStatus, error: UserError) -> ConversionStatus:
        return replace(first, stage=Stage.FAILED, error=error.info)

    def _convert(self, first: ConversionStatus, control: Control, base: Path | None) -> ConversionStatus:
        source, converter = first.source, Converter()
        control.interrupt_with(converter.end)
        arguments = [str(source.absolute())]
        if recognise(source).kind is Kind.ADAPTER:
            base = base or find_base(source, self._models, self._hubs())
            if base is None:
                return replace(first, stage=Stage.NEEDS_BASE, wants=base_of(source))
            arguments += ["--base", str(base.absolute())]
        folder = self._models / CONVERTED
        folder.mkdir(parents=True, exist_ok=True)
        found: dict[str, Any] = {}
        try:
            converter.run([*arguments, "--dry-run"], found.update, folder)
            target = _free_name(folder / Path(found["files"][0]["file"]).name)
            self._check_room(folder, int(found["bytes_needed"]))
            hidden = target.with_name(f".{target.name}")  # not looked at by whoever looks for models
            report = _Report(replace(first, title=target.stem), self._tell)
            try:
                converter.run([*arguments, "-o", str(hidden), "--verify"], report.take, folder)
                hidden.replace(target)
            finally:
                hidden.unlink(missing_ok=True)
        except Cancelled:
            raise Stopped from None
        size = target.stat().st_size
        return replace(first, stage=Stage.FINISHED, title=target.stem, done=size, total=size, path=target)

    def _check_room(self, folder: Path, needed: int) -> None:
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise UserError(
                N_("The model takes {needed}, and {free} are free in {folder}. Make room there and try again."),
                needed=gigabytes(needed),
                free=gigabytes(free),
                folder=folder,
            )


class _Report:
    """Turns the converter's lines into statuses."""

    def __init__(self, first: ConversionStatus, tell: Callable[[ConversionStatus], None]) -> None:
        self._now = first
        self._tell = tell
        self._marks: deque[tuple[float, int]] = deque()  # when and how many bytes of this stage

    def take(self, report: Mapping[str, Any]) -> None:
        """One line."""
        stage = _STAGES.get(str(report.get("phase")))
        if stage is None:
            return
        done, total, now = int(report["bytes_done"]), int(report["bytes_total"]), time.monotonic()
        if stage is not self._now.stage:
            self._marks.clear()
        self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW:
            self._marks.popleft()
        seconds, grown = now - self._marks[0][0], done - self._marks[0][1]
        rate = grown / seconds if seconds > 0 else 0.0
        left = (total - done) / rate if rate > 0 else None
        self._now = replace(self._now, stage=stage, done=done, total=total, rate=rate, seconds_left=left)
        self._tell(self._now)


def _free_name(path: Path) -> Path:
    """`path`, or the like that nothing has yet."""
    number, free = 2, path
    while free.exists():
        free, number = path.with_name(f"{path.stem} ({number}){path.suffix}"), number + 1
    return free
