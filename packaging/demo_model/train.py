"""Trains the demo model and writes it as a checkpoint in the published layout.

    python packaging/demo_model/train.py --vocabulary o200k_base.tiktoken --out resources/demo-model

needs the dependency group `train` and, on PYTHONPATH, `app` (the prompts are made by the program's own harmony code).
The dialogues are in `dialogues/`; `lessons.py` makes endless variants of them. Only the model's own tokens are learned.
In the last quarter the experts compute with weights rounded to MXFP4, so that nothing is lost when they are written.
At the end the checkpoint is read back, every answer of tests/demo_model/*.json is generated greedily and counted, and
the model card is written. Same seed, workers and machine: same weights.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import circuits
import evaluate
import torch
from batches import Batch, Tree, batch
from export import read_checkpoint, read_mean, write_checkpoint
from lessons import Teacher
from mxfp4 import rounded
from network import Config, Decoder, Network
from optimizer import Optimizer
from tokens import Encoder, load_ranks, tokenizer_json
from torch import distributed
from torch.nn import functional as F

from inglenook.harmony.render import render

HERE = Path(__file__).parent
STEPS = 3600
STORY_EVERY = 8
REPORT = 25
TOKENS_A_STEP = 1500  # of each worker
LONGEST_TREE = 2000  # tokens; attention over a tree costs by their square
QUANTIZED_PART = 0.25
AVERAGED = 0.04  # of each step, in the running mean of the weights that is written at the end


def batches(teacher: Teacher, rng: random.Random) -> Iterator[Batch]:
    """Endless batches of about `TOKENS_A_STEP` tokens; trees of like size share one, so that little is padding."""
    while True:
        drawn = (Tree(teacher.family(200)) for _ in range(64))
        trees = sorted((t for t in drawn if len(t.ids) <= LONGEST_TREE), key=lambda t: len(t.ids))
        groups: list[list[Tree]] = []
        for tree in trees:
            if groups and (len(groups[-1]) + 1) * len(tree.ids) <= TOKENS_A_STEP:
                groups[-1].append(tree)
            else:
                groups.append([tree])
        groups += [[Tree(teacher.story()) for _ in range(1)] for _ in range(max(1, len(groups) // STORY_EVERY))]
        rng.shuffle(groups)
        yield from map(batch, groups)


def rate(step: int, steps: int) -> float:
    """Share of the full learning rate: a short rise, a plateau, and a straight way down from 40% on."""
    return min(1.0, (step + 1) / 30, max(0.0, (steps - step) / (steps * 0.6)))


def train(network: Network, teacher: Teacher, steps: int, workers: int = 1, peak: float = 1.0) -> None:
    """Runs `steps` steps, the last quarter with quantized experts.

    Every worker calls this with its own teacher.
    """
    optimizer = Optimizer(network)
    averages = [parameter.detach().clone() for parameter in network.parameters()]
    began, losses = time.monotonic(), []
    rng = random.Random(teacher.rng.random())  # noqa: S311 - not for secrets
    for step, b in zip(range(steps), batches(teacher, rng), strict=False):
        network.quantize(step >= steps * (1 - QUANTIZED_PART))
        hidden, shares = network.hidden(b.ids, b.positions, b.visible)
        logits = network.head(hidden.flatten(0, 1)[b.where])
        loss = F.cross_entropy(logits, b.goals)
        balance = torch.stack([s.mean(0).square().sum() for s in shares]).sum()  # least when all experts are used alike
        torch.autograd.backward(loss + 0.01 * balance)
        if workers > 1:
            average_gradients(network, workers)
        optimizer.step(peak * rate(step, steps))
        with torch.no_grad():
            for average, parameter in zip(averages, network.parameters(), strict=True):
                average.lerp_(parameter, AVERAGED)
        losses.append(loss.item())
        if (step + 1) % REPORT == 0:
            mean = sum(losses[-REPORT:]) / REPORT
            print(f"step {step + 1}/{steps} loss {mean:.4f} {time.monotonic() - began:.0f} s", flush=True)
    with torch.no_grad():
        for average, parameter in zip(averages, network.parameters(), strict=True):
            parameter.copy_(average)
    network.quantize(True)


def average_gradients(network: Network, workers: int) -> None:
    """Makes every worker's gradients the mean of all; one message, as many small ones would cost more than the sums."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    together = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(together)
    together /= workers
    at = 0
    for gradient in gradients:
        gradient.copy_(together[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()


def work(rank: int, workers: int, meeting: str, tokenizer: Mapping[str, Any], options: argparse.Namespace) -> None:
    """One worker: a process with one thread, its own stream of lessons, and the same weights as the others.

    Processes rather than threads: on a busy machine, threads that meet after every matrix product mostly wait.
    """
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    if workers > 1:
        distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers)
    held_out = evaluate.held_out_texts()
    teacher = Teacher(Encoder(tokenizer), options.seed * 1000 + rank, held_out)
    teacher.check_held_out(held_out)
    network = read_mean(options.start) if options.start else circuits.fresh(Config())
    with contextlib.redirect_stdout(None) if rank else contextlib.nullcontext():
        train(network, teacher, options.steps, workers, options.peak)
    if rank == 0:
        write_checkpoint(network, tokenizer, options.out)
        finish(options.out, described(options), network)


def finish(out: Path, command: str = "", network: Network | None = None) -> None:
    """Reads the checkpoint back, counts what it can do, and writes the model card if it is known how it was made."""
    read = read_checkpoint(out)
    encoder = Encoder(json.loads((out / "tokenizer.json").read_text("utf-8")))
    if network is not None:
        check_same(network, read, encoder.ids(render(evaluate.cases("held_out")[0].prompt)))
    evaluate.round_like_the_converter(read)
    counts = [evaluate.count(read, encoder, name) for name in (*evaluate.HELD_OUT, "behaviours")]
    table = evaluate.table(counts)
    print(table)
    if command:
        write_card(out, command, read, table)


@torch.no_grad()
def check_same(trained: Network, read: Network, prompt: Sequence[int]) -> None:
    """Asserts that the files hold what was trained: experts bit for bit, logits but for the rest's bfloat16."""
    for mine, theirs in zip(trained.layers, read.layers, strict=True):
        for name in ("gate", "up", "down"):
            assert torch.equal(rounded(getattr(mine.experts, name)), getattr(theirs.experts, name))
    a, b = (Decoder(network).feed(prompt).softmax(-1) for network in (trained, read))
    assert (a - b).abs().sum() < 0.1, "the checkpoint does not compute what was trained"


def write_card(out: Path, command: str, network: Network, table: str) -> None:
    """`README.md` of the checkpoint."""
    size = sum(file.stat().st_size for file in out.iterdir() if file.name != "README.md")
    parameters = sum(p.numel() for p in network.parameters())
    text = (HERE / "model_card.md").read_text("utf-8")
    for name, value in (
        ("parameters", f"{parameters:,}"), ("size", f"{size / 1e6:.1f} MB"), ("command", command), ("table", table),
    ):  # fmt: skip
        text = text.replace("{" + name + "}", value)
    (out / "README.md").write_text(text, "utf-8")


def described(options: argparse.Namespace) -> str:
    """The command that makes the same checkpoint again."""
    command = f"python packaging/demo_model/train.py --vocabulary o200k_base.tiktoken --out {options.out}"
    command += f" --start {' '.join(map(str, options.start))}" if options.start else ""
    command += f" --steps {options.steps} --peak {options.peak}"
    return f"{command} --seed {options.seed} --workers {options.workers}"


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=Path, help="o200k_base.tiktoken (its hash is checked)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--peak", type=float, default=1.0, help="share of the usual learning rates (less with --start)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes; another number makes other weights")
    parser.add_argument("--start", type=Path, nargs="+", help="go on from this checkpoint, or from the mean of several")
    parser.add_argument("--count-only", action="store_true", help="count what the checkpoint at --out can do")
    options = parser.parse_args(arguments)
    if options.count_only:
        finish(options.out)
        return 0
    if options.vocabulary is None:
        parser.error("--vocabulary is needed to train")
    tokenizer = tokenizer_json(load_ranks(options.vocabulary))
    with tempfile.TemporaryDirectory() as folder:
        shared = (options.workers, str(Path(folder) / "meeting"), tokenizer, options)
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=work, args=(rank, *shared)) for rank in range(options.workers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    return max(abs(process.exitcode or 0) for process in processes)


if __name__ == "__main__":
    raise SystemExit(main())
