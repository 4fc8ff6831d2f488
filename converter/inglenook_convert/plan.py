"""From headers alone: every tensor that the GGUF will have, its type, place and source, and the size of the file.

Pure, standard library only: the application may show a plan without numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from inglenook_convert import gguf_format as gguf
from inglenook_convert.checkpoint import Checkpoint
from inglenook_convert.config import Config
from inglenook_convert.errors import ConvertError
from inglenook_convert.gguf_format import KeyValue, TensorInfo, TensorType
from inglenook_convert.layouts import layout_of
from inglenook_convert.sources import Source
from inglenook_convert.tensor_map import slots
from inglenook_convert.tensor_types import DEFAULT, Types


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor to write: `info` is its entry in the file's header, `source` where its values come from.

    `best`: dense values that become MXFP4 get the scales of least error; otherwise those of ggml.
    """

    info: TensorInfo
    source: Source
    best: bool = True

    @property
    def kind(self) -> TensorType:
        """Its type in the file."""
        return self.info.kind

    @property
    def nbytes(self) -> int:
        """Bytes of its data, without padding."""
        return self.info.kind.nbytes(self.info.shape)


@dataclass(frozen=True, slots=True)
class Plan:
    """All tensors of one file in their order; `data_bytes` is their data with padding."""

    layout: str
    tensors: tuple[PlannedTensor, ...]
    data_bytes: int

    def header(self, metadata: Sequence[KeyValue]) -> bytes:
        """The file's header with this metadata; the file is `len(header) + data_bytes` long."""
        return gguf.encode_header(metadata, [tensor.info for tensor in self.tensors])

    def split(self, max_bytes: int, first_header: int = 0) -> list[Plan]:
        """Plans of files whose data has at most `max_bytes`, the first one's `first_header` fewer.

        Raises `ConvertError` if a tensor does not fit into a file.
        """
        files: list[list[PlannedTensor]] = [[]]
        room = max_bytes - first_header
        for tensor in self.tensors:
            need = gguf.padded(tensor.nbytes)
            if need > room and need <= max_bytes:
                files.append([])
                room = max_bytes
            if need > room:
                raise ConvertError(f"tensor {tensor.info.name!r} has {need:,} bytes, which do not fit into one file of"
                                   " the split. Give --split-max-size a larger size.")  # fmt: skip
            files[-1].append(tensor)
            room -= need
        return [_in_one_file(self.layout, file) for file in files]


def make_plan(checkpoint: Checkpoint, config: Config, types: Types = DEFAULT) -> Plan:
    """What will be written for this checkpoint. Raises `ConvertError` for missing, extra or misshapen tensors."""
    layout = layout_of(checkpoint)
    planned: list[PlannedTensor] = []
    used: set[str] = set()
    for slot in slots(config):
        source = layout.source(checkpoint.tensors, slot)
        used.update(stored.name for stored in source.stored)
        kind = types.of(slot)
        if slot.shape[-1] % kind.block:
            raise ConvertError(f"tensor {slot.name!r} has rows of {slot.shape[-1]}, which are not whole blocks of"
                               f" {kind.block} for {kind.name}. Choose bf16, f16 or f32 for it.")  # fmt: skip
        planned.append(PlannedTensor(TensorInfo(slot.name, kind, slot.shape, 0), source, types.best_mxfp4))
    for name, stored in checkpoint.tensors.items():
        if name not in used:
            raise ConvertError(f"{stored.file}: tensor {name!r} does not belong to a gpt-oss model of {config.layers}"
                               " layers. Check that config.json is this checkpoint's own.")  # fmt: skip
    return _in_one_file(layout.NAME, planned)


def _in_one_file(layout: str, tensors: Sequence[PlannedTensor]) -> Plan:
    """The tensors one after the other."""
    placed: list[PlannedTensor] = []
    offset = 0
    for tensor in tensors:
        placed.append(replace(tensor, info=replace(tensor.info, offset=offset)))
        offset += gguf.padded(tensor.nbytes)
    return Plan(layout, tuple(placed), offset)
