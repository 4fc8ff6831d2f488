"""The tensors of a gpt-oss GGUF: names, shapes and kinds, as a table. What a layout finds is measured against it.

Source: llama.cpp's gpt-oss loader and converter; names and types equal those of the published files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from inglenook_convert.config import Config


class Role(Enum):
    """Decides a tensor's type in the file."""

    EXPERTS = "experts"  # 3-D weights of the experts
    MATRIX = "matrix"  # attention, embedding, output
    EXACT = "exact"  # small and sensitive: always F32


@dataclass(frozen=True, slots=True)
class Slot:
    """A tensor that the GGUF must have. `key` names it without its layer ("attn_q.weight"); shape outermost first.

    `sizes` are those of the whole model, as `Config.dimensions` has them.
    """

    key: str
    layer: int | None
    shape: tuple[int, ...]
    role: Role
    sizes: Mapping[str, int] = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        """The tensor's name in the GGUF."""
        return self.key if self.layer is None else f"blk.{self.layer}.{self.key}"


# Letters stand for the sizes in `Config.dimensions`.
_FIRST = (("token_embd.weight", "VH", Role.MATRIX),)
_LAYER = (
    ("attn_norm.weight", "H", Role.EXACT),
    ("attn_q.weight", "QH", Role.MATRIX),
    ("attn_q.bias", "Q", Role.EXACT),
    ("attn_k.weight", "KH", Role.MATRIX),
    ("attn_k.bias", "K", Role.EXACT),
    ("attn_v.weight", "KH", Role.MATRIX),
    ("attn_v.bias", "K", Role.EXACT),
    ("attn_output.weight", "HQ", Role.MATRIX),
    ("attn_output.bias", "H", Role.EXACT),
    ("attn_sinks.weight", "A", Role.EXACT),
    ("post_attention_norm.weight", "H", Role.EXACT),
    ("ffn_gate_inp.weight", "EH", Role.EXACT),
    ("ffn_gate_inp.bias", "E", Role.EXACT),
    ("ffn_gate_exps.weight", "EFH", Role.EXPERTS),
    ("ffn_gate_exps.bias", "EF", Role.EXACT),
    ("ffn_up_exps.weight", "EFH", Role.EXPERTS),
    ("ffn_up_exps.bias", "EF", Role.EXACT),
    ("ffn_down_exps.weight", "EHF", Role.EXPERTS),
    ("ffn_down_exps.bias", "EH", Role.EXACT),
)
_LAST = (("output_norm.weight", "H", Role.EXACT), ("output.weight", "VH", Role.MATRIX))


def slots(config: Config) -> Iterator[Slot]:
    """Every tensor of the GGUF, in the order in which it is written."""
    sizes = config.dimensions()

    def entries(table: tuple[tuple[str, str, Role], ...], layer: int | None) -> Iterator[Slot]:
        for key, letters, role in table:
            yield Slot(key, layer, tuple(sizes[letter] for letter in letters), role, sizes)

    yield from entries(_FIRST, None)
    for layer in range(config.layers):
        yield from entries(_LAYER, layer)
    yield from entries(_LAST, None)
