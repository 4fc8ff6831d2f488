"""What drafting by prompt lookup brings, and that it brings the same text; prints one JSON object.

usage: python tests/bench/speculation.py MODEL.gguf [--o200k FOLDER] [--repetitions N] [--costs-only]

`costs`: C(k)/C(1), k tokens with the logits of each, medians of interleaved runs after 400 random tokens.
`acceptance`: files of this repository and edited versions of them; the prompt holds the file, the answer is the edited
    one, tokens are taken as given (teacher-forced), so no model is asked. For each kind of edit: tokens a step and the
    factor against plain decoding at these costs, for drafts of one fixed length and for the adaptive ones.
`ties`: the answer of the model at temperature 0, evaluated one by one and as drafts with errors are: how far logits
    differ, and how often another token has the greatest one, with the lead that it lost at most.
`decoding`: the engine's whole path, plain time by time with drafts, interleaved, for an answer held to a line that
    comes again and again and for a free one. The median and the least and greatest of the pairs; and the same of
    CPU time, which says more on a busy machine.
`--o200k` takes the pairs' tokens from gpt-oss's own vocabulary (the folder with `o200k_base.tiktoken`), not from the
model's, which may be a small one; `--costs-only` leaves out what needs trained weights.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from inglenook.core.constraint import Constraint, Form
from inglenook.core.events import Finished
from inglenook.core.inference import GenerateRequest, ModelSpec, Sampling
from inglenook.core.prompt import Segment, Special, Text
from inglenook.engine import llama
from inglenook.engine.client import EngineClient
from inglenook.engine.speculation import MOST, Adaptive, Costs, Lookup
from inglenook.engine.tokens import Tokenizer

ROOT = Path(__file__).parents[2]
FILES = (
    "README.md",
    "app/inglenook/engine/cache.py",
    "app/inglenook/harmony/render.py",
    "app/inglenook/store/repository.py",
)
OTHER = "app/inglenook/engine/sampling.py"
HEAD = (Special("<|start|>"), Text("user"), Special("<|message|>"))
TAIL = (Special("<|end|>"), Special("<|start|>"), Text("assistant"))
PLAIN_SECONDS = 0.06  # of a token, for the simulated answers: only the proportions count


def costs(model: llama.Model, threads: int, repetitions: int) -> list[float]:
    """C(k)/C(1) for k = 1.."""
    context, source = llama.Context(model, 1024, threads), random.Random(0)
    tokens = source.choices(range(model.n_vocab), k=400)
    context.decode(tokens[:400], 0)
    times: list[list[float]] = [[] for _ in range(MOST + 1)]
    for repetition in range(repetitions + 1):  # the first warms up
        for size in range(1, MOST + 2):
            for again in range(2):  # the first one builds the graph of that size
                began = time.perf_counter()
                context.decode_rows(source.choices(range(model.n_vocab), k=size), 400)
                context.logits()
                if repetition and again:
                    times[size - 1].append(time.perf_counter() - began)
                context.remove_from(400)
    context.close()
    medians = [statistics.median(t) for t in times]
    return [m / medians[0] for m in medians]


# -- pairs of text and edited text --


def renamed(text: str, source: random.Random) -> str:
    """One word gets another name wherever it is."""
    words = [w for w in text.replace("(", " ").replace(".", " ").split() if w.isidentifier() and len(w) > 4]
    return text.replace(max(words, key=words.count), "renamed_thing")


def inserted(text: str, source: random.Random) -> str:
    """A new line after every twelfth or so."""
    lines = []
    for line in text.splitlines(keepends=True):
        lines.append(line)
        if source.random() < 1 / 12:
            lines.append(f"    # note {source.randrange(1000)}: {source.choice(('check', 'see', 'was'))} this\n")
    return "".join(lines)


def deleted(text: str, source: random.Random) -> str:
    """Every eighth line or so is gone."""
    return "".join(line for line in text.splitlines(keepends=True) if source.random() > 1 / 8)


def corrected(text: str, source: random.Random) -> str:
    """A word in twenty-five is another one."""
    words = text.split(" ")
    return " ".join(source.choice(words) if source.random() < 1 / 25 else word for word in words)


def moved(text: str, source: random.Random) -> str:
    """Paragraphs in another order."""
    parts = text.split("\n\n")
    source.shuffle(parts)
    return "\n\n".join(parts)


EDITS: dict[str, Callable[[str, random.Random], str]] = {
    "same": lambda text, _: text,
    "renamed": renamed,
    "inserted": inserted,
    "deleted": deleted,
    "corrected": corrected,
    "moved": moved,
}


def answered(prompt: list[int], answer: list[int], ratios: list[float], length: int | None) -> tuple[int, float]:
    """Steps that the answer takes and their time, with drafts of `length` tokens, or adaptive ones (None)."""
    lookup, policy = Lookup(prompt), Adaptive(Costs())
    at = steps = 0
    took = 0.0
    while at < len(answer):
        lookup.add(answer[at])
        count = policy.length(lookup) if length is None else (length if lookup.length else 0)
        draft, came = lookup.draft(min(count, len(answer) - at - 1)), 1
        while came <= len(draft) and answer[at + came : at + came + 1] == draft[came - 1 : came]:
            lookup.add(answer[at + came])
            came += 1
        seconds = PLAIN_SECONDS * ratios[len(draft)]
        policy.measured(len(draft) + 1, came, seconds)
        took, steps, at = took + seconds, steps + 1, at + came
    return steps, took


def encoder(model: llama.Model, o200k: Path | None) -> Callable[[str], list[int]]:
    """The tokens of a text."""
    if o200k is None:
        tokenizer = Tokenizer(model)
        return lambda text: tokenizer.tokenize((Text(text),))
    os.environ["TIKTOKEN_ENCODINGS_BASE"] = str(o200k)
    harmony = importlib.import_module("openai_harmony")
    encoding = harmony.load_harmony_encoding(harmony.HarmonyEncodingName.HARMONY_GPT_OSS)
    return lambda text: list(encoding.encode(text, disallowed_special=()))


def acceptance(encode: Callable[[str], list[int]], ratios: list[float]) -> dict[str, Any]:
    """By kind of edit."""
    found: dict[str, Any] = {}
    texts = [(ROOT / name).read_text("utf-8") for name in FILES if (ROOT / name).exists()]
    other = (ROOT / OTHER).read_text("utf-8")
    for kind, edit in {**EDITS, "another": lambda *_: other}.items():
        source = random.Random(kind)
        pairs = []
        for text in texts:
            pairs.append((encode(text), encode(edit(text, source))[:4000]))
        tokens = sum(len(answer) for _, answer in pairs)
        row: dict[str, Any] = {"tokens": tokens}
        for length in (None, 1, 2, 4, 8):
            runs = [answered(prompt, answer, ratios, length) for prompt, answer in pairs]
            row["adaptive" if length is None else f"fixed_{length}"] = {
                "tokens_a_step": round(tokens / sum(steps for steps, _ in runs), 3),
                "factor": round(tokens * PLAIN_SECONDS / sum(took for _, took in runs), 3),
            }
        found[kind] = row
    return found


# -- with a model that says something --


def ties(model: llama.Model, threads: int, count: int) -> dict[str, Any]:
    """Of the answers to some questions, in logits."""
    tokenizer, source = Tokenizer(model), random.Random(0)
    evaluated = other = moved_rows = 0
    furthest = lead = 0.0
    for question in ("Hello", "What can you do?", "Write a poem about the sea.", "17 + 25?"):
        prompt = tokenizer.tokenize((*HEAD, Text(question), *TAIL))
        one, many = (llama.Context(model, 4096, threads) for _ in range(2))
        for context in (one, many):
            context.decode(prompt, 0)
        answer, rows = [], []
        for position in range(len(prompt), len(prompt) + count):
            answer.append(int(one.logits().argmax()))
            one.decode_one(answer[-1], position)
            rows.append(one.logits().copy())
        at = 0
        while at < count:
            size = source.randint(2, MOST + 1)
            right = min(source.randint(1, size), count - at)
            wrong = source.choices(range(model.n_vocab), k=size - right)
            many.decode_rows([*answer[at : at + right], *wrong], len(prompt) + at)
            for row in range(right):
                single, batched = rows[at + row], many.logits(row)
                difference = float(np.abs(single - batched).max())
                furthest, moved_rows = max(furthest, difference), moved_rows + (difference > 0)
                first, now = int(single.argmax()), int(batched.argmax())
                if first != now:
                    other, lead = other + 1, max(lead, float(single[first] - single[now]))
            at += right
            many.remove_from(len(prompt) + at)
        evaluated += count
        one.close()
        many.close()
    return {
        "tokens": evaluated,
        "logits_moved": moved_rows,
        "furthest": round(furthest, 4),
        "other_token": other,
        "greatest_lead_lost": round(lead, 4),
    }


def decoding(path: Path, threads: int, repetitions: int, tokens: int) -> dict[str, Any]:
    """The whole path, in the engine's process."""
    line = "A line of text that comes again and again, as in a table or a list.\\n"
    form = Form(
        (Special("<|channel|>"), Text("final"), Special("<|message|>")), "<|return|>", f'root ::= "{line}"{{60}}'
    )
    held = Constraint((form,), (Special("<|start|>"), Text("assistant")))
    prompt: tuple[Segment, ...] = (*HEAD, Text("Say something."), *TAIL)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        client = EngineClient(Path(folder, "run"), Path(folder, "logs"))
        spec = client.model_info(ModelSpec(str(path), n_ctx=4096, threads=threads)).spec
        process = psutil.Process(client.status().pid)
        for name, constraint in (("repeats", held), ("free", None)):
            pairs, worked = [], []
            for repetition in range(-2, repetitions):  # the first ones warm up, and measure what drafts cost
                seconds, cpu = {}, {}
                for speculate in (False, True) if repetition % 2 else (True, False):
                    sampling = Sampling(seed=repetition + 2)
                    request = GenerateRequest(spec, prompt, sampling, tokens, True, constraint, speculate)
                    before = sum(process.cpu_times()[:2])
                    end = [event for event in client.generate(request) if isinstance(event, Finished)][-1]
                    cpu[speculate] = (sum(process.cpu_times()[:2]) - before) / end.stats.output_tokens
                    seconds[speculate] = end.stats.decode_s / end.stats.output_tokens
                if repetition >= 0:
                    pairs.append(seconds[False] / seconds[True])
                    worked.append(cpu[False] / cpu[True])
            found[name] = {
                "factor": round(statistics.median(pairs), 3),
                "spread": [round(min(pairs), 3), round(max(pairs), 3)],
                "cpu_factor": round(statistics.median(worked), 3),
                "cpu_spread": [round(min(worked), 3), round(max(worked), 3)],
                "pairs": len(pairs),
            }
        client.close()
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--o200k", type=Path)
    parser.add_argument("--repetitions", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=600)
    parser.add_argument("--costs-only", action="store_true")
    asked = parser.parse_args()
    llama.start()
    model = llama.Model(asked.model)
    ratios = costs(model, asked.threads, asked.repetitions)
    report: dict[str, Any] = {"costs": {size: round(ratio, 3) for size, ratio in enumerate(ratios, 1)}}
    report["acceptance"] = acceptance(encoder(model, asked.o200k), ratios)
    if not asked.costs_only:
        report["ties"] = ties(model, asked.threads, asked.tokens)
        model.close()
        report["decoding"] = decoding(asked.model, asked.threads, asked.repetitions, asked.tokens)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
