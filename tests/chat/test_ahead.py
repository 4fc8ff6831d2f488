"""Work ahead with the real engine and the demo model: what is evaluated early is what the next turn asks for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.chat.support import Bench, MakeBench

from inglenook.chat.ahead import WorkAhead, beginning
from inglenook.chat.events import AnswerEnded
from inglenook.chat.history import History
from inglenook.core.events import EngineEvent, Finished
from inglenook.core.inference import GenerateRequest, Generation, ModelSpec, Sampling
from inglenook.core.messages import Message, ReasoningPart, Role, TextPart, user
from inglenook.core.prompt import Prompt, Segment
from inglenook.core.settings import TEMPERATURE
from inglenook.engine.client import EngineClient
from inglenook.engine.saved_names import name_of
from inglenook.harmony.render import render

ASKED = Prompt((user("What is Inglenook? " * 20),), date="2026-11-22")
ANSWER = Message(Role.ASSISTANT, (ReasoningPart("They ask. " * 40), TextPart("A program to chat with. " * 30)))
ANSWERED = replace(ASKED, messages=(*ASKED.messages, ANSWER))
HISTORY = History(ANSWERED, "c", ("question", "answer"))
QUESTION = "And how do I stop an answer?"


def following(question: str = QUESTION) -> Prompt:
    return replace(ANSWERED, messages=(*ANSWERED.messages, user(question)))


class Engine:
    """The engine with the demo model loaded, and how much of a prompt it has."""

    def __init__(self, folder: Path, spec: ModelSpec) -> None:
        self.states = folder / "states"
        self.client = EngineClient(folder / "run", folder / "logs", states=self.states)
        self.spec = spec
        self.vocabulary = self.client.model_info(spec).vocabulary

    def ask(self, prompt: Prompt) -> int:
        """Tokens of it that were in the cache."""
        request = GenerateRequest(self.spec, render(prompt, self.vocabulary), Sampling(0.0), max_tokens=1)
        end = next(e for e in self.client.generate(request) if isinstance(e, Finished))
        return end.stats.cached_tokens

    def count(self, segments: tuple[Segment, ...]) -> int:
        return self.client.count(self.spec, segments)

    def kept(self) -> int:
        return len(list(self.states.glob("*/*.state")))


@pytest.fixture
def engine(tmp_path: Path, demo_gguf: Path) -> Iterator[Engine]:
    made = Engine(tmp_path, ModelSpec(str(demo_gguf), n_ctx=4096))
    yield made
    made.client.close()


@pytest.fixture
def make(engine: Engine) -> Iterator[Callable[..., WorkAhead]]:
    made: list[WorkAhead] = []

    def ahead(*, allowed: bool = True, keeps: bool = True, keep_after: float = 60.0) -> WorkAhead:
        made.append(WorkAhead(engine.client, lambda: allowed, lambda: keeps, keep_after))
        return made[-1]

    yield ahead
    for one in made:
        one.close()


def until(condition: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < 60, "it did not happen"
        time.sleep(0.02)


def settled(ahead: WorkAhead) -> None:
    until(lambda: ahead._wish is None and ahead._running is None)
    time.sleep(0.1)
    until(lambda: ahead._wish is None and ahead._running is None)


def test_after_an_answer_only_the_next_question_is_left(engine: Engine, make: Callable[..., WorkAhead]) -> None:
    engine.ask(ASKED)
    ahead = make()
    ahead.answered("c", HISTORY)
    settled(ahead)
    history = engine.count(beginning(render(following(), engine.vocabulary), draft=False))
    assert engine.ask(following()) == history


def test_what_is_typed_is_there_when_it_is_sent(engine: Engine, make: Callable[..., WorkAhead]) -> None:
    engine.ask(ASKED)
    ahead = make()
    ahead.answered("c", HISTORY)
    for end in (3, 9, 20):
        ahead.typed("c", HISTORY, QUESTION[:end])
    settled(ahead)
    typed = engine.count(beginning(render(following(QUESTION[:20]), engine.vocabulary), draft=True))
    assert engine.ask(following()) >= typed - 1  # the last token may be another one when the word is complete


@pytest.mark.parametrize("allowed", [False, True])
def test_not_unless_it_is_allowed(engine: Engine, make: Callable[..., WorkAhead], *, allowed: bool) -> None:
    engine.ask(ASKED)
    ahead = make(allowed=allowed)
    ahead.answered("c", HISTORY)
    settled(ahead)
    question = engine.count(render(ASKED, engine.vocabulary))
    assert (engine.ask(following()) > question) is allowed


def test_the_state_is_kept_when_nothing_happens(engine: Engine, make: Callable[..., WorkAhead]) -> None:
    engine.ask(ASKED)
    ahead = make(keep_after=0.2)
    ahead.answered("c", HISTORY)
    until(lambda: engine.kept() == 1)


def test_the_state_is_kept_at_the_end_of_the_program(engine: Engine, make: Callable[..., WorkAhead]) -> None:
    engine.ask(ASKED)
    ahead = make()
    ahead.answered("c", HISTORY)
    ahead.close()
    assert engine.kept() == 1


def test_nothing_is_kept_where_the_user_does_not_want_it(engine: Engine, make: Callable[..., WorkAhead]) -> None:
    engine.ask(ASKED)
    ahead = make(keeps=False, keep_after=0.05)
    ahead.answered("c", HISTORY)
    settled(ahead)
    ahead.close()
    assert engine.kept() == 0


def test_a_turn_that_begins_ends_it(engine: Engine, make: Callable[..., WorkAhead]) -> None:
    engine.ask(ASKED)
    ahead = make(keep_after=0.05)
    ahead.answered("c", HISTORY)
    ahead.stop()
    settled(ahead)
    time.sleep(0.2)
    assert engine.kept() == 0


def test_another_chat_is_read_when_the_one_before_is_kept(engine: Engine, make: Callable[..., WorkAhead]) -> None:
    """What is typed there takes the cache from it."""
    engine.ask(ASKED)
    ahead = make()
    ahead.answered("c", HISTORY)
    settled(ahead)
    other = Prompt((user("Something else. " * 60),), date="2026-11-22")
    ahead.typed("d", History(other, "d", ("question",)), QUESTION)
    settled(ahead)
    assert [path.name for path in engine.states.glob("*/*.state")] == [f"{name_of('c')}.state"]
    assert engine.ask(replace(other, messages=(*other.messages, user(QUESTION)))) > 100  # and then that is read


def test_without_a_loaded_model_nothing_is_done(tmp_path: Path) -> None:
    client = EngineClient(tmp_path / "run", tmp_path / "logs")
    ahead = WorkAhead(client, lambda: True, lambda: True)
    ahead.answered("c", HISTORY)
    settled(ahead)
    ahead.close()
    assert not (tmp_path / "run").exists()  # no engine was started
    client.close()


class Slow:
    """An engine whose disk is slow: a state is written when the test says so."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.writes, self.go_on = threading.Event(), threading.Event()
        self.cancelled = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine.client, name)

    def prefill(self, model: ModelSpec, segments: tuple[Segment, ...], keep: str = "") -> Any:
        generation = self._engine.client.prefill(model, segments, keep)
        return self._writing(generation) if keep else generation

    def _writing(self, generation: Generation) -> Any:
        slow = self

        class Writing:
            def cancel(self) -> None:
                slow.cancelled = True

            def __iter__(self) -> Iterator[EngineEvent]:
                slow.writes.set()
                assert slow.go_on.wait(20)
                yield from generation

        return Writing()


def test_a_chat_that_is_deleted_while_its_state_is_written_leaves_none(engine: Engine) -> None:
    engine.ask(ASKED)
    slow = Slow(engine)
    ahead = WorkAhead(slow, lambda: True, lambda: True, 0.05)
    ahead.answered("c", HISTORY)
    assert slow.writes.wait(20)
    until(lambda: engine.kept() == 1)
    ahead.forget("c")
    assert engine.kept() == 0
    engine.states.joinpath("x").mkdir()
    late = engine.states / "x" / f"{name_of('c')}.state"
    late.touch()  # written after all
    slow.go_on.set()
    until(lambda: not late.exists())
    assert not slow.cancelled  # the engine would be taken for hung
    ahead.close()


class Fixed:
    """The model that answers."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    def chosen(self) -> str:
        return "model"

    def known(self, name: str = "") -> ModelSpec | None:
        return self.spec(lambda: False)

    def spec(
        self, cancelled: Callable[[], bool], name: str = "", loading: Callable[[float], None] | None = None
    ) -> ModelSpec:
        return self._spec


def answered(bench: Bench, chat: str, text: str) -> AnswerEnded:
    start = len(bench.heard.events)
    bench.service.send(chat, text)
    return bench.heard.wait(AnswerEnded, start=start)


def test_the_service_reads_ahead(engine: Engine, make: Callable[..., WorkAhead], make_bench: MakeBench) -> None:
    """From the second answer's figures: all of the first turn but its reasoning, and the draft, were there."""
    ahead = make(keep_after=0.1)
    bench = make_bench(engine.client, Fixed(engine.spec), ahead=ahead)
    bench.settings.set(TEMPERATURE, 0.0)
    chat = bench.service.new_chat()
    answered(bench, chat, "What is Inglenook? " * 20)
    until(lambda: engine.kept() == 1)
    bench.service.save_draft(chat, QUESTION)
    until(lambda: bench.store.tree(chat).conversation.draft == QUESTION)
    settled(ahead)
    stats = answered(bench, chat, QUESTION).message.stats
    assert stats is not None
    assert stats.prompt_tokens - stats.cached_tokens <= 6  # the question's end and the answer's head
    until(lambda: ahead._unkept is None)
    bench.service.delete(chat)
    until(lambda: engine.kept() == 0)


def test_a_new_chat_has_its_first_message_read(
    engine: Engine, make: Callable[..., WorkAhead], make_bench: MakeBench
) -> None:
    bench = make_bench(engine.client, Fixed(engine.spec), ahead=(ahead := make()))
    chat = bench.service.new_chat()
    bench.service.save_draft(chat, QUESTION)
    until(lambda: any(c.draft == QUESTION for c in bench.store.conversations()))
    settled(ahead)
    stats = answered(bench, chat, QUESTION).message.stats
    assert stats is not None
    assert stats.cached_tokens > stats.prompt_tokens / 2


@given(st.text(min_size=1), st.text(min_size=1))
def test_the_next_prompt_begins_with_it(draft: str, rest: str) -> None:
    whole = render(following(draft + rest), "v")
    history = beginning(render(following(draft), "v"), draft=False)
    assert whole[: len(history)] == history
    typed = beginning(render(following(draft), "v"), draft=True)
    assert whole[: len(typed) - 1] == typed[:-1]
    assert typed[: len(history)] == history
