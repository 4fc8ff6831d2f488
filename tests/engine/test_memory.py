"""What is foreseen against what llama.cpp allocates, over grids of shapes and settings; and loading by a plan."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engine import shapes
from tests.engine.shapes import FULL, Shape

from inglenook.core.errors import UserError
from inglenook.core.fitting import BATCH, RESERVE, predict
from inglenook.core.inference import ModelSpec
from inglenook.core.memory import CPU, Choice, Machine, Plan, Use, published
from inglenook.engine import launch, llama, loaded, machine, memory
from inglenook.engine.loaded import Loaded
from inglenook_convert.headers import HeaderError, check_gguf

WITHIN = 0.05
SHAPES = {
    "small": Shape(),
    "q4_0 beside the experts": Shape(others="Q4_0"),
    "16 bits": Shape(others="BF16", layers=5),
    "wide attention": Shape(heads=64, head=64, experts=4, used=2),
    "wide experts": Shape(inter=1024, layers=4, vocabulary=20000),
    "large window": Shape(window=1024),
}


def header_of(path: Path):
    return memory.read_header(check_gguf(path), path)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 GB of which the disk holds a few kilobytes."""
    return shapes.write(tmp_path_factory.mktemp("full") / "full.gguf", FULL)


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    llama.start()


@contextmanager
def allocated(path: Path, choice: Choice) -> Iterator[Use]:
    """What llama.cpp really allocates for a choice on the CPU."""
    model = llama.Model(path, place=choice)
    context = llama.Context(model, choice.n_ctx, 1, cache_type=choice.cache_type)
    (use,) = memory.uses(model.buffers + context.buffers)
    yield use
    context.close()
    model.close()


def off(foreseen: int, found: int) -> float:
    """The error, beside the hundredth of a MiB to which the log is rounded."""
    return max(0, abs(foreseen - found) - 11_000) / max(found, 1)


@pytest.mark.parametrize("name", SHAPES)
def test_foreseen_on_the_cpu(name: str, tmp_path: Path) -> None:
    path = shapes.write(tmp_path / "shape.gguf", SHAPES[name])
    header, here = header_of(path), memory.this_machine()
    for n_ctx, cache_type, repack in itertools.product((256, 2048, 16384), ("f16", "q8_0"), (False, True)):
        choice = Choice(n_ctx, cache_type, repack=repack)
        (use,) = predict(header, here, choice)
        with allocated(path, choice) as found:
            assert off(use.total, found.total) < WITHIN
            for part in ("weights", "repacked", "cache", "compute", "output"):
                assert off(getattr(use, part), getattr(found, part)) < WITHIN, (part, choice)
            assert bool(found.repacked) == bool(use.repacked)


def test_foreseen_for_the_demo_model(demo_gguf: Path) -> None:
    header, here = header_of(demo_gguf), memory.this_machine()
    for choice in (Choice(8192), Choice(4096, "q8_0"), Choice(2048, repack=True)):
        with allocated(demo_gguf, choice) as found:
            assert off(predict(header, here, choice)[0].total, found.total) < WITHIN


@pytest.mark.parametrize("layers", [1, 2])
def test_less_than_three_layers_take_less_than_foreseen(layers: int, tmp_path: Path) -> None:
    """No mask has to be kept for a later layer. Nobody has such a model but tests."""
    path = shapes.write(tmp_path / "shape.gguf", Shape(layers=layers))
    with allocated(path, Choice(2048)) as found:
        (use,) = predict(header_of(path), memory.this_machine(), Choice(2048))
        assert found.total < use.total < 1.15 * found.total


@pytest.mark.parametrize("cache_type", ["f16", "q8_0"])
def test_foreseen_for_the_true_20b_shape(full: Path, cache_type: str) -> None:
    header, here = header_of(full), memory.this_machine()
    with shapes.dry_run(full) as model:
        for n_ctx in (256, 8192, 49152, 131072):
            cache, compute = shapes.dry_context(model, n_ctx, BATCH, cache_type)
            (use,) = predict(header, here, Choice(n_ctx, cache_type))
            assert off(use.cache, cache) < WITHIN
            assert off(use.compute, compute) < WITHIN


def test_the_grid_can_fail(full: Path) -> None:
    """The 20b shape's figures are not those of one with less of anything, nor of a window cache kept whole."""
    header, here = header_of(full), memory.this_machine()
    with shapes.dry_run(full) as model:
        cache, compute = shapes.dry_context(model, 32768, BATCH, "f16")
    for wrong in ({"layers": 22}, {"kv_heads": 7}, {"window": 0}, {"pattern": 3}):
        assert off(predict(replace(header, **wrong), here, Choice(32768))[0].cache, cache) > WITHIN
    for wrong in ({"hidden": 2000}, {"experts_used": 3}, {"expert_length": 2500}, {"heads": 32}):
        assert off(predict(replace(header, **wrong), here, Choice(32768))[0].compute, compute) > WITHIN / 2


def test_header(full: Path) -> None:
    header = header_of(full)
    assert replace(header, weights=()) == replace(published(24, 32), weights=())
    assert header.size_bytes == published(24, 32).size_bytes
    assert {w.name: (w.kind, w.nbytes, w.rows) for w in header.weights} == {
        w.name: (w.kind, w.nbytes, w.rows) for w in published(24, 32).weights
    }


def test_header_of_a_model_in_parts(tmp_path: Path) -> None:
    """The parts' tensors are joined; a missing part is told."""
    first = shapes.write(tmp_path / "m-00001-of-00002.gguf", Shape(layers=2))
    with pytest.raises(HeaderError, match="does not exist"):
        header_of(first)
    shapes.write(tmp_path / "m-00002-of-00002.gguf", Shape(layers=1))
    parts = [w.part for w in header_of(first).weights]
    assert parts.count(0) > parts.count(2) > 0


def test_a_file_that_does_not_say_its_size(tmp_path: Path) -> None:
    path = shapes.write(tmp_path / "odd.gguf", Shape(layers=0))
    with pytest.raises(HeaderError, match="how large its layers are"):
        header_of(path)
    with pytest.raises(UserError, match="is incomplete or damaged"):
        loaded.check_model_file(path)


def test_machine() -> None:
    found = launch.machine()  # as another process tells it
    assert (found.devices, found.repacks) == (memory.this_machine().devices, memory.repacks())
    assert 0 < found.available <= found.total
    assert found.threads >= 1
    assert [d.kind for d in found.devices].count("cpu") == 1


def test_experts_can_be_kept_on_the_cpu(tmp_path: Path) -> None:
    """Which is where they are anyway here; but llama.cpp says that it was told."""
    path = shapes.write(tmp_path / "shape.gguf", Shape())
    with shapes.said("DEBUG") as lines:
        llama.Model(path, place=Choice(0, device="none", cpu_experts=2)).close()
    told = {line.split()[1] for line in lines if line.endswith("overridden to CPU")}
    assert {name.split(".")[1] for name in told} == {"0", "1"}
    assert all("_exps." in name for name in told)
    assert len(told) == 12


# -- loading --


def spec_of(path: Path, **wishes: int) -> ModelSpec:
    return ModelSpec(str(path), **wishes)


@contextmanager
def loading(spec: ModelSpec) -> Iterator[Loaded]:
    found = Path(spec.path).stat()
    made = Loaded((spec, found.st_size, found.st_mtime_ns), lambda _: True)
    yield made
    made.close()


def short_of_memory(monkeypatch: pytest.MonkeyPatch, available: int) -> None:
    monkeypatch.setattr(machine, "main_memory", lambda: (available, available))


def test_the_plan_is_told_with_what_was_allocated(demo_gguf: Path) -> None:
    with loading(spec_of(demo_gguf)) as made:
        plan, info = made.info.plan, made.info
        assert plan is not None
        assert (info.n_ctx, info.devices) == (plan.choice.n_ctx, (CPU,))
        assert off(plan.total, info.allocated[0].total) < WITHIN
        assert info.process > 0


def test_the_plan_is_obeyed(random_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too little memory for the wish, a smaller window is loaded and the user is told."""
    (whole,) = predict(header_of(random_gguf), memory.this_machine(), Choice(8192))
    short_of_memory(monkeypatch, RESERVE + whole.total - 1)
    with loading(spec_of(random_gguf, n_ctx=8192)) as made:
        assert made.plan.choice.cache_type == "q8_0"
        assert made.info.allocated[0].cache < whole.cache * 0.6
        (refused,) = made.plan.not_tried
        assert refused.text().startswith("On the CPU with 8192 tokens of context: takes ")


def test_what_does_not_fit_is_not_tried(random_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch, 100_000)
    monkeypatch.setattr(llama, "Model", None)  # it would be called
    with pytest.raises(UserError, match="not enough memory for this model"), loading(spec_of(random_gguf)):
        pass


def test_when_the_memory_is_gone_after_all_the_next_smaller_is_loaded(
    random_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = [], llama.Context

    def context(model: llama.Model, n_ctx: int, threads: int, *, cache_type: str) -> llama.Context:
        made.append((n_ctx, cache_type))
        if len(made) < 2:
            raise UserError("no memory")
        return real(model, n_ctx, threads, cache_type=cache_type)

    monkeypatch.setattr(loaded.llama, "Context", context)
    with loading(spec_of(random_gguf, n_ctx=8192)) as found:
        assert made == [(8192, "f16"), (8192, "q8_0")]
        assert "llama.cpp could not allocate it" in found.plan.not_tried[-1].text()


def test_when_nothing_can_be_allocated(random_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def context(*_: object, **__: object) -> None:
        raise UserError("no memory")

    monkeypatch.setattr(loaded.llama, "Context", context)
    with pytest.raises(UserError, match="no memory"), loading(spec_of(random_gguf, n_ctx=8192)):
        pass


def test_without_the_device_the_cpu_is_the_way_out(demo_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that fails at loading: what goes to it is not tried again in another size."""
    tried, real = [], llama.Model

    def model(path: Path, *, place: Choice, progress: object) -> llama.Model:
        tried.append(place.device)
        if place.device:
            raise UserError("the driver fails")
        return real(path, place=place)

    plans = list(memory.plans_for(spec_of(demo_gguf)))
    on_device = [replace(p, choice=replace(p.choice, device="GPU", layers=4)) for p in plans if not p.choice.repack]
    monkeypatch.setattr(loaded.memory, "plans_for", lambda _: iter((*on_device, *plans)))
    monkeypatch.setattr(loaded.llama, "Model", model)
    with loading(spec_of(demo_gguf)) as made:
        assert (tried, made.plan.choice.device) == (["GPU", ""], "")


def test_repacking_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "repacking_is_safe", lambda: True)
    for features, expected in (
        ({"REPACK", "AVX2"}, {"Q4_0": 8, "Q4_K": 8, "IQ4_NL": 8, "MXFP4": 8}),
        ({"AVX2"}, {}),
        ({"REPACK", "NEON", "DOTPROD", "MATMUL_INT8"}, {"Q4_0": 4, "Q4_K": 8, "Q5_K": 8, "Q6_K": 8, "Q8_0": 4,
                                                       "IQ4_NL": 4, "MXFP4": 4}),
    ):  # fmt: skip
        monkeypatch.setattr(llama, "features", lambda features=features: frozenset(features))
        assert dict(memory.repacks()) == expected
    monkeypatch.setattr(llama, "repacking_is_safe", lambda: False)
    assert memory.repacks() == ()


def test_buffers_by_device() -> None:
    buffers = [("CPU_Mapped", "model", 5), ("CUDA0", "model", 7), ("CUDA0", "KV", 2), ("CUDA0", "KV", 3),
               ("CUDA_Host", "compute", 4), ("CUDA0", "compute", 6), ("CPU", "output", 1), ("CPU_REPACK", "model", 9),
               ("MTL0_Mapped", "model", 8)]  # fmt: skip
    assert memory.uses(llama.Buffer(*buffer) for buffer in buffers) == (
        Use(CPU, weights=5, compute=4, output=1, repacked=9),
        Use("CUDA0", weights=7, cache=5, compute=6),
        Use("MTL0", weights=8),
    )


def test_plan_and_machine_are_values() -> None:
    plan = Plan(Choice(1), (Use(CPU, 1, 2, 3, 4, 5),), 1, 1, UserError("x").info)
    assert (plan.total, plan.uses[0].own) == (15, 14)
    assert Machine(1, 2, 3) == Machine(1, 2, 3)
