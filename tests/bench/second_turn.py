"""How long the second turn's first token takes, by the time that the user read and typed. Prints one JSON object.

    python -m tests.bench.second_turn MODEL.gguf [--repeat 3] [--seconds 0 2 5 10] [--server llama-server]
                                              [--history 600] [--reasoning 200] [--ways ahead plain]

A first turn is answered with reasoning; then nothing happens for the given seconds; then the question is sent. `ahead`
is Inglenook as it is, `typed` the same with the question in the composer for that time, `plain` without work ahead, and
`server` llama.cpp's own server with the same model, history and question (its prompt cache on, one slot). By turns,
medians in seconds; ratios are to `server` where there is one, else to `plain`. `pairs` are the quotients of each time
of a way and the server's that followed or preceded it with the very same text, with the median and its interval of 95%
(of order statistics); `all` has seconds, tokens that were evaluated, and the seconds that took.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from inglenook.chat.ahead import WorkAhead
from inglenook.chat.history import History
from inglenook.core.events import Finished, Tokens
from inglenook.core.inference import GenerateRequest, ModelSpec, Sampling
from inglenook.core.messages import Message, ReasoningPart, Role, TextPart, user
from inglenook.core.prompt import Ids, Prompt, Segment, Special, Text
from inglenook.engine.client import EngineClient
from inglenook.harmony.render import render

N_CTX = 8192
WORDS = [
    "lamp",
    "river",
    "stone",
    "window",
    "paper",
    "cloud",
    "garden",
    "letter",
    "winter",
    "music",
    "bread",
    "street",
    "morning",
    "bridge",
    "number",
]


@dataclass(frozen=True)
class Taken:
    """What an answer's first token took."""

    seconds: float
    evaluated: int
    prefill: float  # seconds


class Writer:
    """Writes texts of about so many tokens: small vocabularies have several to a word."""

    def __init__(self, seed: int, ours: Ours) -> None:
        self._source = random.Random(seed)
        self._rate = 1.0
        self._rate = ours.client.count(ours.spec, (Text(self.text(1000)),)) / 1000

    def text(self, tokens: int) -> str:
        """About so many tokens."""
        return " ".join(self._source.choice(WORDS) for _ in range(round(tokens / self._rate)))

    def conversation(self, history: int, reasoning: int = 200) -> tuple[Prompt, Prompt, str]:
        """The first prompt, what stands before the second question, and that of 20 tokens.

        The first answer thinks for `reasoning` tokens.
        """
        first = Prompt((user(self.text(history // 2)),), date="2026-11-22")
        parts = (ReasoningPart(self.text(reasoning)), TextPart(self.text(history // 2)))
        answered = replace(first, messages=(*first.messages, Message(Role.ASSISTANT, parts)))
        return first, answered, self.text(20)


class Ours:
    """The engine with a model."""

    def __init__(self, client: EngineClient, spec: ModelSpec) -> None:
        self.client, self.spec = client, spec
        self.vocabulary = client.model_info(spec).vocabulary

    def first_turn(self, prompt: Prompt, count: int) -> None:
        """Evaluates it and writes `count` tokens, so that the cache is where an answer leaves it."""
        segments = render(prompt, self.vocabulary)
        request = GenerateRequest(self.spec, segments, Sampling(0.0), max_tokens=count, ignore_stop=True)
        for _ in self.client.generate(request):
            pass

    def first_token(self, prompt: Prompt) -> Taken:
        """To the first token."""
        request = GenerateRequest(self.spec, render(prompt, self.vocabulary), Sampling(0.0), max_tokens=1)
        started, first = time.perf_counter(), 0.0
        for event in self.client.generate(request):
            if isinstance(event, Tokens):
                first = time.perf_counter() - started
            if isinstance(event, Finished):
                assert event.error is None
                stats = event.stats
        return Taken(first, stats.prompt_tokens - stats.cached_tokens, stats.prefill_s)


def as_text(segments: Sequence[Segment]) -> str:
    """For the server, which reads the names of control tokens."""
    parts = []
    for segment in segments:
        assert not isinstance(segment, Ids)
        parts.append(segment.name if isinstance(segment, Special) else segment.text)
    return "".join(parts)


class Server:
    """llama-server at work."""

    def __init__(self, address: str) -> None:
        self._address = address

    def complete(self, prompt: Prompt, count: int) -> Taken:
        """To the first token of `count`."""
        body = {"prompt": as_text(render(prompt)), "n_predict": count, "cache_prompt": True, "temperature": 0,
                "stream": True, "ignore_eos": True}  # fmt: skip
        request = urllib.request.Request(
            f"{self._address}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        started = time.perf_counter()
        with urllib.request.urlopen(request, timeout=600) as answer:
            answer.readline()
            first = time.perf_counter() - started
            timings = json.loads(answer.read().decode().strip().rpartition("data: ")[2])["timings"]
        return Taken(first, timings["prompt_n"], timings["prompt_ms"] / 1000)


@contextmanager
def server(program: Path, model: Path, threads: int) -> Iterator[Server]:
    """Starts llama-server and ends it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "-m", model, "-c", N_CTX, "-np", 1, "-t", threads, "--port", port, "--no-webui", "-fa", "on"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1).read()
                break
            except OSError:
                time.sleep(0.2)
        yield Server(address)
    finally:
        process.terminate()
        process.wait(30)


def measure(ours: Ours, peer: Server | None, options: argparse.Namespace) -> dict[str, dict[str, list[Taken]]]:
    """What each took, by way and thinking time. With a server each way has one of its own to compare with."""
    writer = Writer(options.seed, ours)
    found: dict[str, dict[str, list[Taken]]] = {}
    for turn in range(options.repeat):
        for seconds in options.seconds:
            for way in options.ways:
                first, answered, question = writer.conversation(options.history, options.reasoning)
                second = replace(answered, messages=(*answered.messages, user(question)))

                def ask_peer(
                    key: str, seconds: float = seconds, first: Prompt = first, second: Prompt = second
                ) -> None:
                    assert peer is not None
                    peer.complete(first, options.reasoning)
                    time.sleep(seconds)
                    found.setdefault(f"server {key}", {}).setdefault(f"{seconds:g}", []).append(
                        peer.complete(second, 1)
                    )

                if peer is not None and turn % 2:
                    ask_peer(way)
                ahead = WorkAhead(ours.client, lambda way=way: way != "plain", lambda: False)  # type: ignore[misc]
                ours.first_turn(first, options.reasoning)
                said = History(answered, ids=("",) * len(answered.messages))
                ahead.answered("c", said)
                if way == "typed":
                    ahead.typed("c", said, question)
                time.sleep(seconds)
                ahead.stop()
                found.setdefault(way, {}).setdefault(f"{seconds:g}", []).append(ours.first_token(second))
                ahead.close()
                if peer is not None and not turn % 2:
                    ask_peer(way)
    return found


def interval(values: list[float]) -> tuple[float, float, float]:
    """Lower end, median and upper end of the median's interval of at least 95%, or of all there is of few values."""
    ordered, n = sorted(values), len(values)
    skip = 0
    while skip < n // 2 and 2 * sum(math.comb(n, i) for i in range(skip + 1)) / 2**n <= 0.05:
        skip += 1
    skip = max(0, skip - 1)
    return ordered[skip], statistics.median(ordered), ordered[n - 1 - skip]


def compared(found: dict[str, dict[str, list[Taken]]], ways: Sequence[str]) -> dict[str, dict[str, object]]:
    """The quotients of pairs."""
    pairs: dict[str, dict[str, object]] = {}
    for way in ways:
        for at, times in found[way].items():
            if peers := found.get(f"server {way}", {}).get(at):
                values = [a.seconds / b.seconds for a, b in zip(times, peers, strict=True)]
                pairs.setdefault(way, {})[at] = {"interval": interval(values), "all": values}
    return pairs


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--history", type=int, default=600, help="tokens, about")
    parser.add_argument("--reasoning", type=int, default=200, help="tokens, about, that the first answer thinks")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.0, 2.0, 5.0, 10.0])
    parser.add_argument("--ways", nargs="+", default=["ahead", "typed", "plain"], choices=["ahead", "typed", "plain"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--server", type=Path, help="the program llama-server")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        client = EngineClient(Path(folder) / "run", Path(folder) / "logs")
        ours = Ours(client, ModelSpec(str(options.model), n_ctx=N_CTX, threads=options.threads))
        if options.server:
            with server(options.server, options.model, options.threads) as peer:
                found = measure(ours, peer, options)
        else:
            found = measure(ours, None, options)
        client.close()
    medians = {
        way: {at: statistics.median(t.seconds for t in taken) for at, taken in times.items()}
        for way, times in found.items()
    }
    bases = {way: medians.get(f"server {way}", medians.get("plain", medians[way])) for way in options.ways}
    ratios = {way: {at: medians[way][at] / base[at] for at in base} for way, base in bases.items()}
    everything = {
        way: {at: [(t.seconds, t.evaluated, t.prefill) for t in taken] for at, taken in times.items()}
        for way, times in found.items()
    }
    print(json.dumps({"seconds": medians, "ratio": ratios, "pairs": compared(found, options.ways), "all": everything}))


if __name__ == "__main__":
    main()
