"""Mutates a GGUF file, many times, and loads each as the engine does, in a process of its own.

    python -m tests.engine.mutated MODEL.gguf COUNT SEED [unchecked]

Prints one JSON object: how often each way it ended in, and the mutations that ended a process by a signal or made it
hang. `unchecked` leaves our own check out, to show what it is for. POSIX only.
"""

from __future__ import annotations

import json
import math
import os
import random
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from inglenook.core.errors import UserError
from inglenook.core.inference import ModelSpec
from inglenook.engine import loaded

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of GGUF's scalar types
STRING, ARRAY = 8, 9
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 31, 32, 33, 63, 64, 127, 128, 255, 256, 1000, 65535, 1 << 20, (1 << 31) - 1, 1 << 31)
REALS = (0.0, -1.0, 1e-30, 1e30, math.nan, math.inf)
HANGS = 30.0  # seconds
MEMORY = 6 << 30  # bytes of addresses


@dataclass(frozen=True, slots=True)
class Field:
    """Bytes [at, at + size) of the file; `is_text` for strings, else it is a number."""

    kind: str
    key: str
    at: int
    size: int
    is_text: bool = False


class Fields:
    """What a GGUF header is made of, and where that stands."""

    def __init__(self, raw: bytes, rng: random.Random) -> None:
        self._raw = raw
        self.found = [Field("count", "tensors", 8, 8), Field("count", "keys", 16, 8)]
        self._at = 24
        tensors, keys = struct.unpack_from("<QQ", raw, 8)
        for _ in range(keys):
            self._entry(rng)
        for _ in range(tensors):
            name = self._string("tensor name", "")
            rank = self._number("rank", name, 4)
            for _ in range(rank):
                self._number("dimension", name, 8)
            self._number("tensor type", name, 4)
            self._number("offset", name, 8)
        self.end = self._at

    def _entry(self, rng: random.Random) -> None:
        key = self._string("key", "")
        kind = self._number("value type", key, 4)
        if kind == STRING:
            self._string("string", key)
        elif kind != ARRAY:
            self._number("value", key, SIZES[kind])
        else:
            kind, count = self._number("element type", key, 4), self._number("length", key, 8)
            before = len(self.found)
            for _ in range(count):
                if kind == STRING:
                    self._string("element", key)
                else:
                    self._number("element", key, SIZES[kind])
            self.found[before:] = rng.sample(self.found[before:], min(24, len(self.found) - before))

    def _number(self, kind: str, key: str, size: int) -> int:
        self.found.append(Field(kind, key, self._at, size))
        self._at += size
        return int.from_bytes(self._raw[self._at - size : self._at], "little")

    def _string(self, kind: str, key: str) -> str:
        size = self._number(f"{kind} size", key, 8)
        if size:
            self.found.append(Field(kind, key, self._at, size, is_text=True))
        self._at += size
        return self._raw[self._at - size : self._at].decode("utf-8", "replace")


class Mutator:
    """Endless damaged forms of one file."""

    def __init__(self, raw: bytes, seed: int) -> None:
        self._raw = raw
        self._rng = random.Random(seed)
        self._fields = Fields(raw, self._rng)
        self._kinds = sorted({field.kind for field in self._fields.found})
        self._kinds += ["value"] * 8 + ["element"] * 3 + ["dimension"] * 3 + ["cut", "bit", "swap", "data"]

    def next(self) -> tuple[bytes, str]:
        """A damaged file, and what was done to it."""
        raw, notes = bytearray(self._raw), []
        for _ in range(self._rng.choice((1, 1, 1, 2, 3))):
            notes.append(self._change(raw))
        return bytes(raw), "; ".join(notes)

    def _change(self, raw: bytearray) -> str:
        rng, end = self._rng, min(self._fields.end, len(raw))
        match kind := rng.choice(self._kinds):
            case "cut":
                del raw[rng.randrange(len(raw)) :]
            case "bit" if end:
                raw[rng.randrange(end)] ^= 1 << rng.randrange(8)
            case "data" if len(raw) > self._fields.end:
                at, size = rng.randrange(self._fields.end, len(raw)), rng.choice((1, 4, 17, 1000))
                raw[at : at + size] = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))[: len(raw) - at]
            case "swap":
                one, other = (rng.choice([f for f in self._fields.found if f.kind == "value"]) for _ in range(2))
                if one.size == other.size:
                    a, b = slice(one.at, one.at + one.size), slice(other.at, other.at + other.size)
                    raw[a], raw[b] = raw[b], raw[a]
                return f"swap {one.key} {other.key}"
            case _:
                fields = [f for f in self._fields.found if f.kind == kind and f.at + f.size <= len(raw)]
                return self._set(raw, rng.choice(fields)) if fields else ""
        return kind

    def _set(self, raw: bytearray, field: Field) -> str:
        rng = self._rng
        if field.is_text:
            at = field.at + rng.randrange(field.size)
            raw[at] = rng.choice((0, 255, raw[at] ^ 1, raw[at] ^ 0x20, rng.randrange(256), ord(" ")))
            return f"{field.kind} {field.key}"
        bits = 8 * field.size
        old = int.from_bytes(raw[field.at : field.at + field.size], "little")
        others = (old + 1, old - 1, old * 2, old // 2, old ^ 1 << rng.randrange(bits), rng.getrandbits(bits))
        new = rng.choice(NUMBERS + others) % (1 << bits)
        if field.kind == "value" and field.size == 4 and rng.random() < 0.2:
            new = int.from_bytes(struct.pack("<f", rng.choice(REALS)), "little")
        raw[field.at : field.at + field.size] = new.to_bytes(field.size, "little")
        return f"{field.kind} {field.key} {old} -> {new}"


def set_number(raw: bytes, key: str, value: int) -> bytes:
    """The file with another value of `key`, which has four bytes."""
    field = next(f for f in Fields(raw, random.Random(0)).found if f.kind == "value" and f.key == key)
    return raw[: field.at] + struct.pack("<I", value) + raw[field.at + field.size :]


def load(path: Path, checked: bool) -> str:
    """Loads it in a child process; how that ended: "ran", "refused", a signal's number, or "hung"."""
    child = os.fork()
    if child == 0:
        _run(path, checked)
    until = time.monotonic() + HANGS
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if os.WIFSIGNALED(status):
                return f"signal {os.WTERMSIG(status)}"
            return {0: "ran", 3: "refused"}.get(os.WEXITSTATUS(status), "exception")
        time.sleep(0.003)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "hung"


def _run(path: Path, checked: bool) -> None:
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if checked:
            loaded.check_model_file(path)
        found = path.stat()
        model = loaded.Loaded((ModelSpec(str(path), 512), found.st_size, found.st_mtime_ns), lambda _: True)
        model.vocabulary.tokenizer.text("Hello wörld, how are you? 12 日本")
        model.bench(20, 2)
        code = 0
    except UserError:
        code = 3
    finally:
        os._exit(code)


def main() -> None:
    """See the module's docstring."""
    raw, count, seed, checked = Path(sys.argv[1]).read_bytes(), int(sys.argv[2]), int(sys.argv[3]), len(sys.argv) < 5
    mutator = Mutator(raw, seed)
    ways: Counter[str] = Counter()
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated.gguf"
        for _ in range(count):
            mutated, how = mutator.next()
            path.write_bytes(mutated)
            way = load(path, checked)
            ways[way] += 1
            if way not in ("ran", "refused"):
                bad.append(f"{way}: {how}")
        left = [file.name for file in Path(folder).iterdir()]
    print(json.dumps({"ways": ways, "bad": bad, "left": left}))


if __name__ == "__main__":
    main()
