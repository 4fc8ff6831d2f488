"""The converter's time and memory on a checkpoint of gpt-oss-20b's shape, against `cp` of it. Prints one JSON object.

    python -m tests.bench.convert [--scale 0.1] [--pairs 3] [--folder DIR] [--keep] [--others q8_0 bf16]

The checkpoint is written first (random codes, 13.76 GB in three shards at scale 1). Then, for each type of what is not
experts, pairs of `cp -r` + fsync and a conversion (which syncs too) by turns; before each the input is dropped from the
page cache, and outputs are removed. `ratio` is the median of conversion / cp over the pairs. `peak_pss_mb` is the
largest sum over the converter's processes, sampled every 50 ms (MB = 10^6 bytes). Needs Linux and free disk of 2.1
times the checkpoint.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from tests.converter.checkpoints import SPECIALS, Shape, byte_tokens, config, tokenizer

FULL = Shape(24, 2880, 2880, 32, 4, 64, 8, 64, 201_088)
FULL_BYTES = 13_761_264_768
FULL_MERGES = 446_189
BUFFER = 64 << 20  # bytes of random data, of which all tensors have windows
ELEMENT = {"U8": 1, "BF16": 2}

Entry = tuple[str, str, tuple[int, ...]]
"""A tensor's name, dtype and shape."""


def entries(shape: Shape) -> Iterator[Entry]:
    """The tensors of the published layout."""
    hidden, experts = shape.hidden, shape.experts
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield "model.embed_tokens.weight", "BF16", (shape.vocabulary, hidden)
    for layer in range(shape.layers):
        dense = {
            "input_layernorm.weight": (hidden,),
            "self_attn.sinks": (shape.heads,),
            "post_attention_layernorm.weight": (hidden,),
            "mlp.router.weight": (experts, hidden),
            "mlp.router.bias": (experts,),
        }
        for name, rows, columns in (("q", q, hidden), ("k", kv, hidden), ("v", kv, hidden), ("o", hidden, q)):
            dense |= {f"self_attn.{name}_proj.weight": (rows, columns), f"self_attn.{name}_proj.bias": (rows,)}
        for name, sizes in dense.items():
            yield f"model.layers.{layer}.{name}", "BF16", sizes
        for name, rows, columns in (("gate_up", 2 * shape.intermediate, hidden), ("down", hidden, shape.intermediate)):
            at, sizes = f"model.layers.{layer}.mlp.experts.{name}_proj", (experts, rows, columns // 32)
            yield f"{at}_blocks", "U8", (*sizes, 16)
            yield f"{at}_scales", "U8", sizes
            yield f"{at}_bias", "BF16", (experts, rows)
    yield "model.norm.weight", "BF16", (hidden,)
    yield "lm_head.weight", "BF16", (shape.vocabulary, hidden)


def size_of(entry: Entry) -> int:
    return prod(entry[2]) * ELEMENT[entry[1]]


def write_checkpoint(folder: Path, shape: Shape) -> None:
    """Writes it, in three shards."""
    everything = list(entries(shape))
    total = sum(map(size_of, everything))
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config(shape)))
    (folder / "tokenizer.json").write_text(json.dumps(large_tokenizer(shape.vocabulary), indent=1))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    random = np.random.default_rng(0)
    values = random.normal(0, 0.05, BUFFER // 2).astype(np.float32)
    buffers = {
        "codes": random.bytes(BUFFER),
        "scales": random.integers(112, 124, BUFFER, dtype=np.uint8).tobytes(),
        "BF16": (values.view(np.uint32) >> 16).astype("<u2").tobytes(),
    }
    weight_map: dict[str, str] = {}
    written = 0
    for shard in range(3):
        mine = []
        while everything and (shard == 2 or written < total * (shard + 1) // 3):
            mine.append(everything.pop(0))
            written += size_of(mine[-1])
        file = f"model-{shard:05d}-of-00002.safetensors"
        write_shard(folder / file, mine, buffers)
        weight_map.update(dict.fromkeys((name for name, _, _ in mine), file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def write_shard(path: Path, mine: list[Entry], buffers: dict[str, bytes]) -> None:
    ends = list(itertools.accumulate(map(size_of, mine)))
    header = {name: {"dtype": dtype, "shape": shape, "data_offsets": [end - size_of((name, dtype, shape)), end]}
              for (name, dtype, shape), end in zip(mine, ends, strict=True)}  # fmt: skip
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb", buffering=0) as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for number, entry in enumerate(mine):
            kind = entry[1] if entry[1] != "U8" else "scales" if entry[0].endswith("_scales") else "codes"
            buffer, left = memoryview(buffers[kind]), size_of(entry)
            start = number * 999_424 % (BUFFER // 2)  # an even shift, so that no two tensors are the same
            while left:
                left -= file.write(buffer[start : start + min(left, 16 << 20)])
                start = (start + (16 << 20)) % (BUFFER // 2)
        os.fsync(file.fileno())


def large_tokenizer(size: int) -> dict[str, Any]:
    """tokenizer.json's object with as many tokens and merges as the real one has, in proportion."""
    found = tokenizer()
    texts = [*byte_tokens(), *(f"token{i}" for i in range(256, size - 1090))]
    found["model"]["vocab"] = {text: i for i, text in enumerate(texts)}
    found["added_tokens"] = [
        {"id": len(texts) + i, "content": text, "special": True} for i, text in enumerate(SPECIALS)
    ]
    count = FULL_MERGES * size // FULL.vocabulary
    found["model"]["merges"] = [[texts[i % 256], texts[i // 256]] for i in range(count)]
    return found


def scaled(scale: float) -> Shape:
    """The 20b shape with that fraction of its layers and of its vocabulary."""
    layers, vocabulary = max(1, round(FULL.layers * scale)), max(4096, round(FULL.vocabulary * scale))
    return Shape(layers, *(getattr(FULL, name) for name in ("hidden", "intermediate", "experts", "used", "heads",
                                                            "kv_heads", "head_dim")), vocabulary)  # fmt: skip


# -- measuring --


def go_cold(folder: Path) -> None:
    """Drops the input from the page cache, when nothing waits for the disk any more."""
    os.sync()
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)
    for path in (*target.iterdir(), target):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


class Memory(threading.Thread):
    """Samples the sum of PSS of a process and its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._process = psutil.Process(pid)
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.05):
            with suppress(psutil.NoSuchProcess):
                tree = [self._process, *self._process.children(recursive=True)]
                self.peak = max(self.peak, sum(pss(process.pid) for process in tree))

    def stop(self) -> int:
        """Ends it; the peak in bytes."""
        self._ended.set()
        self.join()
        return self.peak


def pss(pid: int) -> int:
    """Bytes; 0 once the process has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def convert(source: Path, target: Path, others: str) -> int:
    """Runs the command; its peak of memory in bytes."""
    command = [sys.executable, "-m", "inglenook_convert", str(source), "-o", str(target), "--others", others]
    with subprocess.Popen([*command, "--progress", "json"], stdout=subprocess.DEVNULL) as child:
        memory = Memory(child.pid)
        memory.start()
        code = child.wait()
    peak = memory.stop()
    if code:
        raise SystemExit(f"the conversion failed with exit code {code}")
    return peak


def cpu_seconds() -> float:
    """Of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(source: Path, folder: Path, others: str, pairs: int) -> dict[str, Any]:
    """By turns, the order changing from pair to pair."""
    seconds: dict[str, list[float]] = {"cp": [], "convert": []}
    cpu: dict[str, list[float]] = {"cp": [], "convert": []}
    peaks = []
    copied, target = folder / "copy", folder / "out.gguf"
    for pair in range(pairs):
        for what in ("cp", "convert") if pair % 2 == 0 else ("convert", "cp"):
            go_cold(source)
            began, used = time.perf_counter(), cpu_seconds()
            if what == "cp":
                copy(source, copied)
            else:
                peaks.append(convert(source, target, others))
            seconds[what].append(time.perf_counter() - began)
            cpu[what].append(cpu_seconds() - used)
            shutil.rmtree(copied, ignore_errors=True)
            target.unlink(missing_ok=True)
            print(f"{others} {what}: {seconds[what][-1]:.1f} s", file=sys.stderr)
    return {
        "ratio": round(statistics.median(c / d for c, d in zip(seconds["convert"], seconds["cp"], strict=True)), 3),
        **{f"{what}_s": round(statistics.median(found), 2) for what, found in seconds.items()},
        **{f"{what}_s_each": [round(value, 2) for value in found] for what, found in seconds.items()},
        **{f"{what}_cpu_s": round(statistics.median(found), 2) for what, found in cpu.items()},
        "peak_pss_mb": round(max(peaks) / 1e6, 1),
    }


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the layers and the vocabulary")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument(
        "--keep", action="store_true", help="leave the checkpoint in --folder, and use it if it is there"
    )
    parser.add_argument("--others", nargs="+", default=["q8_0", "bf16"])
    options = parser.parse_args()
    shape = scaled(options.scale)
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    source = (options.folder or folder) / f"checkpoint-{options.scale}" if options.keep else folder / "checkpoint"
    try:
        began = time.perf_counter()
        if not source.exists():
            write_checkpoint(folder / "writing", shape)
            (folder / "writing").rename(source)
        total = sum(map(size_of, entries(shape)))
        assert options.scale != 1 or total == FULL_BYTES, total
        result = {
            "tensor_bytes": total,
            "checkpoint_written_s": round(time.perf_counter() - began, 1),
            "processors": os.cpu_count(),
            "load_before": round(os.getloadavg()[0], 2),
            **{others: measure(source, folder, others, options.pairs) for others in options.others},
        }
    finally:
        shutil.rmtree(folder)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
