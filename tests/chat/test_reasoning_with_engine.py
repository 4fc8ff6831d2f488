"""Reasoning cut short on the real engine, which thinks on while it is told: exact, whichever of the two is quicker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.chat.support import Bench, MakeBench
from tests.chat.test_with_engine import DemoModel

from inglenook.chat.events import AnswerDelta, ChatEvent
from inglenook.core.conversation import MessageState, StoredMessage
from inglenook.core.inference import ModelInfo
from inglenook.core.messages import Effort, ReasoningPart
from inglenook.core.settings import TEMPERATURE, THOUGHT_HIGH
from inglenook.engine.client import EngineClient
from inglenook.harmony import specials

TRIES = 30
"""The demo model thinks for some hundredths of a second; so often it may be done before it hears."""


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


def ask(bench: Bench, chat: str = "") -> StoredMessage:
    chat = chat or bench.service.new_chat()
    bench.service.set_effort(chat, Effort.HIGH)
    start = bench.heard.mark()
    bench.ask("What is Inglenook?", chat)
    return bench.heard.ended(chat, start).message


def thought(message: StoredMessage) -> ReasoningPart:
    """The first; cut off at an odd place, this small model may go on to think after it has answered."""
    return next(part for part in message.message.parts if isinstance(part, ReasoningPart))


def check(message: StoredMessage, info: ModelInfo, whole: StoredMessage) -> None:
    """Every token is accounted for: analysis up to some point of the whole one, the header, the answer."""
    names = {token_id: name for name, token_id in info.specials}
    assert message.message.sampled is not None
    assert whole.message.sampled is not None
    ids = message.message.sampled.ids
    control = [(names[token_id], at) for at, token_id in enumerate(ids) if token_id in names]
    names_in_order = [name for name, _ in control]
    assert names_in_order[:3] == [specials.CHANNEL, specials.MESSAGE, specials.END]
    assert names_in_order[3:6] == [specials.START, specials.CHANNEL, specials.MESSAGE]
    assert names_in_order[-1] == specials.RETURN
    begin, end = control[1][1] + 1, control[2][1]
    assert ids[:end] == whole.message.sampled.ids[:end]
    assert thought(message).tokens == end - begin
    assert thought(whole).text.startswith(thought(message).text)
    assert message.message.text
    assert (message.state, message.error) == (MessageState.COMPLETE, "")
    assert message.stats is not None
    assert message.stats.output_tokens == len(ids)


def cut_short(bench: Bench, engine: EngineClient, demo_gguf: Path, whole: StoredMessage) -> StoredMessage:
    """Asks until an answer was in time."""
    info = engine.model_info(DemoModel(demo_gguf).spec(lambda: False))
    for _ in range(TRIES):
        message = ask(bench)
        check(message, info, whole)
        if thought(message).tokens < thought(whole).tokens:
            return message
    raise AssertionError("never in time")


def test_answer_now(bench: Bench, engine: EngineClient, demo_gguf: Path) -> None:
    whole = ask(bench)

    def hurry(event: ChatEvent) -> None:
        if isinstance(event, AnswerDelta) and event.tokens == 3:
            bench.service.answer_now(event.conversation_id)

    unsubscribe: Callable[[], None] = bench.service.subscribe(hurry)
    message = cut_short(bench, engine, demo_gguf, whole)
    unsubscribe()
    again = ask(bench, message.conversation_id)
    assert again.state is MessageState.COMPLETE
    assert again.stats is not None
    assert again.stats.cached_tokens > 0, "the next turn finds what was evaluated"
    assert bench.stored(message.conversation_id).get(message.id) == message


def test_budget(bench: Bench, engine: EngineClient, demo_gguf: Path) -> None:
    whole = ask(bench)
    assert thought(whole).tokens > 50, "the control: without a budget it thinks for long"
    bench.settings.set(THOUGHT_HIGH, 5)
    message = cut_short(bench, engine, demo_gguf, whole)
    assert thought(message).tokens >= 5
