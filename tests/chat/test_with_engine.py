"""The whole path with nothing replaced: store, harmony, the real engine process, the demo model."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.chat.support import Bench, MakeBench
from tests.demo_model.checks import TOOLS

from inglenook.chat.events import AnswerDelta, AnswerEnded, AnswerWaiting, ChatFailed, Waiting
from inglenook.chat.turn import Limits
from inglenook.core.conversation import MessageState
from inglenook.core.inference import EngineState, GenerateRequest, ModelSpec, Sampling
from inglenook.core.messages import Effort, Role
from inglenook.core.prompt import Text
from inglenook.core.settings import TEMPERATURE
from inglenook.core.tools import Tool
from inglenook.engine.client import EngineClient

STORY = "Tell me a long story"


class Offered:
    """The three tools that the demo model was trained with; what they are called with is kept."""

    def __init__(self) -> None:
        self.called: list[tuple[str, dict[str, Any]]] = []
        said = {"get_weather": '{"temperature": 23, "unit": "celsius", "condition": "light rain"}', "add_note": "ok"}
        self.tools = tuple(
            Tool(
                spec.name, spec.description, spec.parameters, self._run(spec.name, said.get(spec.name, "17:42")), False
            )
            for spec in TOOLS
        )

    def _run(self, name: str, result: str) -> Callable[[Mapping[str, Any], Callable[[], bool]], str]:
        def run(arguments: Mapping[str, Any], cancelled: Callable[[], bool]) -> str:
            self.called.append((name, dict(arguments)))
            return result

        return run


class DemoModel:
    """The `ModelSource` of these tests."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def chosen(self) -> str:
        return "model"

    def known(self, name: str = "") -> ModelSpec | None:
        return self.spec(lambda: False)

    def spec(
        self, cancelled: Callable[[], bool], name: str = "", loading: Callable[[float], None] | None = None
    ) -> ModelSpec:
        return ModelSpec(str(self._file), n_ctx=4096, gpu_layers=0, threads=1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    folder = tmp_path_factory.mktemp("engine")
    (folder / "run").mkdir(mode=0o700)
    (folder / "logs").mkdir()
    client = EngineClient(folder / "run", folder / "logs")
    yield client
    client.close()


@pytest.fixture
def bench(make_bench: MakeBench, engine: EngineClient, demo_gguf: Path) -> Bench:
    bench = make_bench(engine, DemoModel(demo_gguf))
    bench.settings.set(TEMPERATURE, 0.0)
    return bench


def streaming(bench: Bench, chat: str, length: int = 200) -> None:
    """Waits until so many characters were shown."""

    def enough(event: AnswerDelta | AnswerEnded) -> bool:
        if event.conversation_id != chat:
            return False
        assert not isinstance(event, AnswerEnded), f"the answer was too short for this test: {event}"
        shown = (e.text for e in bench.heard.events if isinstance(e, AnswerDelta) and e.conversation_id == chat)
        return sum(map(len, shown)) >= length

    bench.heard.wait((AnswerDelta, AnswerEnded), enough)


def test_answer_and_follow_up_reuse_the_cache(bench: Bench) -> None:
    chat = bench.ask("Hello!")
    first = bench.heard.ended(chat)
    assert first.error is None
    assert first.message.state is MessageState.COMPLETE
    assert first.message.message.text
    finals = [text for channel, text in bench.heard.parts(first.message.id) if channel == "final"]
    assert "".join(finals) == first.message.message.text
    assert "<|" not in first.message.message.text
    start = bench.heard.mark()
    bench.ask("What is Inglenook?", chat)
    second = bench.heard.ended(chat, start).message
    assert second.state is MessageState.COMPLETE
    assert second.stats is not None
    assert second.stats.cached_tokens > 0
    assert second.stats.prompt_tokens > second.stats.cached_tokens
    assert [m.message for m in bench.stored(chat).path()][3] == second.message


def test_the_model_loads_with_progress(bench: Bench, engine: EngineClient) -> None:
    engine.unload()
    while engine.status().state is not EngineState.OFF:
        time.sleep(0.01)
    bench.ask("Hello!")
    told = [e.waiting for e in bench.heard.of(AnswerWaiting)]
    assert list(dict.fromkeys(told)) == [Waiting.STARTING, Waiting.LOADING, Waiting.READING]


def test_stop_keeps_what_came_and_the_next_turn_works(bench: Bench) -> None:
    chat = bench.service.new_chat()
    bench.service.send(chat, STORY)
    streaming(bench, chat)
    bench.service.stop(chat)
    stopped = bench.heard.ended(chat).message
    assert stopped.state is MessageState.STOPPED
    assert len(stopped.message.text + stopped.message.reasoning) >= 200
    start = bench.heard.mark()
    bench.ask("Hello!", chat)
    assert bench.heard.ended(chat, start).message.state is MessageState.COMPLETE
    assert bench.stored(chat).get(stopped.id) == stopped


def test_regenerate_at_another_effort_and_edit(bench: Bench) -> None:
    chat = bench.ask("What is Inglenook?")
    first = bench.heard.ended(chat).message
    start = bench.heard.mark()
    bench.service.regenerate(chat, first.id, Effort.HIGH)
    second = bench.heard.ended(chat, start).message
    assert second.effort is Effort.HIGH
    assert len(second.message.reasoning) > len(first.message.reasoning)
    start = bench.heard.mark()
    question = bench.stored(chat).path()[0]
    bench.service.edit(chat, question.id, "Hello!")
    bench.heard.ended(chat, start)
    tree = bench.stored(chat)
    assert len(tree.siblings(question.id)) == 2
    assert len(tree.siblings(first.id)) == 2
    assert tree.path()[0].message.text == "Hello!"


def test_the_engine_is_killed_in_mid_stream(bench: Bench, engine: EngineClient) -> None:
    bench.ask("Hello!")
    chat = bench.service.new_chat()
    bench.service.send(chat, STORY)
    streaming(bench, chat)
    pid = engine.status().pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    end = bench.heard.ended(chat)
    assert end.message.state is MessageState.FAILED
    assert end.error is not None
    assert end.message.error == end.error.text()
    assert len(end.message.message.text + end.message.message.reasoning) >= 200
    assert bench.stored(chat).get(end.message.id) == end.message
    start = bench.heard.mark()
    bench.ask("Hello!", chat)
    assert bench.heard.ended(chat, start).message.state is MessageState.COMPLETE
    assert engine.status().state is EngineState.READY
    assert engine.status().pid != pid


def test_close_in_mid_answer_stores_all_that_was_shown(bench: Bench) -> None:
    chat = bench.service.new_chat()
    bench.service.send(chat, STORY)
    streaming(bench, chat)
    bench.service.close()
    end = bench.heard.of(AnswerEnded)[-1].message
    assert end.state is MessageState.INTERRUPTED
    shown = "".join(e.text for e in bench.heard.of(AnswerDelta))
    assert end.message.reasoning + end.message.text == shown
    assert bench.stored(chat).get(end.id) == end


def test_a_message_that_is_too_long_is_refused_with_the_numbers(bench: Bench) -> None:
    chat = bench.service.new_chat()
    bench.service.send(chat, "word " * 6000)
    assert int(dict(bench.heard.wait(ChatFailed).error.arguments)["tokens"]) > 4096
    bench.ask("Hello!", chat)
    assert bench.heard.ended(chat).message.state is MessageState.COMPLETE


def test_a_long_conversation_goes_on_without_its_oldest_turns(bench: Bench) -> None:
    chat = bench.ask("Hello! " + "filler " * 600)
    for _ in range(2):
        start = bench.heard.mark()
        bench.ask("Hello! " + "filler " * 600, chat)
        end = bench.heard.ended(chat, start)
        assert end.error is None
        assert end.message.stats is not None
        assert end.message.stats.prompt_tokens <= 4096 - 1024
    assert len(bench.stored(chat).path()) == 6


def test_a_missing_model_file_says_what_to_do(make_bench: MakeBench, engine: EngineClient, tmp_path: Path) -> None:
    bench = make_bench(engine, DemoModel(tmp_path / "gone.gguf"))
    end = bench.heard.ended(bench.ask("Hello!"))
    assert end.message.state is MessageState.FAILED
    assert end.error is not None
    assert "gone.gguf" in end.error.text()


@pytest.fixture
def offered() -> Offered:
    return Offered()


@pytest.fixture
def with_tools(make_bench: MakeBench, engine: EngineClient, demo_gguf: Path, offered: Offered) -> Bench:
    bench = make_bench(engine, DemoModel(demo_gguf), offered.tools)
    bench.settings.set(TEMPERATURE, 0.0)
    return bench


def test_the_model_calls_a_tool_and_says_what_it_answered(with_tools: Bench, offered: Offered) -> None:
    chat = with_tools.ask("What is the weather in Lisbon?")
    end = with_tools.heard.ended(chat)
    assert offered.called == [("get_weather", {"location": "Lisbon"})]
    assert (end.message.state, end.message.error) == (MessageState.COMPLETE, "")
    assert "23" in end.message.message.text
    assert "light rain" in end.message.message.text.lower()
    path = with_tools.stored(chat).path()
    assert [m.message.role for m in path] == [Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT]
    called, last = path[1].stats, path[3].stats
    assert called is not None
    assert last is not None
    assert last.cached_tokens >= called.prompt_tokens, "the ids of the running turn are in the cache"
    assert len(with_tools.heard.of(AnswerEnded)) == 1


def test_without_tools_the_same_model_calls_none(bench: Bench) -> None:
    """The control."""
    chat = bench.ask("What is the weather in Lisbon?")
    assert [m.message.role for m in bench.stored(chat).path()] == [Role.USER, Role.ASSISTANT]


def test_an_answer_that_hit_a_limit_goes_on_as_if_it_had_not(
    make_bench: MakeBench, engine: EngineClient, demo_gguf: Path
) -> None:
    whole = make_bench(engine, DemoModel(demo_gguf))
    whole.settings.set(TEMPERATURE, 0.0)
    chat = whole.ask("Show me some headings")
    expected = whole.heard.ended(chat).message.message
    assert expected.sampled is not None
    whole.service.close()
    for limit in {10, len(expected.sampled.ids) // 2, len(expected.sampled.ids) - 2}:
        bench = make_bench(engine, DemoModel(demo_gguf), limits=Limits(tokens=limit))
        chat = bench.ask("Show me some headings")
        cut = bench.heard.ended(chat).message
        assert cut.state is MessageState.LENGTH
        assert cut.message.sampled is not None
        assert cut.message.sampled.ids == expected.sampled.ids[:limit]
        for _ in range(len(expected.sampled.ids) // limit + 1):
            start = bench.heard.mark()
            bench.service.continue_answer(chat, cut.id)
            end = bench.heard.ended(chat, start).message
            if end.state is not MessageState.LENGTH:
                break
        assert end.state is MessageState.COMPLETE
        assert end.message.sampled == expected.sampled
        assert end.message.text == expected.text
        assert len(bench.stored(chat).messages) == 2
        bench.service.close()


def test_another_programs_answer_is_waited_for_and_that_is_told(
    bench: Bench, engine: EngineClient, demo_gguf: Path
) -> None:
    bench.ask("Hello!")
    client, told = EngineClient(engine._supervisor._runtime, engine._supervisor._logs), threading.Event()
    try:
        spec = DemoModel(demo_gguf).spec(lambda: False)
        unsubscribe = bench.service.subscribe(
            lambda e: told.set() if isinstance(e, AnswerWaiting) and e.waiting is Waiting.QUEUED else None
        )

        def answer_again_and_again() -> None:
            request = GenerateRequest(spec, (Text("a"),), Sampling(0.0), ignore_stop=True)
            while not told.is_set():
                for _ in client.generate(request):
                    pass

        other = threading.Thread(target=answer_again_and_again)
        other.start()
        chat = bench.service.new_chat()
        while not told.wait(0.01):
            start = bench.heard.mark()
            bench.service.send(chat, "Hello!")
            end = bench.heard.ended(chat, start)
            assert end.message.state is MessageState.COMPLETE
        other.join()
        unsubscribe()
        waits = [e.waiting for e in bench.heard.of(AnswerWaiting) if e.message_id == end.message.id]
        assert Waiting.READING in waits[waits.index(Waiting.QUEUED) :], "and what comes after that"
    finally:
        told.set()
        client.close()
