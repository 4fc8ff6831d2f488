"""How a model fits a machine: arithmetic on a file's header, before anything is loaded or even downloaded.

The bytes are those that llama.cpp allocates for gpt-oss with flash attention and one row of outputs, found by reading
it and by runs over grids of settings (tests/bench/memory.py); with less than three layers it takes a little less.
Choices are gone through in one fixed order, best first, and the first that fits is taken; so less memory never leads to
a plan that takes more of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.i18n import N_, tr
from inglenook.core.memory import CPU, Choice, Device, Header, Machine, Plan, Use, Weight

GIB = 1 << 30
RESERVE = 2 * GIB  # of main memory, for other programs
DEVICE_RESERVE = 1 * GIB  # of a device's own memory, for the screen and the driver
BATCH = 512  # tokens evaluated at once: enough for full speed, few enough to show progress
SMALLEST = 8192  # a context that a chat with reasoning needs, whatever the memory
LONG = 32768  # a context for whose sake speed is not given up
STEPS = (131072, 98304, 65536, 49152, LONG, 24576, 16384, 12288, SMALLEST)
_SMALL = 64 << 20  # a model whose steps are done before other threads wake: waiting for them would stall it
_CELLS = 256  # llama.cpp rounds the cache's cells up to a multiple
_CACHE_BLOCKS = {"f16": (1, 2), "q8_0": (32, 34)}  # elements and bytes
_GPUS = ("gpu", "igpu")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user set: 0 for context and threads, -1 for layers on a graphics processor, mean the best."""

    n_ctx: int = 0
    gpu_layers: int = -1
    threads: int = 0


def estimate(header: Header, machine: Machine, wish: Wish | None = None) -> Plan:
    """The best plan that fits. Raises `UserError` if none does."""
    return next(plans(header, machine, wish or Wish()))


def plans(header: Header, machine: Machine, wish: Wish) -> Iterator[Plan]:
    """All plans that fit, best first. Raises `UserError` at the end if there was none."""
    not_tried: dict[tuple[object, ...], ErrorInfo] = {}
    found, last = False, None
    threads = wish.threads or (1 if header.size_bytes < _SMALL else machine.threads)
    items = _items(header, machine)
    for choice in _choices(header, machine, wish, any(item.repacks for item in items)):
        last = plan = Plan(choice, _predict(header, items, choice), threads, BATCH, _reason(choice))
        if lack := _lack(plan.uses, machine):
            kind = (choice.device, choice.layers, choice.cpu_experts > 0, choice.repack, choice.cache_type)
            not_tried.setdefault(kind, _refusal(choice, *lack))
            continue
        found = True
        yield replace(plan, not_tried=tuple(not_tried.values()), warning=_warning(choice, header, wish))
    if found or last is None:
        return
    yield _paged(last, machine, tuple(not_tried.values()))


def _paged(plan: Plan, machine: Machine, not_tried: tuple[ErrorInfo, ...]) -> Plan:
    """The smallest plan, into the reserve or with a part of the weights on the disk; `UserError` if half do not fit."""
    need = sum(use.own for use in plan.uses) + sum(use.weights for use in plan.uses if use.device == CPU) // 2
    words = {"needed": gigabytes(plan.total), "free": gigabytes(machine.available)}
    if need > machine.available:
        raise UserError(
            N_(
                "There is not enough memory for this model: it takes {needed}, and {free} are free. "
                "Close other programs, or choose a smaller model."
            ),
            **words,
        )
    if plan.total <= machine.available:
        return replace(plan, not_tried=not_tried)
    warning = ErrorInfo(
        N_(
            "The model takes {needed}, and {free} of memory are free: parts of it may be read from the disk again and "
            "again, which is slow. Close other programs."
        ),
        tuple(words.items()),
    )
    return replace(plan, not_tried=not_tried, warning=warning, paged=True)


# -- what there is to choose --


def _choices(header: Header, machine: Machine, wish: Wish, can_repack: bool) -> Iterator[Choice]:
    """Best first, in an order that never depends on how much memory is free."""
    contexts = list(_contexts(header, wish))
    long = [c for c in contexts if c.n_ctx >= min(LONG, contexts[0].n_ctx)]
    if wish.gpu_layers and (gpu := best_device(machine.devices)):
        yield from _on_device(header, wish, gpu.name, contexts, long)
    if can_repack:
        yield from (replace(c, repack=True) for c in long)
    yield from contexts


def _on_device(header: Header, wish: Wish, name: str, contexts: list[Choice], long: list[Choice]) -> Iterator[Choice]:
    """Whole; then with ever more experts on the CPU, which costs least speed; then ever fewer layers."""
    every = header.layers
    if wish.gpu_layers > 0:
        yield from (replace(c, device=name, layers=min(wish.gpu_layers, every)) for c in contexts)
        return
    yield from (replace(c, device=name, layers=every) for c in long)
    for experts in range(1, every + 1):
        yield replace(long[-1], device=name, layers=every, cpu_experts=experts)
    shorter = [c for c in contexts if c not in long]
    yield from (replace(c, device=name, layers=every, cpu_experts=every) for c in shorter)
    for quarters in (3, 2, 1):
        if layers := every * quarters // 4:
            yield replace(contexts[-1], device=name, layers=layers, cpu_experts=every)


def _contexts(header: Header, wish: Wish) -> Iterator[Choice]:
    """Longest first. What is wished is tried with a cache of half the size before it is shortened.

    Without a wish the cache is not out of proportion to the model: a third of its size, which for the 20b model is its
    full length.
    """
    trained = header.n_ctx_train
    longest = min(wish.n_ctx, trained) if wish.n_ctx > 0 else trained
    if wish.n_ctx > 0:
        yield Choice(longest)
        if header.key_length % 32 == header.value_length % 32 == 0:
            yield Choice(longest, "q8_0")
    else:
        most = max(header.size_bytes // 3, _SMALL // 4)
        full = header.layers // header.pattern if header.window else header.layers
        per_token = max(full, 1) * _cell_bytes(header, "f16")
        longest = min(longest, next((step for step in STEPS if step * per_token <= most), SMALLEST))
        yield Choice(longest)
    yield from (Choice(step) for step in STEPS if step < longest)


def best_device(devices: Iterable[Device]) -> Device | None:
    """The graphics processor to use: one with memory of its own before one without, then the larger memory."""
    found = [d for d in devices if d.kind in _GPUS]
    return max(found, key=lambda d: (d.kind == "gpu", d.total), default=None)


def _lack(uses: tuple[Use, ...], machine: Machine) -> tuple[str, int, int] | None:
    """The first device whose memory is too small, with what is needed and what is free; None if it fits."""
    shared = {d.name for d in machine.devices if d.shares}
    main = sum(use.total for use in uses if use.device == CPU or use.device in shared)
    checks = [(CPU, main, machine.available - RESERVE)]
    free = {d.name: d.free - (0 if d.shares else DEVICE_RESERVE) for d in machine.devices}
    checks += [(use.device, use.total, free[use.device]) for use in uses if use.device != CPU]
    return next((check for check in checks if check[1] > check[2]), None)


# -- bytes --


@dataclass(frozen=True, slots=True)
class _Item:
    """A tensor, with what decides where it goes."""

    weight: Weight
    layer: int
    is_expert: bool
    is_output: bool
    repacks: bool

    def is_on_device(self, choice: Choice, first: int) -> bool:
        """Whether it goes to the device, which has the layers from `first` on."""
        if self.layer < 0:
            return self.is_output
        return self.layer >= first and not (self.is_expert and self.layer < choice.cpu_experts)


def _items(header: Header, machine: Machine) -> tuple[_Item, ...]:
    steps = dict(machine.repacks)
    return tuple(
        _Item(w, w.layer, w.is_expert, w.name.startswith("output"), _repacks(w, steps)) for w in header.weights
    )


def _repacks(weight: Weight, steps: dict[str, int]) -> bool:
    """Whether the CPU has a faster layout for it. Embeddings are looked up, not multiplied."""
    step = steps.get(weight.kind, 0)
    return bool(step and weight.rows and weight.rows % step == 0 and not weight.name.startswith("token_embd"))


def predict(header: Header, machine: Machine, choice: Choice) -> tuple[Use, ...]:
    """What llama.cpp allocates for `choice`, the CPU first."""
    return _predict(header, _items(header, machine), choice)


def _predict(header: Header, items: tuple[_Item, ...], choice: Choice) -> tuple[Use, ...]:
    first = header.layers - choice.layers if choice.device else header.layers
    there = [item for item in items if choice.device and item.is_on_device(choice, first)]
    taken = set(map(id, there))
    here = [item for item in items if id(item) not in taken]
    repacked = [item for item in here if choice.repack and item.repacks]
    taken = set(map(id, repacked))
    main = Use(
        CPU,
        weights=_mapped([item.weight for item in here if id(item) not in taken]),
        repacked=sum(item.weight.nbytes for item in repacked),
        cache=sum(layer_cache(header, i, choice) for i in range(first)),
        compute=_compute(header, choice),
        output=4 * header.vocabulary,
    )
    if not choice.device:
        return (main,)
    staging = max((item.weight.nbytes for item in here if item.is_expert), default=0)
    if not choice.cpu_experts and choice.layers == header.layers:  # the CPU has inputs and embeddings only
        main = replace(main, compute=_masks(header, choice) + 4 * _batch(choice) * (header.hidden + 10))
    device = Use(
        choice.device,
        weights=sum(item.weight.nbytes for item in there),
        cache=sum(layer_cache(header, i, choice) for i in range(first, header.layers)),
        compute=_compute(header, choice) + staging,  # experts of the CPU are copied here for long prompts
    )
    return main, device


def _mapped(weights: list[Weight]) -> int:
    """Of each file, all from the first to the last tensor that is used where it lies."""
    spans: dict[int, tuple[int, int]] = {}
    for w in weights:
        start, end = spans.get(w.part, (w.offset, 0))
        spans[w.part] = min(start, w.offset), max(end, w.offset + w.nbytes)
    return sum(end - start for start, end in spans.values())


def layer_cache(header: Header, layer: int, choice: Choice) -> int:
    """Bytes of keys and values of one layer."""
    window = bool(header.window) and layer % header.pattern < header.pattern - 1
    return (_window_cells(header, choice) if window else _padded(choice.n_ctx)) * _cell_bytes(header, choice.cache_type)


def _cell_bytes(header: Header, cache_type: str) -> int:
    block, size = _CACHE_BLOCKS[cache_type]
    return header.kv_heads * (header.key_length + header.value_length) // block * size


def _window_cells(header: Header, choice: Choice) -> int:
    """A window's layer keeps what the tokens of a batch can see, but no more than there is."""
    return _padded(min(_padded(choice.n_ctx), header.window + _batch(choice)))


def _batch(choice: Choice) -> int:
    return min(BATCH, _padded(choice.n_ctx))


def _padded(cells: int) -> int:
    return -(-cells // _CELLS) * _CELLS


def _masks(header: Header, choice: Choice) -> int:
    """Which cells each token of a batch sees: two bytes for each, once for either kind of layer."""
    cells = _padded(choice.n_ctx) if header.layers >= header.pattern or not header.window else 0
    return 2 * _batch(choice) * (cells + (_window_cells(header, choice) if header.window else 0))


def _compute(header: Header, choice: Choice) -> int:
    """The buffer in which a batch is evaluated; its peak is in a layer's experts, or in its attention."""
    queries, used = header.heads * header.key_length, header.experts_used
    experts = 3 * used * header.expert_length + queries
    row = 3 * header.hidden + max(experts, 2 * queries) + 10  # floats a token
    return _masks(header, choice) + 4 * _batch(choice) * row


# -- words --


def gigabytes(size: int) -> str:
    """For people."""
    return f"{size / 1e9:.1f} GB" if size >= 100_000_000 else f"{max(size, 0) / 1e6:.0f} MB"


def parts(use: Use) -> str:
    """What there is on a device, in words."""
    named = (
        (use.weights, N_("weights {size}")),
        (use.repacked, N_("repacked {size}")),
        (use.cache, N_("cache {size}")),
        (use.compute, N_("compute buffers {size}")),
        (use.output, N_("output {size}")),
    )
    return ", ".join(tr(words, size=gigabytes(size)) for size, words in named if size)


def _reason(choice: Choice) -> ErrorInfo:
    if choice.device and not choice.cpu_experts:
        return ErrorInfo(N_("As many layers as wanted fit on {device}."), (("device", choice.device),))
    if choice.device:
        return ErrorInfo(
            N_("{device} has room for all but some experts, which the CPU computes."), (("device", choice.device),)
        )
    if choice.repack:
        return ErrorInfo(N_("There is room for a copy of the weights in a layout that the CPU computes faster."))
    return ErrorInfo(N_("The longest context that fits into the memory beside the model's file."))


def _refusal(choice: Choice, device: str, needed: int, free: int) -> ErrorInfo:
    words = {
        "n_ctx": choice.n_ctx,
        "device": device,
        "needed": gigabytes(needed),
        "free": gigabytes(free),
        "place": choice.device,
        "layers": choice.layers,
    }
    arguments = tuple((name, str(value)) for name, value in words.items())
    if choice.device and choice.cpu_experts:
        template = N_(
            "{layers} layers on {place}, with experts on the CPU and {n_ctx} tokens of context: "
            "takes {needed} of the memory of {device}, where {free} are to spare."
        )
    elif choice.device:
        template = N_(
            "{layers} layers on {place}, with {n_ctx} tokens of context: "
            "takes {needed} of the memory of {device}, where {free} are to spare."
        )
    elif choice.repack:
        template = N_(
            "On the CPU in its faster layout, with {n_ctx} tokens of context: takes {needed}, with {free} to spare."
        )
    elif choice.cache_type != "f16":
        template = N_("On the CPU with {n_ctx} tokens of context at 8 bits: takes {needed}, with {free} to spare.")
    else:
        template = N_("On the CPU with {n_ctx} tokens of context: takes {needed}, with {free} to spare.")
    return ErrorInfo(template, arguments)


def _warning(choice: Choice, header: Header, wish: Wish) -> ErrorInfo | None:
    """What was wished for and is not to be had."""
    if choice.n_ctx >= min(wish.n_ctx, header.n_ctx_train):
        return None
    words = (("wanted", str(wish.n_ctx)), ("n_ctx", str(choice.n_ctx)))
    return ErrorInfo(
        N_(
            "A context window of {wanted} tokens does not fit into the free memory, so it is {n_ctx}. "
            "Close other programs, or set a smaller one."
        ),
        words,
    )
