"""A model in several files, for disks and transfers with a limit, as llama.cpp names and marks them.

The first file has all the metadata; each has three keys that say which of how many it is. Pure. Source: llama.cpp's
gguf-split and the loader, which finds the other files by their names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inglenook_convert.errors import ConvertError
from inglenook_convert.gguf_format import KeyValue, TensorInfo, ValueType, encode_header
from inglenook_convert.plan import Plan

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_MOST_FILES = 500  # all are open at once, and llama.cpp counts in 16 bits
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file to write: its header's bytes, then the data of its plan."""

    target: Path
    header: bytes
    plan: Plan

    @property
    def nbytes(self) -> int:
        """Size of the file."""
        return len(self.header) + self.plan.data_bytes


def parse_size(text: str) -> int:
    """Bytes of a size like "4G", "4000M" or "500000" (units of 1000, as llama.cpp has them). Raises `ValueError`."""
    match = re.fullmatch(r"([1-9]\d{0,14})([KMG]?)", text)
    if not match:
        raise ValueError(f"{text!r} is not a size like 4G or 4000M")
    return int(match[1]) * _UNITS[match[2]]


def part_path(target: Path, number: int, count: int) -> Path:
    """The name of file `number` (from 0) of `count`: NAME.gguf becomes NAME-00001-of-00003.gguf."""
    return target.with_name(f"{target.name.removesuffix('.gguf')}-{number + 1:05d}-of-{count:05d}.gguf")


def parts_of(file: Path) -> list[Path]:
    """All files of the set to which the first file `file` belongs; itself if it is not named as part of one.

    Raises `ConvertError` if it is another file of the set than the first.
    """
    match = _PART.fullmatch(file.name)
    if not match or int(match["count"]) == 0:
        return [file]
    if int(match["number"]) != 1:
        first = f"{match['stem']}-00001-of-{match['count']}.gguf"
        raise ConvertError(f"{file} is not the first file of its set. Give {first}.")
    count = int(match["count"])
    return [part_path(file.with_name(match["stem"]), number, count) for number in range(count)]


def output_files(target: Path, plan: Plan, metadata: Sequence[KeyValue], max_bytes: int | None) -> list[OutputFile]:
    """The one file `target`, or with `max_bytes` the files of a set, none of them larger than that.

    Raises `ConvertError` if a tensor or the metadata is too large for a file.
    """
    if max_bytes is None:
        return [OutputFile(target, plan.header(metadata), plan)]
    # Every header is counted with the entries of all tensors: 45 kB too much at most.
    marks = _marks(0, 1, len(plan.tensors))
    infos = [tensor.info for tensor in plan.tensors]
    entries = len(encode_header(marks, infos))
    first = len(encode_header([*metadata, *marks], infos))
    if first > max_bytes:
        raise ConvertError(f"the metadata has {first:,} bytes, which do not fit into one file of the split."
                           " Give --split-max-size a larger size.")  # fmt: skip
    plans = plan.split(max_bytes - entries, first - entries)
    if len(plans) > _MOST_FILES:
        raise ConvertError(f"the split would have {len(plans)} files. Give --split-max-size a larger size.")
    headers = headers_of_set(metadata, [[tensor.info for tensor in part.tensors] for part in plans])
    paths = [part_path(target, number, len(plans)) for number in range(len(plans))]
    return [OutputFile(*file) for file in zip(paths, headers, plans, strict=True)]


def headers_of_set(metadata: Sequence[KeyValue], tensors: Sequence[Sequence[TensorInfo]]) -> list[bytes]:
    """The headers of all files of a set, from the `tensors` of each."""
    total = sum(map(len, tensors))
    marks = [_marks(number, len(tensors), total) for number in range(len(tensors))]
    marks[0] = [*metadata, *marks[0]]
    return [encode_header(keys, infos) for keys, infos in zip(marks, tensors, strict=True)]


def _marks(number: int, count: int, tensors: int) -> list[KeyValue]:
    return [
        KeyValue("split.no", ValueType.UINT16, number),
        KeyValue("split.count", ValueType.UINT16, count),
        KeyValue("split.tensors.count", ValueType.INT32, tensors),
    ]
