"""What holding an answer to a JSON schema costs a token, at gpt-oss's 201,088 tokens; prints one JSON object.

usage: python tests/bench/structured.py [vocabulary.gguf] [tokens]

Logits are made so that a known text comes next, but that one token in five is first refused: `one` puts a single wrong
token on top, so that the next draw succeeds, as is usual; `many` puts a thousand wrong ones there, so that all draws
fail and the whole vocabulary must be masked. Each is compared with the same sampler, logits and tokens without a
constraint. `percent_of_decode` is that cost beside a decoded token of the 20b shape on two CPU cores: 60 to 80 ms
(facts/llama-cpp-python.md, section 9); the quicker end is taken.

Without a file the vocabulary is a synthetic one, of as many tokens, of bytes, words, blanks and pieces of characters.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path

import gguf
import numpy as np
from tests.engine import random_model

from inglenook.core.inference import Sampling
from inglenook.core.prompt import Special, Text
from inglenook.engine import llama
from inglenook.engine.constrain import Guard, Lexicon
from inglenook.engine.sampling import Sampler
from inglenook.harmony.structured import Structured

N_VOCAB = 201_088
DECODE_MS = 60.0
SCHEMA = {
    "type": "object",
    "properties": {
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 60},
                    "size": {"type": "integer", "minimum": 0, "maximum": 5000},
                    "kind": {"enum": ["small", "large", "other"]},
                    "text": {"type": "string"},
                },
                "required": ["name", "size", "kind", "text"],
            },
        }
    },
    "required": ["items"],
}


def vocabulary(path: Path) -> None:
    """A GGUF with tokens alone."""
    source = random.Random(0)
    stand_ins = random_model.byte_tokens()  # printable bytes first: see there
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    order = kept + [b for b in range(256) if b not in kept]
    of_byte = dict(zip(order, stand_ins, strict=True))

    def shown(data: bytes) -> str:
        return "".join(of_byte[b] for b in data)

    tokens = dict.fromkeys(stand_ins)
    signs = ['"', '",', '":', '": "', ' "', "{", "}", '"}', "},", "[", "]", ", ", "\n", "\n  ", ",\n", ":", " ", "   "]
    tokens.update(dict.fromkeys(shown(sign.encode()) for sign in signs))
    letters = [*"aeiourstnlmdpchkgbfyvw"] * 8 + [*"AESTIN"] + [*"äéяиокнасдмい的一中"]
    while len(tokens) < N_VOCAB - len(random_model.SPECIALS):
        word = (" " if source.random() < 0.5 else "") + "".join(source.choices(letters, k=source.randint(2, 9)))
        data = word.encode()
        tokens[shown(data[: source.randint(2, len(data))])] = None  # some end within a character
    names = [*tokens, *random_model.SPECIALS]
    writer = gguf.GGUFWriter(path, "gpt-oss")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list(names)
    writer.add_token_types([3 if name in random_model.SPECIALS else 1 for name in names])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(names.index("<|return|>"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def text(count: int) -> str:
    """A JSON text by the schema, of about so many words."""
    source, items = random.Random(1), []
    for i in range(max(1, count // 30)):
        words = ["".join(source.choices("aeioustnrl", k=5)) for _ in range(12)]
        kind = source.choice(["small", "large", "other"])
        items.append({"name": f"item {i}", "size": i, "kind": kind, "text": " ".join(words)})
    return json.dumps({"items": items}, indent=2)


def run(model: llama.Model, lexicon: Lexicon, tokens: list[int], wrong: int, *, held: bool, cuts: bool) -> list[float]:
    """Milliseconds of each token; `wrong` tokens are on top of the right one at every fifth."""
    structured = Structured.of(SCHEMA)
    guard = Guard(structured.constraint, lexicon, lambda grammar: llama.Grammar(model, grammar))
    start = [Special("<|start|>"), Text("assistant"), Special("<|channel|>"), Text("final"), Special("<|message|>")]
    encode = {name: model.specials[name] for name in model.specials}
    prompt = [t for s in start for t in ([encode[s.name]] if isinstance(s, Special) else model.encode(s.text.encode()))]
    guard.resume(prompt)
    sampler = Sampler(Sampling(1.0, top_p=0.95 if cuts else 1.0, seed=0), model.n_vocab)
    source = np.random.default_rng(0)
    noise = source.standard_normal(model.n_vocab).astype(np.float32)
    times = []
    for i, token in enumerate(tokens):
        logits = noise.copy()
        logits[token] = 30.0
        if i % 5 == 0 and wrong:
            refused = np.flatnonzero(~guard.allowed(lexicon.all))
            logits[source.choice(refused, min(wrong, refused.size), replace=False)] = 50.0
        began = time.thread_time()
        if held:
            found = sampler.pick(logits, guard)
            times.append((time.thread_time() - began) * 1e3)
            assert guard.allows(found)
            began = time.thread_time()
            guard.take(token)
            times[-1] += (time.thread_time() - began) * 1e3
        else:
            sampler.pick(logits)
            times.append((time.thread_time() - began) * 1e3)
            guard.take(token)
    guard.close()
    return times


def main() -> None:
    """Measures and prints."""
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 400
    llama.start()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else Path(folder) / "vocabulary.gguf"
        if not path.exists():
            vocabulary(path)
        model = llama.Model(path, vocabulary_only=True)
    began = time.thread_time()
    lexicon = Lexicon(model)
    report: dict[str, object] = {"n_vocab": model.n_vocab, "lexicon_ms": round((time.thread_time() - began) * 1e3)}
    tokens = model.encode(text(count).encode())[:count]
    report["tokens"] = len(tokens)
    for cuts in (False, True):
        for wrong in (0, 1, 1000):
            free = run(model, lexicon, tokens, wrong, held=False, cuts=cuts)
            held = run(model, lexicon, tokens, wrong, held=True, cuts=cuts)
            cost = float(np.mean(held) - np.mean(free))
            report[{0: "none", 1: "one", 1000: "many"}[wrong] + ("_top_p" if cuts else "")] = {
                "free_ms": round(float(np.mean(free)), 3),
                "held_ms": round(float(np.mean(held)), 3),
                "cost_ms": round(cost, 3),
                "worst_ms": round(max(held), 2),
                "percent_of_decode": round(cost / DECODE_MS * 100, 2),
            }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
