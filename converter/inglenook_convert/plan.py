"""From headers alone: every tensor that the GGUF will have, its type, place and source, and the size of the file.

Pure, standard library only: the application may show a plan without numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inglenook_convert import gguf_format as gguf
from inglenook_convert.checkpoint import Checkpoint
from inglenook_convert.config import Config
from inglenook_convert.errors import ConvertError
from inglenook_convert.gguf_format import KeyValue, TensorInfo, TensorType
from inglenook_convert.layouts import layout_of
from inglenook_convert.sources import Source
from inglenook_convert.tensor_map import Role, slots

TYPES = {Role.EXPERTS: gguf.MXFP4, Role.MATRIX: gguf.Q8_0, Role.EXACT: gguf.F32}


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor to write: `info` is its entry in the file's header, `source` where its values come from."""

    info: TensorInfo
    source: Source

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
    """All tensors in the order of the file. `data_bytes` is their data with padding, `parameters` their elements."""

    layout: str
    tensors: tuple[PlannedTensor, ...]
    data_bytes: int

    def header(self, metadata: Sequence[KeyValue]) -> bytes:
        """The file's header with this metadata; the file is `len(header) + data_bytes` long."""
        return gguf.encode_header(metadata, [tensor.info for tensor in self.tensors])


def make_plan(checkpoint: Checkpoint, config: Config) -> Plan:
    """What will be written for this checkpoint. Raises `ConvertError` for missing, extra or misshapen tensors."""
    layout = layout_of(checkpoint)
    planned: list[PlannedTensor] = []
    used: set[str] = set()
    offset = 0
    for slot in slots(config):
        source = layout.source(checkpoint.tensors, slot)
        used.update(stored.name for stored in source.stored)
        info = TensorInfo(slot.name, TYPES[slot.role], slot.shape, offset)
        planned.append(PlannedTensor(info, source))
        offset += gguf.padded(planned[-1].nbytes)
    for name, stored in checkpoint.tensors.items():
        if name not in used:
            raise ConvertError(f"{stored.file}: tensor {name!r} does not belong to a gpt-oss model of {config.layers}"
                               " layers. Check that config.json is this checkpoint's own.")  # fmt: skip
    return Plan(layout.NAME, tuple(planned), offset)
