"""How soon a long chat goes on after a restart from its saved state. Prints one JSON object.

    python -m tests.bench.saved_state MODEL.gguf [--history 8000] [--repeat 5] [--threads 2]

`full` is the time to the first token when history and question are evaluated, once, in a process that has the model
loaded. Then, `--repeat` times, in a new process with the model loaded: the state file is dropped from the page cache
and read (`read`), dropped again, and the question sent: `restored`. Then another question of that length, with the
history in the cache: `question`. Medians in seconds. `ratio_full` is restored / full, `ratio_read` the median of
restored / (read + question) of the same turn. Needs Linux for the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.bench.second_turn import Ours, Writer

from inglenook.chat.ahead import beginning
from inglenook.core.inference import ModelSpec
from inglenook.core.messages import user
from inglenook.core.prompt import Prompt
from inglenook.engine.client import EngineClient
from inglenook.harmony.render import render


def fresh(folder: Path, name: str, options: argparse.Namespace, n_ctx: int) -> Ours:
    """An engine process of its own that has the model loaded and something else in its cache."""
    client = EngineClient(folder / name, folder / "logs", states=folder / "states")
    ours = Ours(client, ModelSpec(str(options.model), n_ctx=n_ctx, threads=options.threads))
    ours.first_token(Prompt((user("Something else"),), date="2026-11-22"))
    return ours


def dropped(path: Path) -> Path:
    """The file, out of the page cache."""
    with path.open("rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


def seconds_to_read(path: Path) -> float:
    """Of the whole file, in pieces of 1 MiB."""
    started = time.perf_counter()
    with path.open("rb", buffering=0) as f:
        while f.read(1 << 20):
            pass
    return time.perf_counter() - started


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--history", type=int, default=8000, help="tokens, about")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    found: dict[str, list[float]] = {"read": [], "restored": [], "question": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = fresh(folder, "vocabulary", options, 512)
        writer = Writer(1, ours)
        _, answered, question = writer.conversation(options.history)
        second = replace(answered, messages=(*answered.messages, user(question)))
        n_ctx = ours.client.count(ours.spec, render(second, ours.vocabulary)) + 64
        ours.client.close()
        ours = fresh(folder, "0", options, n_ctx)
        full = ours.first_token(second)
        history = beginning(render(second, ours.vocabulary), draft=False)
        tokens = ours.client.count(ours.spec, history)
        for _ in ours.client.prefill(ours.spec, history, "chat"):
            pass
        ours.client.close()
        (state,) = folder.glob("states/*/*.state")
        for number in range(options.repeat):
            ours = fresh(folder, str(number + 1), options, n_ctx)
            found["read"].append(seconds_to_read(dropped(state)))
            dropped(state)
            found["restored"].append(ours.first_token(second))
            other = replace(answered, messages=(*answered.messages, user(writer.text(20))))
            found["question"].append(ours.first_token(other))
            ours.client.close()
        size = state.stat().st_size
    turns = zip(found["restored"], found["read"], found["question"], strict=True)
    medians = {way: statistics.median(values) for way, values in found.items()}
    ratios = {
        "ratio_full": medians["restored"] / full,
        "ratio_read": statistics.median(restored / (read + asked) for restored, read, asked in turns),
    }
    sizes = {"history_tokens": tokens, "state_bytes": size}
    print(json.dumps({**ratios, **sizes, "seconds": {"full": full, **medians}, "all": found}))


if __name__ == "__main__":
    main()
