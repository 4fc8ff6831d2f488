"""`inglenook bench`: how much of llama.cpp's own speed reaches a consumer in the client process.

`raw` is llama_decode alone on ready tokens, as llama-bench measures it. It runs in the engine process on the same
weights and context: a second process would need the repacked weights twice, and its idle threads would disturb the
other's. `path` is the whole way: request, pipe, tokens, sampling at the default settings, events in this process.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from inglenook.core.errors import ErrorInfo, UserError
from inglenook.core.events import Finished, Prefill, StopReason, Tokens
from inglenook.core.inference import GenerateRequest, InferenceService, ModelInfo, ModelSpec
from inglenook.core.prompt import Ids
from inglenook.engine.supervise import CLOSED

PAIRS = 10  # of `raw` and `path`, by turns
PREFILL, DECODE = 512, 128  # tokens


class Benchable(InferenceService, Protocol):
    """An inference service that can time llama.cpp alone."""

    def bench_raw(self, model: ModelSpec, prefill: int, decode: int) -> float:
        """Tokens a second; see `protocol.Bench`."""
        ...


def run(
    service: Benchable,
    model: ModelSpec,
    *,
    prefill: int = PREFILL,
    decode: int = DECODE,
    repetitions: int = PAIRS,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Medians of interleaved pairs of `raw` and `path`, as the JSON object of `inglenook bench`. Raises `UserError`.

    `ratio` is the median of the pairs' ratios. `quartiles` has for each figure what a quarter of its values is below
    and above; `spread` its smallest and greatest value. `progress` hears how many pairs are done before each, -1 before
    the one that warms up.
    """
    info = service.model_info(model)
    prefill = min(prefill, info.n_ctx - 1)
    decode = min(decode, info.n_ctx - 2)
    raw: dict[str, list[float]] = {"prefill": [], "decode": []}
    path: dict[str, list[float]] = {"prefill": [], "decode": []}
    for repetition in range(-1, repetitions):  # the first warms up
        progress(repetition)
        measured = (
            service.bench_raw(model, prefill, 0),
            _path_prefill(service, info, prefill),
            service.bench_raw(model, 0, decode),
            _path_decode(service, info, decode),
        )
        if repetition >= 0:
            for figures, speed in zip(
                (raw["prefill"], path["prefill"], raw["decode"], path["decode"]), measured, strict=True
            ):
                figures.append(speed)
    ratios = {kind: [p / r for p, r in zip(path[kind], raw[kind], strict=True)] for kind in raw}
    return {
        **_each(_median, raw, path, ratios),
        "quartiles": _each(_quartiles, raw, path, ratios),
        "spread": _each(_spread, raw, path, ratios),
        "pairs": repetitions,
        "prefill_tokens": prefill,
        "decode_tokens": decode,
        "model": info.name,
        "n_ctx": info.n_ctx,
    }


def _path_prefill(service: InferenceService, info: ModelInfo, tokens: int) -> float:
    """From the request to the first token's event; random tokens, so that no earlier prefix is reused."""
    prompt = _random_prompt(info, tokens)
    started = time.perf_counter()
    first = 0.0
    for event in service.generate(GenerateRequest(info.spec, prompt, max_tokens=1, ignore_stop=True)):
        if isinstance(event, Tokens) and not first:
            first = time.perf_counter()
        _check(event)
    return tokens / (first - started)


def _path_decode(service: InferenceService, info: ModelInfo, tokens: int) -> float:
    """From the event that the prompt is evaluated to the end event: `tokens` evaluations, and one sample more."""
    started = ended = 0.0
    request = GenerateRequest(
        info.spec, _random_prompt(info, 1), max_tokens=tokens + 1, ignore_stop=True, speculate=False
    )
    for event in service.generate(request):
        ended = time.perf_counter()
        if isinstance(event, Prefill):
            started = ended
        _check(event)
    return tokens / (ended - started)


def _random_prompt(info: ModelInfo, tokens: int) -> tuple[Ids]:
    return (Ids(tuple(random.choices(range(info.n_vocab), k=tokens))),)  # noqa: S311 - no secret


def _check(event: object) -> None:
    if isinstance(event, Finished) and event.reason in (StopReason.FAILED, StopReason.CANCELLED):
        raise UserError.of(event.error or ErrorInfo(CLOSED))


def _each(
    summary: Callable[[Sequence[float]], Any],
    raw: dict[str, list[float]],
    path: dict[str, list[float]],
    ratios: dict[str, list[float]],
) -> dict[str, dict[str, Any]]:
    return {
        "raw": {f"{kind}_tps": summary(values) for kind, values in raw.items()},
        "path": {f"{kind}_tps": summary(values) for kind, values in path.items()},
        "ratio": {kind: summary(values) for kind, values in ratios.items()},
    }


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 4)


def _quartiles(values: Sequence[float]) -> list[float]:
    """The lower and the upper one; of a single value, that."""
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return [round(lower, 4), round(upper, 4)]


def _spread(values: Sequence[float]) -> list[float]:
    return [round(min(values), 4), round(max(values), 4)]
