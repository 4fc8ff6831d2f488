"""What a model takes of a machine's memory, as values: what there is, what was chosen, and why.

`core.fitting` makes a `Plan` of a `Header` and a `Machine`; `engine.memory` reads those two from a file and a computer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

from inglenook.core.errors import ErrorInfo

CPU = "CPU"
BLOCKS = {"F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "Q8_0": (32, 34), "MXFP4": (32, 17)}
"""Elements and bytes of a block, of the types that published files have."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor of a model file: `kind` is its type's name ("MXFP4")."""

    name: str
    kind: str
    nbytes: int
    offset: int = 0
    rows: int = 0  # of each of its matrices
    part: int = 0  # of a model in several files

    @property
    def layer(self) -> int:
        """The layer that it belongs to; -1 if to none."""
        number = self.name.split(".")[1] if self.name.startswith("blk.") else ""
        return int(number) if number.isdecimal() else -1

    @property
    def is_expert(self) -> bool:
        """Whether it is one of the tensors that can stay with the CPU while the rest of the layer is elsewhere."""
        return "_exps." in self.name


@dataclass(frozen=True, slots=True)
class Header:
    """What a model file says of itself, as far as memory goes. Lengths in elements.

    Every layer but each `pattern`-th sees the last `window` tokens only.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    key_length: int
    value_length: int
    expert_length: int
    experts_used: int
    window: int
    vocabulary: int
    n_ctx_train: int
    weights: tuple[Weight, ...] = field(repr=False)
    pattern: int = 2

    @property
    def size_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(weight.nbytes for weight in self.weights)


@dataclass(frozen=True, slots=True)
class Device:
    """Something that computes. Sizes in bytes; for the CPU `free` is the whole memory on Linux and macOS."""

    name: str
    description: str
    kind: str  # "cpu", "gpu", "igpu", "accel"
    free: int
    total: int

    @property
    def shares(self) -> bool:
        """Whether its memory is the computer's main memory."""
        return self.kind == "igpu" or self.name.startswith(("MTL", "Metal"))


@dataclass(frozen=True, slots=True)
class Machine:
    """A computer. `available` is main memory that can be had without swapping.

    `repacks` are the types of weights for which the CPU has a faster layout, each with the number that must divide the
    rows of a matrix.
    """

    available: int
    total: int
    threads: int
    devices: tuple[Device, ...] = ()
    repacks: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Use:
    """Bytes on one device: the CPU's `weights` are the mapped file, `repacked` is a copy of some in a faster layout."""

    device: str
    weights: int = 0
    repacked: int = 0
    cache: int = 0
    compute: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.repacked + self.cache + self.compute + self.output

    @property
    def own(self) -> int:
        """Without the mapped file, whose pages the system can drop and read again."""
        return self.total - (self.weights if self.device == CPU else 0)


@dataclass(frozen=True, slots=True)
class Choice:
    """How to load a model: what `Plan`s differ in.

    `layers` of them are on `device`, with the output; the experts of the first `cpu_experts` stay with the CPU.
    """

    n_ctx: int
    cache_type: str = "f16"  # or "q8_0"
    device: str = ""
    layers: int = 0
    cpu_experts: int = 0
    repack: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A choice with the bytes that llama.cpp will allocate for it, on the CPU first.

    `paged`: not all weights stay in memory, and are read from the disk again and again. `why` says why it was chosen,
    `not_tried` which larger ones were not and why, `warning` what the user should know at once.
    """

    choice: Choice
    uses: tuple[Use, ...]
    threads: int
    batch: int
    why: ErrorInfo
    not_tried: tuple[ErrorInfo, ...] = ()
    warning: ErrorInfo | None = None
    paged: bool = False

    @property
    def total(self) -> int:
        """Bytes on all devices."""
        return sum(use.total for use in self.uses)


def published(layers: int, experts: int, n_ctx_train: int = 131072) -> Header:
    """The header of a published GGUF of the gpt-oss family: experts in MXFP4, other matrices in Q8_0."""
    hidden, heads, kv, head, vocabulary = 2880, 64, 8, 64, 201088
    shapes: list[tuple[str, str, tuple[int, ...]]] = [("token_embd.weight", "Q8_0", (vocabulary, hidden))]
    for i in range(layers):
        for name, rows, columns in (
            ("attn_q", heads * head, hidden),
            ("attn_k", kv * head, hidden),
            ("attn_v", kv * head, hidden),
            ("attn_output", hidden, heads * head),
        ):
            shapes += [(f"blk.{i}.{name}.weight", "Q8_0", (rows, columns)), (f"blk.{i}.{name}.bias", "F32", (rows,))]
        for name in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"):
            shapes.append((f"blk.{i}.{name}.weight", "MXFP4", (experts, hidden, hidden)))
            shapes.append((f"blk.{i}.{name}.bias", "F32", (experts, hidden)))
        shapes += [
            (f"blk.{i}.attn_norm.weight", "F32", (hidden,)),
            (f"blk.{i}.post_attention_norm.weight", "F32", (hidden,)),
            (f"blk.{i}.attn_sinks.weight", "F32", (heads,)),
            (f"blk.{i}.ffn_gate_inp.weight", "F32", (experts, hidden)),
            (f"blk.{i}.ffn_gate_inp.bias", "F32", (experts,)),
        ]
    shapes += [("output_norm.weight", "F32", (hidden,)), ("output.weight", "Q8_0", (vocabulary, hidden))]
    weights, offset = [], 0
    for name, kind, shape in shapes:
        block, size = BLOCKS[kind]
        nbytes = prod(shape) // block * size
        weights.append(Weight(name, kind, nbytes, offset, shape[-2] if len(shape) > 1 else 0))
        offset += -(-nbytes // 32) * 32
    return Header(
        layers, hidden, heads, kv, head, head, hidden, 4, 128, vocabulary, n_ctx_train, weights=tuple(weights)
    )


def of_size(header: Header, nbytes: int) -> Header:
    """The like of `header` in a file of that size: all weights are as much smaller or larger."""
    ratio = nbytes / header.size_bytes
    weights = (replace(w, nbytes=round(w.nbytes * ratio), offset=round(w.offset * ratio)) for w in header.weights)
    return replace(header, weights=tuple(weights))
