"""What a model file and this machine say about memory, for `core.fitting`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from inglenook.core.fitting import Wish, plans
from inglenook.core.inference import ModelSpec
from inglenook.core.memory import CPU, Header, Machine, Plan, Use, Weight
from inglenook.engine import beside, llama, machine
from inglenook_convert.headers import GgufSummary, HeaderError, check_gguf

_PART = re.compile(r"(?P<stem>.*)-00001-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_REPACKED = (  # features of the CPU, and types with the number of rows that must divide a matrix's: ggml's repack.cpp
    (("AVX2",), (("Q4_0", 8), ("Q4_K", 8), ("IQ4_NL", 8), ("MXFP4", 8))),
    (("AVX512",), (("Q2_K", 8),)),
    (("NEON", "MATMUL_INT8"), (("Q4_0", 4), ("Q4_K", 8), ("Q5_K", 8), ("Q6_K", 8), ("Q8_0", 4))),
    (
        ("NEON", "DOTPROD"),
        (("Q4_0", 4), ("Q4_K", 8), ("Q5_K", 8), ("Q6_K", 8), ("Q8_0", 4), ("IQ4_NL", 4), ("MXFP4", 4)),
    ),
)


def plan_for(spec: ModelSpec) -> Plan:
    """How `spec` will be loaded on this machine as it is now. Raises `UserError`, `HeaderError`."""
    return next(plans_for(spec))


def plans_for(spec: ModelSpec) -> Iterator[Plan]:
    """All ways that fit, best first; there is one at least. Raises `UserError`, `HeaderError`."""
    path = Path(spec.path)
    header = read_header(summary_of(path), path)
    return plans(header, this_machine(), Wish(spec.n_ctx, spec.gpu_layers, spec.threads))


def fits_beside(spec: ModelSpec, loaded: Iterable[Use]) -> bool:
    """See `beside.fits_beside`, for this machine as it is now."""
    path = Path(spec.path)
    header = read_header(summary_of(path), path)
    return beside.fits_beside(header, Wish(spec.n_ctx, spec.gpu_layers, spec.threads), this_machine(), loaded)


def summary_of(path: Path) -> GgufSummary:
    """`check_gguf`, of a file that has not changed since only once. Raises `HeaderError`."""
    try:
        found = path.stat()
    except OSError:
        return check_gguf(path)  # it has the words
    return _check_gguf(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1)
def _check_gguf(path: Path, _size: int, _changed: int) -> GgufSummary:
    return check_gguf(path)


def read_header(summary: GgufSummary, path: Path) -> Header:
    """The parts of a gpt-oss file's header that say what memory it takes. Raises `HeaderError`."""
    weights = _weights(summary, 0)
    if match := _PART.fullmatch(path.name):
        for number in range(2, int(match["count"]) + 1):
            other = path.with_name(f"{match['stem']}-{number:05d}-of-{match['count']}.gguf")
            weights += _weights(check_gguf(other), number)

    def value(key: str, default: int = 0) -> int:
        found = summary.values.get(f"{summary.architecture}.{key}", default)
        return found if type(found) is int else default

    hidden, heads = value("embedding_length"), value("attention.head_count")
    layers, n_ctx_train = value("block_count"), value("context_length")
    if min(layers, hidden, heads, n_ctx_train) < 1:
        raise HeaderError(f"{path} does not say how large its layers are. Get the file again or choose another.")
    head = hidden // heads
    vocabulary = next((t.shape[0] for t in summary.tensors if t.name == "token_embd.weight"), 0)
    return Header(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=value("attention.head_count_kv", heads),
        key_length=value("attention.key_length", head),
        value_length=value("attention.value_length", head),
        expert_length=value("expert_feed_forward_length", value("feed_forward_length")),
        experts_used=value("expert_used_count"),
        window=value("attention.sliding_window"),
        vocabulary=vocabulary,
        n_ctx_train=n_ctx_train,
        pattern=max(value("attention.sliding_window_pattern", 2), 1),
        weights=weights,
    )


def _weights(summary: GgufSummary, part: int) -> tuple[Weight, ...]:
    return tuple(
        Weight(t.name, t.kind.name, t.kind.nbytes(t.shape), t.offset, t.shape[-2] if len(t.shape) > 1 else 0, part)
        for t in summary.tensors
    )


def this_machine() -> Machine:
    """The computer that this runs on, as it is now."""
    devices = llama.devices()
    available, total = machine.main_memory()
    return Machine(available, total, machine.threads(), devices, repacks())


def repacks() -> tuple[tuple[str, int], ...]:
    """The types of weights that this CPU has a faster layout for, and that it is safe to use; see `Machine`."""
    has = llama.features()
    if not llama.repacking_is_safe() or "REPACK" not in has:
        return ()
    found: dict[str, int] = {}
    for needed, types in _REPACKED:
        if has.issuperset(needed):
            found = {**dict(types), **found}
    return tuple(found.items())


def uses(buffers: Iterable[llama.Buffer]) -> tuple[Use, ...]:
    """What llama.cpp has allocated, by device, the CPU first."""
    found: dict[str, dict[str, int]] = {CPU: {}}
    for buffer in buffers:
        name, _, kind = buffer.device.partition("_")
        device = CPU if kind == "Host" else name
        field = {"model": "weights", "KV": "cache"}.get(buffer.kind, buffer.kind)
        if kind == "REPACK":
            field = "repacked"
        bytes_of = found.setdefault(device, {})
        bytes_of[field] = bytes_of.get(field, 0) + buffer.nbytes
    return tuple(Use(device, **bytes_of) for device, bytes_of in found.items())
