"""Mutates a GGUF file, many times, and does with each what the window and the engine do.

    python -m tests.engine.mutated MODEL.gguf COUNT SEED

Each is a file on the disk. What the window reads of it and the engine's check run here, in one process, where most
files end after milliseconds; what passes is checked, loaded and used once more in a process of its own, which llama.cpp
may end. Neither may write anything. Prints one JSON object: how often each way it ended in, the mutations that ended
otherwise than by being refused or running, and what lies in the folder afterwards. POSIX only.
"""

from __future__ import annotations

import json
import math
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from inglenook.core.errors import UserError
from inglenook.core.inference import ModelSpec
from inglenook.engine import loaded
from inglenook.library.files import found

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of GGUF's scalar types
STRING, ARRAY = 8, 9
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 31, 32, 33, 63, 64, 127, 128, 255, 256, 1000, 65535, 1 << 20, (1 << 31) - 1, 1 << 31)
REALS = (0.0, -1.0, 1e-30, 1e30, math.nan, math.inf)
HANGS = 30.0  # seconds
MEMORY = 6 << 30  # bytes of addresses
HOMES = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
REFUSED, PASSED, RAN = "refused by the check", "passed", "ran"
REFUSED_LATER = "refused by the engine"


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


class Hung(Exception):  # noqa: N818
    """Our own code took longer than `HANGS`."""


@contextmanager
def bounds() -> Iterator[None]:
    """Little memory, and no byte written to any file, for this process and those that it starts meanwhile."""
    wanted = {resource.RLIMIT_FSIZE: 0, resource.RLIMIT_AS: MEMORY}
    before = {what: resource.getrlimit(what) for what in wanted}
    for what, limit in wanted.items():
        resource.setrlimit(what, (limit, before[what][1]))
    try:
        yield
    finally:
        for what, limits in before.items():
            resource.setrlimit(what, limits)


def check(path: Path) -> str:
    """What the window and the engine's check say of it, in this process: "passed", refused, or what went wrong."""

    def late(*_: object) -> None:
        raise Hung

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, HANGS)
    try:
        found.examine(path)
        loaded.check_model_file(path)
    except UserError:
        return REFUSED
    except Exception as error:  # whatever it is, it is told with the mutation that did it
        return "hung" if isinstance(error, Hung) else f"exception {error!r}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return PASSED


def load(path: Path, checked: bool) -> str:
    """Loads it in a child process; how that ended: it ran, was refused, a signal's number, or "hung"."""
    child = os.fork()
    if child == 0:
        _run(path, checked)
    until = time.monotonic() + HANGS
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if os.WIFSIGNALED(status):
                return f"signal {os.WTERMSIG(status)}"
            return {0: RAN, 3: REFUSED, 4: REFUSED_LATER}.get(os.WEXITSTATUS(status), "exception")
        time.sleep(0.003)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


def _run(path: Path, checked: bool) -> None:
    code = 1
    try:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # what writes is ended
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.environ["GGML_NO_BACKTRACE"] = "1"  # what aborts would call a debugger first, for seconds
        refused = 3
        if checked:
            loaded.check_model_file(path)
        refused = 4
        there = path.stat()
        model = loaded.Loaded((ModelSpec(str(path), 512), there.st_size, there.st_mtime_ns), lambda _: True)
        model.vocabulary.tokenizer.text("Hello wörld, how are you? 12 日本")
        model.bench(20, 2)
        code = 0
    except UserError:
        code = refused
    finally:
        os._exit(code)


def main() -> None:
    """See the module's docstring."""
    raw, count, seed = Path(sys.argv[1]).read_bytes(), int(sys.argv[2]), int(sys.argv[3])
    started, mutator = time.monotonic(), Mutator(raw, seed)
    ways: Counter[str] = Counter()
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ.update(dict.fromkeys(HOMES, folder))
        for number in range(count):
            mutated, how = mutator.next()
            path = Path(folder, f"{number}.gguf")  # a name of its own: what was read of a file is kept by its name
            path.write_bytes(mutated)
            with bounds():
                way = check(path)
                if way == PASSED:
                    way = load(path, checked=True)
            ways[way] += 1
            if way not in (REFUSED, REFUSED_LATER, RAN):
                bad.append(f"{way}: {how}")
            path.unlink()
        left = [file.name for file in Path(folder).iterdir()]
        os.chdir("/")
    seconds = round(time.monotonic() - started)
    print(json.dumps({"ways": ways, "bad": bad, "left": left, "seed": seed, "seconds": seconds}))


if __name__ == "__main__":
    main()
