"""Bytes foreseen by `core.fitting` against those that llama.cpp allocates, over a grid of settings. Prints JSON.

    python -m tests.bench.memory [--full] [--folder DIR]

Files have the true widths of gpt-oss-20b with 3 layers and a tenth of its vocabulary (with --full also 4 and all of
it), and holes for weights, so that they take no disk. They are loaded on the CPU, with contexts of many lengths, cache
types, with and without repacking. The true shape with its 24 layers is loaded without allocation: cache and compute
buffers only. `error` is foreseen / allocated - 1; for `evaluated` the allocation is the growth of the process's
anonymous memory after 512 tokens in one batch and one more, against what is foreseen beside the mapped file. Linux.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tests.engine import shapes

from inglenook.core.fitting import BATCH, STEPS, predict
from inglenook.core.memory import Choice
from inglenook.engine import llama, memory
from inglenook_convert.headers import check_gguf

CONTEXTS = (256, 4096, 8192, 16384, 32768)


def anonymous() -> int:
    """Bytes of this process's memory that no file is behind."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"RssAnon:\s+(\d+)", status)[0]) << 10


def evaluate(path: Path, choice: Choice, foreseen: int) -> dict[str, Any]:
    before = anonymous()
    model = llama.Model(path, place=choice)
    context = llama.Context(model, choice.n_ctx, 1, cache_type=choice.cache_type)
    context.decode(np.zeros(BATCH, np.int32), 0)
    context.decode_one(1, BATCH)
    grown = anonymous() - before
    context.close()
    model.close()
    return {"foreseen": foreseen, "grown": grown, "error": round(foreseen / grown - 1, 4)}


def grid(path: Path, shape: shapes.Shape) -> list[dict[str, Any]]:
    header, machine = memory.read_header(check_gguf(path), path), memory.this_machine()
    rows = []
    for repack in (False, True):
        model = llama.Model(path, place=Choice(0, repack=repack))
        for n_ctx, cache_type in itertools.product(CONTEXTS, ("f16", "q8_0")):
            choice = Choice(n_ctx, cache_type, repack=repack)
            context = llama.Context(model, n_ctx, 2, cache_type=cache_type)
            (found,) = memory.uses(model.buffers + context.buffers)
            context.close()
            (use,) = predict(header, machine, choice)
            rows.append(row(shape, choice, asdict(use), asdict(found)))
        model.close()
    return rows


def dry(path: Path, shape: shapes.Shape) -> list[dict[str, Any]]:
    header, machine = memory.read_header(check_gguf(path), path), memory.this_machine()
    rows = []
    with shapes.dry_run(path) as model:
        for n_ctx, cache_type in itertools.product(STEPS, ("f16", "q8_0")):
            cache, compute = shapes.dry_context(model, n_ctx, BATCH, cache_type)
            use = asdict(predict(header, machine, Choice(n_ctx, cache_type))[0])
            kept = {name: use[name] for name in ("cache", "compute")}
            rows.append(row(shape, Choice(n_ctx, cache_type), kept, {"cache": cache, "compute": compute}))
    return rows


def row(shape: shapes.Shape, choice: Choice, foreseen: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    foreseen.pop("device", None)
    found.pop("device", None)
    total = sum(found.values())
    return {
        "layers": shape.layers,
        "others": shape.others,
        "n_ctx": choice.n_ctx,
        "cache_type": choice.cache_type,
        "repack": choice.repack,
        "foreseen": foreseen,
        "allocated": found,
        "error": round(sum(foreseen.values()) / total - 1, 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    llama.start()
    small = replace(shapes.FULL, layers=3, vocabulary=20_000)
    loaded = [small, replace(small, others="Q4_0"), replace(small, others="BF16")]
    if arguments.full:
        loaded += [replace(shapes.FULL, layers=4)]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = shapes.write(Path(folder) / "shape.gguf", small)
        header, choice = memory.read_header(check_gguf(path), path), Choice(8192)
        (use,) = predict(header, memory.this_machine(), choice)
        evaluated = evaluate(path, choice, use.own)
        for shape in loaded:
            rows += grid(shapes.write(path, shape), shape)
        shapes.write(path, shapes.FULL)
        true_shape = dry(path, shapes.FULL)
    errors = [abs(r["error"]) for r in (*rows, *true_shape)]
    summary = {"settings": len(errors), "largest_error": max(errors), "evaluated": evaluated}
    print(json.dumps({**summary, "loaded": rows, "true_shape": true_shape}))


if __name__ == "__main__":
    main()
