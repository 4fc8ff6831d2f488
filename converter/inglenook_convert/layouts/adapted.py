"""A base with a LoRA adapter on it: what the adapter adds to which tensor of the base, whatever the base's layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from inglenook_convert.headers import StoredTensor
from inglenook_convert.layouts.naming import interleaving, transformers_name
from inglenook_convert.lora import Pair, misshapen, pairs_of, scale_of
from inglenook_convert.sources import LowRank, Merged, Source, part_of
from inglenook_convert.tensor_map import Role, Slot

Tensors = Mapping[str, StoredTensor]


class _Layout(Protocol):
    NAME: str

    def source(self, tensors: Tensors, slot: Slot) -> Source: ...


class LoraLayout:
    """The layout of a base with an adapter on it; see `layouts.Layout`."""

    def __init__(self, base: _Layout, config: Mapping[str, Any], tensors: Tensors) -> None:
        """`tensors` are those of both, as `combined` gives them. Raises `ConvertError` if half of a pair is missing."""
        self.NAME = f"{base.NAME}, with a LoRA adapter"
        self._base = base
        self._config = config
        self._pairs = pairs_of(tensors)

    def recognises(self, tensors: Tensors) -> bool:
        """Never: an adapter is known by its own files."""
        return False

    def source(self, tensors: Tensors, slot: Slot) -> Source:
        """See `Layout.source`."""
        base = self._base.source(tensors, slot)
        if not slot.key.endswith(".weight"):
            return base
        if slot.role is not Role.EXPERTS:
            changes = self._linear(slot)
        else:
            changes = self._of_each_expert(slot) or self._of_all_experts(slot)
        if not any(changes):
            return base
        assert not isinstance(base, Merged)
        used = {part.name: part for change in changes if change for part in (change.a, change.b)}
        return Merged(base, changes, (*base.stored, *used.values()))

    def _linear(self, slot: Slot) -> tuple[LowRank | None, ...]:
        parameter = transformers_name(slot)
        module = parameter.removesuffix(".weight")
        for name in (module, f"{module}.linear"):  # a router may be a linear layer, one name further down
            if pair := self._pairs.get((name, 0)):
                a, b = _checked(pair, slot.shape[-1], slot.shape[-2])
                return (LowRank(a, b, scale_of(self._config, a.shape[0], name, parameter)),)
        return ()

    def _of_each_expert(self, slot: Slot) -> tuple[LowRank | None, ...]:
        experts, rows, columns = slot.shape
        start, step = interleaving(slot)

        def change(number: int) -> LowRank | None:
            name = f"{transformers_name(slot)}s.{number}"
            pair = self._pairs.get((name, 0))
            if pair is None:
                return None
            a, b = _checked(pair, columns, rows * step)
            return LowRank(a, b, scale_of(self._config, a.shape[0], name), start=start, step=step)

        changes = tuple(map(change, range(experts)))
        return changes if any(changes) else ()

    def _of_all_experts(self, slot: Slot) -> tuple[LowRank | None, ...]:
        experts, rows, columns = slot.shape
        start, step = interleaving(slot)
        name = transformers_name(slot)
        for a, b in self._wrapped(name.rpartition(".")[0]):
            sizes = (a.shape[1], b.shape[0])
            if sizes not in ((columns, rows * step), (rows * step, columns)):
                continue
            rank = a.shape[0] // experts
            if not rank or a.shape[0] != rank * experts or b.shape[1] != a.shape[0]:
                raise misshapen(
                    b, f"[{b.shape[0]}, rank * {experts}], with its other half [rank * {experts}, {sizes[0]}]"
                )
            turned = self._is_turned(slot) if rows * step == columns else sizes[0] != columns
            scale = scale_of(self._config, rank, name)
            return tuple(
                LowRank(part_of(a, i * rank, rank), b, scale, i, experts, turned, start, step) for i in range(experts)
            )
        return ()

    def _is_turned(self, slot: Slot) -> bool:
        """Whether A belongs to the last dimension of 3-D parameters, not to the second, where a square one hides it.

        PEFT 0.19 chose so for models that do not mark their parameters as transposed; the other parameter of the layer
        shows it. Without that: as other versions do, and as transformers 5 marks it.
        """
        hidden, intermediate = slot.sizes["H"], slot.sizes["F"]
        turned = {"down_proj": (2 * intermediate, hidden), "gate_up_proj": (hidden, intermediate)}  # of the other one
        module, _, parameter = transformers_name(slot).rpartition(".")
        return any((a.shape[1], b.shape[0]) == turned[parameter] for a, b in self._wrapped(module))

    def _wrapped(self, module: str) -> Iterator[Pair]:
        """The pairs of the parameters of `module`, of which each but the last wraps the ones after it."""
        depth = 0
        while pair := self._pairs.get((module, depth)):
            yield pair
            depth += 1


def _checked(pair: Pair, columns: int, rows: int) -> Pair:
    a, b = pair
    rank = a.shape[0]
    if a.shape != (rank, columns):
        raise misshapen(a, f"[rank, {columns}]")
    if b.shape != (rows, rank):
        raise misshapen(b, f"[{rows}, {rank}]")
    return pair
