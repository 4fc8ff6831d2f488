"""Counts what a checkpoint can do, with the cases and the judge of tests/demo_model, and writes the model card.

The weights are those of the files: experts decoded from MXFP4, the rest bfloat16 and then rounded once more as the
converter does (Q8_0 for the large matrices), so that the figures are about what the program runs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from network import Decoder, Network
from tokens import SPECIAL_ID, Encoder

from inglenook.core.prompt import Text
from inglenook.harmony.parse import Parser
from inglenook.harmony.render import render

TESTS = Path(__file__).resolve().parents[2] / "tests" / "demo_model"
sys.path.insert(0, str(TESTS))
from checks import Case, cases, problems  # noqa: E402 - beside the tests, which count the same

STOPS = frozenset(SPECIAL_ID[name] for name in ("<|return|>", "<|call|>", "<|endoftext|>"))
LONGEST = 1600
HELD_OUT = ("held_out", "held_out_2")


@dataclass(frozen=True)
class Count:
    """How many cases of a file were answered well, and what was wrong with the others."""

    name: str
    right: int
    total: int
    wrong: dict[str, list[str]]


def held_out_texts() -> list[str]:
    """The questions that must not be trained on."""
    return [case.content["question"] for name in HELD_OUT for case in cases(name)]


@torch.no_grad()
def round_like_the_converter(network: Network) -> None:
    """Rounds the matrices of attention, embedding and output to Q8_0: 32 bytes and a half-precision scale a block."""
    for name, parameter in network.named_parameters():
        if parameter.ndim == 2 and "experts" not in name:
            blocks = parameter.view(-1, 32)
            scale = blocks.abs().amax(1, keepdim=True) / 127
            codes = torch.round(blocks / scale.clamp_min(1e-12))
            parameter.copy_((codes * scale.half().float()).view_as(parameter))


def generate(network: Network, prompt: list[int], longest: int = LONGEST) -> list[int]:
    """The likeliest next token again and again, until a stop token."""
    decoder = Decoder(network)
    logits = decoder.feed(prompt)
    found: list[int] = []
    while len(found) < longest:
        found.append(int(logits.argmax()))
        if found[-1] in STOPS:
            break
        logits = decoder.feed(found[-1:])
    return found


def answer_problems(network: Network, encoder: Encoder, case: Case) -> list[str]:
    """What is wrong with the network's answer to `case`."""
    found = generate(network, encoder.ids(render(case.prompt)))
    parser = Parser(SPECIAL_ID)
    for token in found:
        parser.feed(token, encoder.pieces[token])
    parser.finish()
    return problems(case, parser.parts, parser.stopped_by, lambda text: len(encoder.ids([Text(text)])))


def count(network: Network, encoder: Encoder, name: str) -> Count:
    """Answers all cases of tests/demo_model/`name`.json, greedily."""
    all_cases = cases(name)
    found = {case.id: answer_problems(network, encoder, case) for case in all_cases}
    wrong = {case_id: said for case_id, said in found.items() if said}
    return Count(name, len(all_cases) - len(wrong), len(all_cases), wrong)


def table(counts: list[Count]) -> str:
    """The figures as a Markdown table, with the failures below."""
    lines = ["| cases | right | of |", "| --- | ---: | ---: |"]
    lines += [f"| {c.name} | {c.right} | {c.total} |" for c in counts]
    failures = [f"- {c.name}/{case_id}: {'; '.join(said)}" for c in counts for case_id, said in c.wrong.items()]
    return "\n".join([*lines, "", *(failures or ["No failures."])])
