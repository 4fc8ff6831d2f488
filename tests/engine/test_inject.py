"""Tokens put into a running generation: exactly there, evaluated like sampled ones, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.test_engine import GREEDY, PROMPT, finished, ids_of, long_answer

from inglenook.core.errors import UserError
from inglenook.core.events import EngineEvent, Finished, StopReason, Tokens
from inglenook.core.inference import GenerateRequest, ModelSpec
from inglenook.core.prompt import Special, Text
from inglenook.engine import llama
from inglenook.engine.client import EngineClient
from inglenook.engine.generating import Aside, Generating, _ends_within_a_character
from inglenook.engine.loaded import Loaded
from inglenook.engine.protocol import Inject, Run
from inglenook.engine.schedule import ClientLine, Job

WAY_OUT = (Special("<|end|>"), Special("<|start|>"), Text("assistant"), Special("<|message|>"))
FINAL = (
    *(Special("<|end|>"), Special("<|start|>"), Text("assistant")),
    *(Special("<|channel|>"), Text("final"), Special("<|message|>")),
)


class Line:
    """Hears the tokens of one generation, and puts something into it after the `at`th."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.pieces: list[bytes] = []
        self.at: int | None = None
        self.injection = Inject(1, WAY_OUT, 0)

    def put_token(self, _: int, token: int, piece: bytes) -> None:
        self.ids.append(token)
        self.pieces.append(piece)

    def tell(self, job: Job, event: EngineEvent) -> None:
        """Progress is of no interest."""

    def between(self, job: Job, work: Aside) -> None:
        if len(self.ids) == self.at:
            job.injection, self.at = self.injection, None

    def interruptible(self, job: Job, wanted: bool) -> bool:
        """Nobody interrupts."""
        return False


class Bench:
    """The random model in this process, so that a test decides what comes when."""

    def __init__(self, file: Path) -> None:
        found = file.stat()
        self.spec = ModelSpec(str(file), n_ctx=4096)
        self.loaded = Loaded((self.spec, found.st_size, found.st_mtime_ns), lambda _: True)
        self.control = set(self.loaded.model.specials.values())
        self.forced = self.loaded.vocabulary.tokenizer.tokenize(WAY_OUT)
        self.plain = self.run(None, 0)[0].ids

    def run(self, at: int | None, after: int, most: int = 400) -> tuple[Line, Finished]:
        """`WAY_OUT` is put in after the `at`th token, if no control token has come since `after` ones."""
        line = Line()
        line.at, line.injection = at, Inject(1, WAY_OUT, after)
        request = GenerateRequest(self.spec, PROMPT, GREEDY, max_tokens=most, ignore_stop=True)
        job = Job(ClientLine(cast(Any, line)), Run(1, request))
        end = Generating(line, job, request, self.loaded).run()
        return line, end

    def argmax(self, ids: list[int]) -> list[int]:
        """What the model would say at each place of that answer, by plain calls."""
        context = llama.Context(self.loaded.model, 4096, 1)
        prompt = self.loaded.vocabulary.tokenizer.tokenize(PROMPT)
        context.decode(prompt, 0)
        said = []
        for position, token in enumerate(ids, len(prompt)):
            said.append(int(context.logits().argmax()))
            context.decode_one(token, position)
        context.close()
        return said

    def is_whole(self, count: int) -> bool:
        """Whether so many tokens of the plain answer end with a character (or with what is none at all)."""
        return not _ends_within_a_character(b"".join(map(self.loaded.model.piece, self.plain[:count][-4:])))

    def place(self, *, whole: bool) -> int:
        """Some way into the plain answer: within text, at the end of a character or not."""
        return next(
            n
            for n in range(20, len(self.plain))
            if self.is_whole(n) is whole and self.control.isdisjoint(self.plain[n - 8 : n + 8])
        )


@pytest.fixture(scope="module")
def bench(random_gguf: Path) -> Iterator[Bench]:
    llama.start()
    made = Bench(random_gguf)
    yield made
    made.loaded.close()


def test_the_model_goes_on_after_it_as_after_its_own_tokens(bench: Bench) -> None:
    at = bench.place(whole=True)
    line, end = bench.run(at, at)
    ids, forced = line.ids, bench.forced
    assert ids[: at + len(forced)] == bench.plain[:at] + forced
    assert line.pieces == [bench.loaded.model.piece(i) for i in ids]
    assert (end.reason, end.stats.output_tokens, len(ids)) == (StopReason.LENGTH, 400, 400)
    other = {i for i, (mine, theirs) in enumerate(zip(ids, bench.argmax(ids), strict=True)) if mine != theirs}
    assert other, "the model would not have said that"
    assert other <= set(range(at, at + len(forced)))
    prompt = len(bench.loaded.vocabulary.tokenizer.tokenize(PROMPT))
    assert list(bench.loaded.cache.tokens)[prompt:] == ids[:-1], "the last token is evaluated only if one follows"


def test_in_place_of_the_first_token(bench: Bench) -> None:
    """It came while the prompt was read."""
    line, end = bench.run(0, 0)
    assert line.ids[: len(bench.forced)] == bench.forced
    assert line.ids[len(bench.forced) :][: len(bench.forced)] != bench.forced, "once"
    assert end.stats.ttft_s > 0


def test_too_late_after_a_control_token(bench: Bench) -> None:
    first = next(i for i, token in enumerate(bench.plain) if token in bench.control)
    at = next(n for n in range(first + 1, 400) if bench.is_whole(n))
    assert bench.run(at, first)[0].ids == bench.plain
    line, _ = bench.run(at, at)
    assert line.ids != bench.plain, "the control"


def test_not_within_a_character(bench: Bench) -> None:
    at = bench.place(whole=False)
    line, _ = bench.run(at, at)
    put_in = next(n for n in range(at, 400) if bench.is_whole(n))
    assert put_in > at
    assert line.ids[: put_in + len(bench.forced)] == bench.plain[:put_in] + bench.forced


def test_not_where_no_room_is_left_for_an_answer(bench: Bench) -> None:
    at = bench.place(whole=True)
    needed = at + len(bench.forced) + 1
    line, end = bench.run(at, at, needed - 1)
    assert line.ids == bench.plain[: needed - 1]
    assert end.reason is StopReason.LENGTH
    line, end = bench.run(at, at, needed)
    assert line.ids[at:-1] == bench.forced
    assert (end.reason, end.stats.output_tokens) == (StopReason.LENGTH, needed)


def test_a_name_that_the_vocabulary_lacks_is_told(bench: Bench) -> None:
    line = Line()
    line.at, line.injection = 5, Inject(1, (Special("<|nonsense|>"),), 5)
    request = GenerateRequest(bench.spec, PROMPT, GREEDY, ignore_stop=True)
    with pytest.raises(UserError, match="nonsense"):
        Generating(line, Job(ClientLine(cast(Any, line)), Run(1, request)), request, bench.loaded).run()


# Through the engine's process, which goes on while it is told.


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    folder = tmp_path_factory.mktemp("engine")
    client = EngineClient(folder / "run", folder / "logs")
    yield client
    client.close()


def test_only_into_the_generation_that_runs(engine: EngineClient, random_spec: ModelSpec) -> None:
    """Not into one that waits, has ended or is no generation: nothing happens."""
    request = long_answer(random_spec, sampling=GREEDY, max_tokens=600)
    plain = ids_of(list(engine.generate(request)))
    running, waiting = engine.generate(request), engine.generate(request)
    waiting.inject(WAY_OUT, 0)
    assert ids_of(list(running)) == plain
    assert ids_of(list(waiting)) == plain
    waiting.inject(WAY_OUT, 0)
    load = engine.load(random_spec)
    load.inject(WAY_OUT, 0)
    assert finished(list(load)).reason is StopReason.STOP


def test_reasoning_of_the_demo_model_is_cut_short(engine: EngineClient, demo_gguf: Path) -> None:
    """Within the analysis the answer follows at once; the header is exactly what was put in."""
    spec = ModelSpec(str(demo_gguf), n_ctx=2048, gpu_layers=0, threads=1)
    system = "You are ChatGPT.\n\nReasoning: high\n\n# Valid channels: analysis, commentary, final."
    prompt = (
        *(Special("<|start|>"), Text("system"), Special("<|message|>"), Text(system), Special("<|end|>")),
        *(Special("<|start|>"), Text("user"), Special("<|message|>"), Text("What is 17 + 25?"), Special("<|end|>")),
        *(Special("<|start|>"), Text("assistant"), Special("<|channel|>"), Text("analysis"), Special("<|message|>")),
    )
    request = GenerateRequest(spec, prompt, GREEDY, max_tokens=400)
    plain = [p for e in engine.generate(request) if isinstance(e, Tokens) for p in e.pieces]
    for _ in range(30):  # on a busy machine the model may be done before it hears
        generation = engine.generate(request)
        pieces: list[bytes] = []
        for event in generation:
            if isinstance(event, Tokens):
                pieces += event.pieces
                if b"<|end|>" not in pieces:
                    generation.inject(FINAL, len(pieces))
        at = pieces.index(b"<|end|>")
        assert pieces[:at] == plain[:at]
        thought, answer = b"".join(pieces).split(b"<|end|><|start|>assistant<|channel|>final<|message|>", 1)
        assert thought
        assert answer.endswith(b"<|return|>")
        assert len(answer) > len(b"<|return|>")
        if plain[at] != b"<|end|>":
            return
    raise AssertionError("never in time")


@given(st.text(max_size=6), st.integers(0, 8))
def test_ends_within_a_character(text: str, cut: int) -> None:
    data = text.encode("utf-8", "replace")[: max(0, len(text.encode("utf-8", "replace")) - cut)]
    try:
        data.decode()
    except UnicodeDecodeError:
        assert _ends_within_a_character(data[-4:])
    else:
        assert not _ends_within_a_character(data[-4:])
