"""How full the context is, as the real engine counts it; what leaves when it is full, and what then goes on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.chat.support import Bench, MakeBench

from inglenook.chat import service
from inglenook.chat import use as measuring
from inglenook.chat.context import answer_room
from inglenook.chat.events import AnswerEnded, ChatFailed, ContextChanged, ContextUse
from inglenook.chat.turn import Limits
from inglenook.core.conversation import MessageState
from inglenook.core.inference import ModelSpec
from inglenook.core.messages import user
from inglenook.core.prompt import Special, Text
from inglenook.core.settings import INSTRUCTIONS, TEMPERATURE
from inglenook.engine.client import EngineClient
from inglenook.harmony import specials
from inglenook.harmony.render import when_answered

N_CTX = 768
STORY = "Tell me a long story"


class SmallDemo:
    """The demo model in a window that is soon full."""

    def __init__(self, file: Path) -> None:
        self.there = True
        self._spec = ModelSpec(str(file), n_ctx=N_CTX, gpu_layers=0, threads=1)

    def chosen(self) -> str:
        return "model"

    def known(self, name: str = "") -> ModelSpec | None:
        return self._spec if self.there else None

    def spec(
        self, cancelled: Callable[[], bool], name: str = "", loading: Callable[[float], None] | None = None
    ) -> ModelSpec:
        return self._spec


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    folder = tmp_path_factory.mktemp("engine")
    client = EngineClient(folder / "run", folder / "logs")
    yield client
    client.close()


@pytest.fixture
def model(demo_gguf: Path) -> SmallDemo:
    return SmallDemo(demo_gguf)


@pytest.fixture
def bench(make_bench: MakeBench, engine: EngineClient, model: SmallDemo) -> Bench:
    bench = make_bench(engine, model)
    bench.settings.set(TEMPERATURE, 0.0)
    return bench


def told(bench: Bench, chat: str, which: Callable[[ContextUse], bool] = lambda _: True, start: int = 0) -> ContextUse:
    """The first use that fulfils a condition."""
    found = bench.heard.wait(
        ContextChanged, lambda e: e.conversation_id == chat and e.use is not None and which(e.use), start
    ).use
    assert found is not None
    return found


def test_without_a_loaded_model(bench: Bench, engine: EngineClient, model: SmallDemo) -> None:
    """First in this file: nobody has loaded it yet."""
    bench.settings.set(INSTRUCTIONS, "Be brief.")
    chat = bench.service.new_chat()
    bench.service.watch(chat)
    empty = told(bench, chat)
    assert (empty.n_ctx, empty.history, empty.draft, empty.answer) == (N_CTX, 0, 0, 0)
    assert empty.instructions > 0
    assert empty.room == answer_room(N_CTX)
    bench.service.save_draft(chat, "How do you do?")
    with_draft = told(bench, chat, lambda u: u.draft > 0)
    assert engine.status().model is None
    spec = model.spec(lambda: False)
    assert with_draft.draft == engine.count(spec, when_answered(user("How do you do?")))
    assert with_draft.used == empty.used + with_draft.draft
    bench.service.save_draft(chat, "")
    told(bench, chat, lambda u: u.draft == 0, bench.heard.mark() - 1)


def test_nothing_is_told_of_what_nobody_watches_or_where_there_is_no_model(bench: Bench, model: SmallDemo) -> None:
    chat = bench.ask("Hello")
    assert bench.heard.of(ContextChanged) == []
    model.there = False
    bench.service.watch(chat)
    assert bench.heard.wait(ContextChanged) == ContextChanged(chat, None)


def test_during_an_answer_it_is_what_the_engine_has(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "PAUSE", 0.001)  # on a fast machine the demo's answer is over before the usual ones
    monkeypatch.setattr(service, "SAVE_SECONDS", 0.001)
    chat = bench.service.new_chat()
    bench.service.watch(chat)
    bench.service.send(chat, STORY)
    during = told(bench, chat, lambda u: u.answer > 0)
    bench.service.stop(chat)
    end = bench.heard.ended(chat).message
    assert end.stats is not None
    assert during.used - during.answer == end.stats.prompt_tokens
    assert during.answer <= end.stats.output_tokens


def test_old_turns_leave_many_at_once_and_the_cache_serves_those_between(
    make_bench: MakeBench, engine: EngineClient, model: SmallDemo
) -> None:
    bench = make_bench(engine, model, limits=Limits(tokens=60))
    bench.settings.set(TEMPERATURE, 0.0)
    chat = bench.service.new_chat()
    shares = []
    for i in range(14):
        start = bench.heard.mark()
        bench.ask(f"Hello number {i}. I like rain. I like snow.", chat)
        end = bench.heard.ended(chat, start).message
        assert end.error == ""
        assert end.stats is not None
        assert end.stats.prompt_tokens <= N_CTX - answer_room(N_CTX)
        shares.append(end.stats.cached_tokens / end.stats.prompt_tokens)
    bench.service.watch(chat)
    use = told(bench, chat)
    path = bench.stored(chat).path()
    assert len(path) == 28, "nothing is lost from the conversation"
    assert use.unseen == tuple(m.id for m in path[: len(use.unseen)]), "the oldest"
    assert len(use.unseen) >= 4
    assert use.used + use.room <= N_CTX
    assert [share > 0.4 for share in shares[1:]].count(False) <= 3, shares


def test_an_answer_that_fills_the_context_ends_cleanly_and_goes_on_without_older_turns(bench: Bench) -> None:
    chat = bench.ask("Hello! " + "Thank you. " * 80)
    start = bench.heard.mark()
    bench.ask(STORY, chat)
    cut = bench.heard.ended(chat, start).message
    assert cut.state is MessageState.LENGTH
    assert cut.stats is not None
    assert cut.stats.prompt_tokens + cut.stats.output_tokens == N_CTX
    said = cut.message.text
    bench.service.watch(chat)
    start = bench.heard.mark()
    bench.service.continue_answer(chat, cut.id)
    use = told(bench, chat, lambda u: bool(u.unseen) and u.answer > 0, start)
    assert use.unseen == tuple(m.id for m in bench.stored(chat).path()[:2])
    end = bench.heard.ended(chat, start)
    assert end.error is None
    assert end.message.message.text.startswith(said)
    assert len(end.message.message.text) > len(said)


def test_a_message_that_is_too_long_is_refused_and_what_fits_is_not(
    bench: Bench, engine: EngineClient, model: SmallDemo
) -> None:
    chat = bench.ask("Hello")
    spec = model.spec(lambda: False)

    def message(words: int) -> tuple[str, int]:
        text = " ".join(["rain"] * words)
        return text, engine.count(spec, (*when_answered(user(text)), Special(specials.START), Text("assistant")))

    bench.service.send(chat, message(3000)[0])
    refused = bench.heard.wait(ChatFailed)
    arguments = {name: int(value) for name, value in refused.error.arguments}
    assert arguments["tokens"] == message(3000)[1]
    assert len(bench.stored(chat).messages) == 2
    fits = bisect_right(range(3000), arguments["fits"], key=lambda words: message(words)[1]) - 1
    start = bench.heard.mark()
    bench.service.send(chat, message(fits + 1)[0])
    assert bench.heard.wait(ChatFailed, start=start).error.template == refused.error.template
    start = bench.heard.mark()
    bench.service.send(chat, message(fits)[0])
    end = bench.heard.wait((ChatFailed, AnswerEnded), start=start)
    assert isinstance(end, AnswerEnded)
    assert end.error is None
