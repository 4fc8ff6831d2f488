"""A dry run's report: what a conversion would write, what other types would cost, the room on the disk, and the time.

The time is a guess from a second of measuring: the disk with a temporary file and a piece of the checkpoint, the
processor by making a piece of each kind.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from inglenook_convert import values
from inglenook_convert.checkpoint import Checkpoint
from inglenook_convert.config import Config
from inglenook_convert.errors import ConvertError
from inglenook_convert.gguf_format import TensorType
from inglenook_convert.headers import StoredTensor
from inglenook_convert.output import PART, Disk
from inglenook_convert.pipeline import thread_count
from inglenook_convert.plan import Plan, PlannedTensor, make_plan
from inglenook_convert.reader import ShardReader
from inglenook_convert.split import OutputFile
from inglenook_convert.stages import Piece, produce
from inglenook_convert.tensor_types import EXPERTS, OTHERS, Types

_DISK_BYTES = 64 << 20  # measured: enough for a disk to show its pace, and less than a second of most
_ELEMENTS = 1 << 21  # of a piece that is made to see how fast that goes


@dataclass(frozen=True, slots=True)
class DryRun:
    """What would be written. Sizes in bytes; `experts` and `others` are sizes of all files with another choice there.

    `kinds` has for each type its tensors and their bytes; `seconds` is None where the disk could not be measured.
    """

    layout: str
    types: Types
    files: tuple[tuple[Path, int], ...]
    kinds: dict[str, tuple[int, int]]
    read: int
    free: int
    seconds: float | None
    experts: dict[str, int]
    others: dict[str, int]

    @property
    def needed(self) -> int:
        """Of the disk."""
        return sum(size for _, size in self.files)

    def text(self) -> str:
        """A table."""
        lines = [f"{self.layout}: {self.types}", ""]
        lines += [f"  {kind:<6}{count:>6} tensors {size:>19,} bytes" for kind, (count, size) in self.kinds.items()]
        lines += ["", *(f"  {file}  {size:,} bytes" for file, size in self.files), ""]
        sizes = f"to read {_size(self.read)}, to write {_size(self.needed)}, free on the disk {_size(self.free)}"
        lines.append(f"  {sizes}{'' if self.needed <= self.free else ': NOT ENOUGH'}")
        if self.seconds is not None:
            lines.append(f"  about {_duration(self.seconds)}, after what disk and processor did just now")
        for title, choices in (("--experts", self.experts), ("--others", self.others)):
            lines += ["", f"  {title:<12}{'bytes':>19}  more"]
            lines += [f"    {name:<10}{size:>19,}  {size - self.needed:+,}" for name, size in choices.items()]
        return "\n".join(lines)

    def values(self) -> dict[str, object]:
        """The same, as JSON has it."""
        return {
            "phase": "done",
            "dry_run": True,
            "layout": self.layout,
            "types": self.types.names(),
            "files": [{"file": str(file), "bytes": size} for file, size in self.files],
            "tensors": [{"type": kind, "count": n, "bytes": size} for kind, (n, size) in self.kinds.items()],
            "bytes_to_read": self.read,
            "bytes_needed": self.needed,
            "bytes_free": self.free,
            "predicted_seconds": None if self.seconds is None else round(self.seconds, 2),
            "experts": self.experts,
            "others": self.others,
        }


def make_report(
    checkpoint: Checkpoint, config: Config, types: Types, plan: Plan, files: Sequence[OutputFile]
) -> DryRun:
    """What would become of `files`, which `plan` was cut into. Takes a second or two."""
    kinds: dict[str, tuple[int, int]] = {}
    for tensor in plan.tensors:
        count, size = kinds.get(tensor.kind.name, (0, 0))
        kinds[tensor.kind.name] = count + 1, size + tensor.nbytes
    total = sum(file.nbytes for file in files)

    def size_with(other: Types) -> int:
        return total - plan.data_bytes + make_plan(checkpoint, config, other).data_bytes

    folder = files[0].target.parent
    if not folder.is_dir():
        raise ConvertError(f"{folder} does not exist. Give the name of a file in a folder that exists.")
    read = sum(tensor.nbytes for tensor in _stored(plan))
    return DryRun(
        layout=plan.layout,
        types=types,
        files=tuple((file.target, file.nbytes) for file in files),
        kinds=kinds,
        read=read,
        free=shutil.disk_usage(folder).free,
        seconds=_seconds(plan, read, total, folder),
        experts={name: size_with(replace(types, experts=kind)) for name, kind in EXPERTS.items()},
        others={
            name: size_with(replace(types, attention=kind, embedding=kind, output=kind))
            for name, kind in OTHERS.items()
        },
    )


def _stored(plan: Plan) -> list[StoredTensor]:
    """The checkpoint's tensors, each once."""
    return list({stored.name: stored for tensor in plan.tensors for stored in tensor.source.stored}.values())


def _seconds(plan: Plan, read: int, written: int, folder: Path) -> float | None:
    """The time that the slower of disk and processor takes, since they work at once."""
    source = max(_stored(plan), key=lambda tensor: tensor.nbytes)
    try:
        reading, writing = read * _read_pace(source), written * _write_pace(folder)
        same = source.file.stat().st_dev == folder.stat().st_dev
    except OSError:  # the folder may be one where nothing can be written
        return None
    disk = reading + writing if same else max(reading, writing)
    return max(disk, _computing(plan) / thread_count())


def _read_pace(tensor: StoredTensor) -> float:
    """Seconds a byte of reading the tensor's file, from the disk itself where the system can be told so."""
    count = min(_DISK_BYTES, tensor.nbytes)
    with tensor.file.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), tensor.offset, count, os.POSIX_FADV_DONTNEED)
        file.seek(tensor.offset)
        buffer = bytearray(1 << 20)
        return _time(lambda: sum(file.readinto(buffer) or 0 for _ in range(-(-count // len(buffer))))) / max(count, 1)


def _write_pace(folder: Path) -> float:
    """Seconds a byte of writing to `folder`, until it is on the disk."""
    part = memoryview(mmap.mmap(-1, PART))
    part[:] = np.random.default_rng(0).bytes(PART)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        disk = Disk(file)

        def write() -> None:
            for _ in range(_DISK_BYTES // PART):
                disk.write(part)
            disk.sync()

        return _time(write) / _DISK_BYTES


def _computing(plan: Plan) -> float:
    """Seconds that one processor takes to make all tensors, after what a piece of each kind of work took."""
    work: dict[tuple[TensorType, str, type], list[PlannedTensor]] = {}
    for tensor in plan.tensors:
        work.setdefault((tensor.kind, tensor.source.stored[0].dtype, type(tensor.source)), []).append(tensor)
    with ShardReader() as reader:
        return sum(
            _work_pace(max(alike, key=lambda tensor: tensor.nbytes), reader) * sum(tensor.nbytes for tensor in alike)
            for alike in work.values()
        )


def _work_pace(tensor: PlannedTensor, reader: ShardReader) -> float:
    """Seconds a byte of making this, from what the system remembers of the file."""
    good, width = values.good_rows(tensor.source), values.width_of(tensor.source)
    rows = max(1, _ELEMENTS // (width * good)) * good
    piece = Piece(tensor, 0, min(rows, values.rows_of(tensor.source)))
    out = np.empty(piece.nbytes, np.uint8)
    return min(_time(lambda: produce(piece, reader, out)) for _ in range(2)) / piece.nbytes


def _time(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _size(size: int) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    return f"{max(seconds, 1):.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
