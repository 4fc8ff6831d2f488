"""Whether a model can be loaded while another one is still in memory, so that there is always one that answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from inglenook.core.errors import UserError
from inglenook.core.fitting import Wish, plans
from inglenook.core.memory import CPU, Header, Machine, Use


def fits_beside(header: Header, wish: Wish, machine: Machine, loaded: Iterable[Use]) -> bool:
    """Whether the model of that `header` gets, beside what is `loaded`, the very plan that it would get alone.

    `machine` is as it is now, with the loaded one in it. Raises `UserError` if the new one would not fit even alone.
    """
    uses = tuple(loaded)
    alone = next(plans(header, _without(machine, uses), wish))
    try:
        beside = next(plans(header, _with(machine, uses), wish))
    except UserError:
        return False
    return beside.choice == alone.choice and beside.paged == alone.paged


def _without(machine: Machine, uses: tuple[Use, ...]) -> Machine:
    """Once those are gone."""
    of = {use.device: use.total for use in uses}
    shared = {device.name for device in machine.devices if device.shares}
    back = sum(use.own for use in uses if use.device == CPU or use.device in shared)
    devices = tuple(replace(device, free=device.free + of.get(device.name, 0)) for device in machine.devices)
    return replace(machine, available=machine.available + back, devices=devices)


def _with(machine: Machine, uses: tuple[Use, ...]) -> Machine:
    """Without the pages of a mapped file, which the system calls available though an answer reads them all."""
    mapped = sum(use.weights for use in uses if use.device == CPU)
    return replace(machine, available=machine.available - mapped)
