"""Plans for the published shapes on machines of all sizes. What llama.cpp allocates is in tests/engine/test_memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.core.errors import UserError
from inglenook.core.fitting import DEVICE_RESERVE, GIB, RESERVE, Wish, estimate, plans, predict
from inglenook.core.memory import CPU, Choice, Device, Header, Machine, Plan, of_size, published

MIB = 1 << 20
H20 = published(24, 32)
H120 = published(36, 128)
TINY = replace(
    H20,
    layers=4,
    hidden=128,
    heads=4,
    kv_heads=2,
    key_length=32,
    value_length=32,
    weights=tuple(replace(w, nbytes=w.nbytes // 5000) for w in H20.weights if w.layer < 4),
)
AVX2 = (("MXFP4", 8),)
GPUS = (("CUDA0", "gpu"), ("Vulkan0", "igpu"), ("MTL0", "gpu"))


def machine(gib: float, *devices: Device, repacks: tuple[tuple[str, int], ...] = AVX2) -> Machine:
    return Machine(int(gib * GIB), int(gib * GIB), 8, devices, repacks)


def gpu(gib: float, name: str = "CUDA0", kind: str = "gpu") -> Device:
    return Device(name, "a graphics processor", kind, int(gib * GIB), int(gib * GIB))


# -- bytes: the table of the facts page, which was measured --


def test_published_sizes():
    assert 12_080_000_000 < H20.size_bytes < 12_109_566_624  # the file has 13 MB of vocabulary besides
    assert 63_360_000_000 < H120.size_bytes < 63_387_346_208


@pytest.mark.parametrize(("n_ctx", "cache", "compute"), [(8192, 210, 101), (32768, 786, 125), (131072, 3090, 221)])
def test_cache_and_buffers_of_the_20b_shape(n_ctx: int, cache: int, compute: int):
    (use,) = predict(H20, machine(32), Choice(n_ctx))
    assert use.cache == cache * MIB
    assert use.compute // MIB == compute
    assert use.output == 201088 * 4


def test_repacked_experts_of_the_20b_shape():
    (use,) = predict(H20, machine(32), Choice(8192, repack=True))
    assert round(use.repacked / MIB) == 9682  # measured with AVX2
    (use,) = predict(H20, machine(32, repacks=()), Choice(8192, repack=True))
    assert use.repacked == 0


def test_eight_bits_halve_the_cache():
    full, half = (predict(H20, machine(32), Choice(32768, kind))[0].cache for kind in ("f16", "q8_0"))
    assert half / full == 34 / 64


def cpu_weights(layers: int, experts: int) -> int:
    """The tensors that stay with the CPU, counted by name."""
    names = {f"blk.{i}." for i in range(24 - layers)} | {"token_embd"}
    names |= {f"blk.{i}.ffn_{kind}_exps" for i in range(experts) for kind in ("gate", "up", "down")}
    return sum(w.nbytes for w in H20.weights if w.name.startswith(tuple(names)))


def test_every_weight_is_somewhere_once():
    for experts in (0, 7, 24):
        for layers in (6, 24):
            main, device = predict(H20, machine(32), Choice(8192, device="CUDA0", layers=layers, cpu_experts=experts))
            assert device.weights + cpu_weights(layers, experts) == H20.size_bytes
            assert main.weights >= cpu_weights(layers, experts)
            assert main.cache + device.cache == predict(H20, machine(32), Choice(8192))[0].cache


# -- choices --


@pytest.mark.parametrize(
    ("gib", "n_ctx", "repack"),
    [(64, 131072, True), (28, 131072, True), (24, 32768, True), (20, 131072, False), (16, 98304, False),
     (15, 65536, False), (14, 24576, False), (13, 8192, False), (9, 8192, False)],
)  # fmt: skip
def test_the_20b_model_without_a_graphics_processor(gib: float, n_ctx: int, repack: bool):
    plan = estimate(H20, machine(gib))
    assert (plan.choice.n_ctx, plan.choice.repack) == (n_ctx, repack)
    assert plan.paged == (plan.total > gib * GIB)
    assert bool(plan.not_tried) == (gib < 28)
    assert bool(plan.warning) == plan.paged


def test_too_little_memory_is_said():
    with pytest.raises(UserError, match=r"12\.4 GB, and 5.4 GB are free"):
        estimate(H20, machine(5))
    with pytest.raises(UserError, match="choose a smaller model"):
        estimate(H120, machine(24))


@pytest.mark.parametrize(
    ("gib", "n_ctx", "layers", "experts"),
    [(24, 131072, 24, 0), (16, 131072, 24, 0), (12, 32768, 24, 2), (8, 32768, 24, 12), (4, 32768, 24, 23)],
)
def test_experts_leave_the_graphics_processor_first(gib: float, n_ctx: int, layers: int, experts: int):
    choice = estimate(H20, machine(32, gpu(gib))).choice
    assert (choice.n_ctx, choice.layers, choice.cpu_experts) == (n_ctx, layers, experts)


def test_a_useless_graphics_processor_is_left_alone():
    plan = estimate(H20, machine(64, gpu(1.2)))
    assert plan.choice.device == ""
    assert plan.choice.repack
    assert any("CUDA0" in info.text() for info in plan.not_tried)


def test_the_user_may_do_without_it():
    assert estimate(H20, machine(32, gpu(24)), Wish(gpu_layers=0)).choice.device == ""
    assert estimate(H20, machine(32, gpu(24)), Wish(gpu_layers=10)).choice.layers == 10


def test_memory_of_its_own_is_better_than_more_of_the_shared():
    plan = estimate(H20, machine(64, gpu(30, "Vulkan0", "igpu"), gpu(24)))
    assert plan.choice.device == "CUDA0"


def test_shared_memory_counts_once():
    assert estimate(H20, machine(13, gpu(20, "Vulkan0", "igpu"))).choice.device == ""
    assert estimate(H20, machine(24, gpu(16, "MTL0"))).choice.device == "MTL0"


def test_a_wish_is_granted_with_a_smaller_cache_before_it_is_cut():
    plan = estimate(H20, machine(15.2), Wish(n_ctx=131072))
    assert (plan.choice.n_ctx, plan.choice.cache_type, plan.warning) == (131072, "q8_0", None)
    plan = estimate(H20, machine(14), Wish(n_ctx=131072))
    assert (plan.choice.n_ctx, plan.choice.cache_type) == (24576, "f16")
    assert plan.warning is not None
    assert plan.warning.text().startswith("A context window of 131072 tokens does not fit into the free memory, so it")
    assert [info.text()[:45] for info in plan.not_tried][-2:] == [
        "On the CPU with 131072 tokens of context: tak",
        "On the CPU with 131072 tokens of context at 8",
    ]


def test_a_wish_is_no_more_than_the_model_can():
    plan = estimate(H20, machine(64), Wish(n_ctx=200_000))
    assert (plan.choice.n_ctx, plan.warning) == (131072, None)
    assert estimate(H20, machine(64), Wish(n_ctx=4096)).choice.n_ctx == 4096


def test_a_small_model():
    plan = estimate(TINY, machine(16))
    assert plan.threads == 1
    assert plan.choice.n_ctx < 131072  # the cache is in proportion
    assert estimate(TINY, machine(16), Wish(threads=3)).threads == 3


# -- on any machine --

GIBS = st.floats(0, 80)
DEVICES = st.sampled_from([*GPUS, None])
WISHES = st.builds(Wish, st.sampled_from([0, 2048, 20000, 65536, 131072]), st.sampled_from([-1, 0, 6]))
HEADERS = {"20b": H20, "120b": H120, "tiny": TINY}  # by name: hypothesis prints its examples
NAMES = st.sampled_from(list(HEADERS))


def build(main: float, own: float, kind: tuple[str, str] | None) -> Machine:
    return machine(main, *([gpu(own, *kind)] if kind else []))


def found(header: Header, on: Machine, wish: Wish) -> Plan | None:
    try:
        return estimate(header, on, wish)
    except UserError:
        return None


def never_exceeds(plan: Plan, on: Machine) -> None:
    own = {d.name: d for d in on.devices}
    main = sum(u.total for u in plan.uses if u.device == CPU or own[u.device].shares)
    for use in plan.uses:
        if use.device != CPU:
            assert use.total <= own[use.device].free - (0 if own[use.device].shares else DEVICE_RESERVE)
    if main > on.available or plan.paged:
        assert plan.paged
        assert plan.warning
        assert not plan.choice.device
        assert not plan.choice.repack
        assert sum(u.own for u in plan.uses) <= on.available
    elif main > on.available - RESERVE:  # only the smallest goes into the reserve
        assert not plan.choice.device
        assert not plan.choice.repack


@settings(max_examples=40, deadline=None)
@given(NAMES, WISHES, GIBS, GIBS, DEVICES)
def test_never_more_than_there_is(name: str, wish: Wish, main: float, own: float, kind: tuple[str, str] | None):
    on = build(main, own, kind)
    plan = found(HEADERS[name], on, wish)
    if plan is not None:
        never_exceeds(plan, on)


@settings(max_examples=40, deadline=None)
@given(NAMES, WISHES, GIBS, GIBS, DEVICES, st.floats(0, 1), st.booleans())
def test_less_memory_never_leads_to_more_of_it(
    name: str, wish: Wish, main: float, own: float, kind: tuple[str, str] | None, part: float, is_main: bool
):
    whole, less = build(main, own, kind), build(*((main * part, own) if is_main else (main, own * part)), kind)
    shrinks(HEADERS[name], whole, less, wish, CPU if is_main else "device", estimate)


def shrinks(
    header: Header, whole: Machine, less: Machine, wish: Wish, which: str, chooser: Callable[..., Plan]
) -> None:
    """The plan for the machine with less memory uses no more of what there is less of."""

    def used(plan: Plan) -> int:
        shared = {d.name for d in whole.devices if d.shares}
        main = sum(u.total for u in plan.uses if u.device == CPU or u.device in shared)
        return main if which == CPU else sum(u.total for u in plan.uses if u.device != CPU)

    try:
        after = chooser(header, less, wish)
        before = chooser(header, whole, wish)
    except UserError:
        return
    if after.choice != before.choice:
        assert used(after) <= used(before) or after.paged


def test_the_checks_can_fail():
    """A planner that takes a larger context when memory is short, and one that ignores the machine, are caught."""

    def perverse(header: Header, on: Machine, wish: Wish) -> Plan:
        fitting_ones = list(plans(header, on, wish))
        return fitting_ones[-1] if on.available > 20 * GIB else fitting_ones[0]

    with pytest.raises(AssertionError):
        shrinks(H20, machine(22), machine(18), Wish(), CPU, perverse)
    with pytest.raises(AssertionError):
        never_exceeds(estimate(H20, machine(64)), machine(16))
    with pytest.raises(AssertionError):
        never_exceeds(estimate(H20, machine(32, gpu(24))), machine(32, gpu(8)))


def test_a_file_of_other_types_takes_as_much_less() -> None:
    header = published(24, 32)
    smaller = of_size(header, 11_624_759_488)
    assert abs(smaller.size_bytes - 11_624_759_488) < len(header.weights)
    assert replace(smaller, weights=()) == replace(header, weights=())
    machine = Machine(64_000_000_000, 64_000_000_000, 8)
    plans = [estimate(one, machine) for one in (smaller, header)]
    assert header.size_bytes - smaller.size_bytes == pytest.approx(plans[1].total - plans[0].total, rel=0.2)
