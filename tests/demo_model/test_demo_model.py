"""The demo model through the real converter, engine process, harmony code: what the program promises of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.demo_model.checks import Case, cases, problems

from inglenook.core.events import Finished, StopReason, Tokens
from inglenook.core.inference import GenerateRequest, ModelSpec, Sampling
from inglenook.core.messages import (
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from inglenook.core.paths import resources
from inglenook.core.prompt import Text
from inglenook.engine.client import EngineClient
from inglenook.harmony.parse import Parser
from inglenook.harmony.render import render
from inglenook_convert.template import CHAT_TEMPLATE

HELD_OUT = {name: cases(name) for name in ("held_out", "held_out_2")}
BEHAVIOURS = cases("behaviours")
LARGEST = 8_000_000  # bytes, of the folder


@dataclass
class Demo:
    """Asks the demo model; what it said to a question greedily is not asked twice."""

    client: EngineClient
    spec: ModelSpec
    said: dict[str, tuple[tuple[Part, ...], str | None]] = field(default_factory=dict)

    def greedy(self, case: Case) -> tuple[tuple[Part, ...], str | None]:
        """`answer` at temperature 0."""
        asked = repr(case.content)
        if asked not in self.said:
            self.said[asked] = self.answer(case, Sampling(temperature=0.0))
        return self.said[asked]

    def answer(self, case: Case, sampling: Sampling) -> tuple[tuple[Part, ...], str | None]:
        """The parts of the answer to `case`, and the stop token that ended it."""
        info = self.client.model_info(self.spec)
        parser = Parser(dict(info.specials))
        request = GenerateRequest(self.spec, render(case.prompt, info.vocabulary), sampling, max_tokens=1600)
        reason = None
        for event in self.client.generate(request):
            if isinstance(event, Tokens):
                for token_id, piece in zip(event.ids, event.pieces, strict=True):
                    parser.feed(token_id, piece)
            elif isinstance(event, Finished):
                reason = event.reason
        parser.finish()
        assert reason is not StopReason.FAILED
        return parser.parts, parser.stopped_by

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return self.client.count(self.spec, (Text(text),)) if text else 0

    def problems(self, case: Case, sampling: Sampling | None = None) -> list[str]:
        """What is wrong with the answer to `case`, the greedy one unless `sampling` says otherwise."""
        parts, stopped_by = self.answer(case, sampling) if sampling else self.greedy(case)
        return problems(case, parts, stopped_by, self.count)


@pytest.fixture(scope="module")
def demo(demo_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    client = EngineClient(tmp_path_factory.mktemp("runtime"), tmp_path_factory.mktemp("logs"))
    yield Demo(client, ModelSpec(str(demo_gguf), n_ctx=8192))
    client.close()


SHORT_OF_IT = "the demo model is not there yet: train it further (see its README), then remove this mark"
WEAK = {"call_weather_unit"}
"""Behaviours that the checkpoint of today does not show."""
MOST_FAILED = 5
"""Of the second list's 20 questions; the checkpoint of today fails at 4 of them on our machines."""


def not_answered(demo: Demo, name: str) -> dict[str, list[str]]:
    """What is wrong with greedy answers to a list of held-out questions, by question."""
    assert len(HELD_OUT[name]) == 20
    return {case.content["question"]: wrong for case in HELD_OUT[name] if (wrong := demo.problems(case))}


def test_paraphrases_held_out_of_training(demo: Demo) -> None:
    """18 of the 20, also with the other matrices in BF16 or F32."""
    failed = not_answered(demo, "held_out")
    assert len(failed) <= 2, failed


@pytest.mark.xfail(strict=True, reason=SHORT_OF_IT)
def test_those_that_chose_no_checkpoint(demo: Demo) -> None:
    failed = not_answered(demo, "held_out_2")
    assert len(failed) <= 2, failed


def test_those_are_no_worse_than_they_were(demo: Demo) -> None:
    failed = not_answered(demo, "held_out_2")
    assert len(failed) <= MOST_FAILED, failed


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=pytest.mark.xfail(strict=False, reason=SHORT_OF_IT) if case.id in WEAK else ())
        for case in BEHAVIOURS
    ],
    ids=lambda case: case.id,
)
def test_behaviour(demo: Demo, case: Case) -> None:
    assert demo.problems(case) == []


def test_good_at_the_default_temperature(demo: Demo) -> None:
    """Sampled as the program does by default, most answers are still right: the trained answers have low entropy."""
    sampled = [demo.problems(case, Sampling(seed=7)) for case in HELD_OUT["held_out"]]
    assert sum(not wrong for wrong in sampled) >= 15, sampled


def test_reasons_longer_at_higher_effort(demo: Demo) -> None:
    by_effort = {case.content["effort"]: case for case in BEHAVIOURS if case.id.startswith("effort_")}
    lengths = []
    for effort in ("low", "medium", "high"):
        parts, _ = demo.greedy(by_effort[effort])
        lengths.append(demo.count("".join(p.text for p in parts if isinstance(p, ReasoningPart))))
    assert 0 < lengths[0] < lengths[1] < lengths[2]


def test_is_a_small_checkpoint_that_says_that_it_is_a_demo() -> None:
    folder = resources() / "demo-model"
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["inglenook_demo"] is True
    assert config["model_type"] == "gpt_oss"
    assert sum(file.stat().st_size for file in folder.iterdir()) <= LARGEST
    assert "not" in (folder / "README.md").read_text("utf-8").lower()


@pytest.mark.parametrize(
    "answer",
    [
        (TextPart("I do not know."),),
        (ReasoningPart("Let me see."), TextPart("")),
        (ToolCallPart("functions.get_time", "{}"),),
        (),
    ],
)
@pytest.mark.parametrize(
    "case", [*HELD_OUT["held_out"], *HELD_OUT["held_out_2"], *BEHAVIOURS], ids=lambda case: case.id
)
def test_the_judge_refuses_wrong_answers(case: Case, answer: tuple[Part, ...]) -> None:
    """The negative control: without it a judge that approves of everything would pass."""
    assert problems(case, answer, "<|return|>", len)


def test_the_chat_template_is_the_converters() -> None:
    """For other programs that read the checkpoint; what it renders, tests/converter/test_template.py checks."""
    assert (resources() / "demo-model" / "chat_template.jinja").read_text("utf-8") == CHAT_TEMPLATE
