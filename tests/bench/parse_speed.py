"""What the harmony parser costs: microseconds a token in content and in headers, as JSON.

    python tests/bench/parse_speed.py [--tokens N]

Medians of seven repetitions, with the best and the worst. `growth` is the cost a token of a stream ten times as long,
relative to the short one: 1 means linear. `flood` are streams of control tokens alone, the worst that can be sent.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from inglenook.harmony import specials as s
from inglenook.harmony.parse import Parser

IDS = {name: 200_000 + i for i, name in enumerate([s.START, s.END, s.MESSAGE, s.CHANNEL, s.CONSTRAIN, *s.STOPS])}
WORDS = [b" the", b" of", b"\n\n", b" caf", "é".encode()[:1], "é".encode()[1:], b" 4", b".", "日本".encode(), b" token"]
Stream = list[tuple[int, bytes]]


def text(*words: bytes) -> Stream:
    return [(i, word) for i, word in enumerate(words)]


def control(*names: str) -> Stream:
    return [(IDS[name], name.encode()) for name in names]


HEADER = [*control(s.START), *text(b"assistant"), *control(s.CHANNEL), *text(b"comment", b"ary", b" to", b"=functions"),
          *text(b".weather", b" "), *control(s.CONSTRAIN), *text(b"json"), *control(s.MESSAGE), *text(b"{}"),
          *control(s.CALL)]  # fmt: skip
BEGIN = [*control(s.CHANNEL), *text(b"analysis"), *control(s.MESSAGE)]


def cost(stream: Stream) -> float:
    """Microseconds a token."""
    parser = Parser(IDS)
    begin = time.perf_counter()
    for token_id, piece in stream:
        parser.feed(token_id, piece)
    parser.finish()
    return (time.perf_counter() - begin) / len(stream) * 1e6


def measure(stream: Stream) -> dict[str, float]:
    times = sorted(cost(stream) for _ in range(7))
    return {"median": round(statistics.median(times), 2), "best": round(times[0], 2), "worst": round(times[-1], 2)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--tokens", type=int, default=20_000)
    n = arguments.parse_args().tokens
    kinds = {
        "content": lambda n: BEGIN + text(*WORDS) * (n // len(WORDS)),
        "headers": lambda n: HEADER * (n // len(HEADER)),
        "bare_text": lambda n: text(*WORDS) * (n // len(WORDS)),
        "text_after_end": lambda n: control(s.END) + text(*WORDS) * (n // len(WORDS)),
        "flood": lambda n: control(s.CHANNEL, s.MESSAGE, s.START, s.END, s.RETURN, s.CONSTRAIN) * (n // 6),
        "flood_of_messages": lambda n: text(b"x") * 150 + control(s.MESSAGE) * n,
    }
    found = {}
    for name, make in kinds.items():
        found[name] = measure(make(n)) | {"growth": round(cost(make(10 * n)) / cost(make(n)), 2)}
    print(json.dumps({"tokens": n, "unit": "us/token", **found}, indent=2))


if __name__ == "__main__":
    main()
