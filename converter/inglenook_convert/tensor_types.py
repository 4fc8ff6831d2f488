"""Which type each tensor gets in the file: the choice that a person makes on the command line.

Not named `types`: a script in this folder would then find it in place of Python's own module of that name. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inglenook_convert import gguf_format as gguf
from inglenook_convert.gguf_format import TensorType
from inglenook_convert.tensor_map import Role, Slot

_BY_NAME = {kind.name.lower(): kind for kind in gguf.TENSOR_TYPES.values()}
OTHERS = {name: _BY_NAME[name] for name in ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "bf16", "f16", "f32")}
"""What attention, embedding and output can be, by the names on the command line."""
EXPERTS = {"mxfp4": gguf.MXFP4, **OTHERS}
"""What experts can be."""


@dataclass(frozen=True, slots=True)
class Types:
    """The types of the weights. Biases, norms, sinks and the router stay F32: they are small and sensitive.

    `best_mxfp4`: dense weights that become MXFP4 get the scales of least squared error, not those that ggml chooses.
    """

    experts: TensorType = gguf.MXFP4
    attention: TensorType = gguf.Q8_0
    embedding: TensorType = gguf.Q8_0
    output: TensorType = gguf.Q8_0
    best_mxfp4: bool = True

    def of(self, slot: Slot) -> TensorType:
        """The type of this tensor."""
        if slot.role is Role.EXPERTS:
            return self.experts
        if slot.role is Role.EXACT:
            return gguf.F32
        return {"token_embd.weight": self.embedding, "output.weight": self.output}.get(slot.key, self.attention)

    def names(self) -> dict[str, str]:
        """The name of the type of each kind of weights."""
        return {what: getattr(self, what).name for what in ("experts", "attention", "embedding", "output")}

    def __str__(self) -> str:
        """For people: "experts MXFP4, others Q8_0"."""
        names = self.names()
        if self.attention is self.embedding is self.output:
            names = {"experts": self.experts.name, "others": self.attention.name}
        return ", ".join(f"{what} {name}" for what, name in names.items())


def types_of(experts: str, others: str, special: Sequence[str | None], mxfp4: str) -> Types:
    """From the command line's words; `special` has attention, embedding and output, None where they are as others."""
    attention, embedding, output = (OTHERS[name or others] for name in special)
    return Types(EXPERTS[experts], attention, embedding, output, mxfp4 == "best")


DEFAULT = Types()
"""As in the published GGUF files of gpt-oss."""
