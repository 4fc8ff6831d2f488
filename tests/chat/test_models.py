"""Each conversation is answered by the model that it remembers; the real engine and the real choice of models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chat.support import Bench, MakeBench
from tests.model_service import model_service

from inglenook.chat.events import AnswerWaiting, Waiting
from inglenook.core.conversation import MessageState
from inglenook.core.inference import DEMO
from inglenook.library.service import ModelService


@pytest.fixture
def models(tmp_path: Path) -> Iterator[ModelService]:
    with model_service(tmp_path / "home") as models:
        yield models


@pytest.fixture
def bench(make_bench: MakeBench, models: ModelService) -> Bench:
    return make_bench(models._inference, models)


def loaded(models: ModelService) -> str:
    model = models._inference.status().model
    assert model is not None
    return model.spec.path


def test_a_chat_stays_with_its_model_whatever_is_chosen_and_opening_it_loads_nothing(
    bench: Bench, models: ModelService, demo_gguf: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copy(demo_gguf, tmp_path / "other.gguf"))
    first = bench.ask("Hello!")
    assert bench.stored(first).conversation.model == DEMO
    demo = loaded(models)
    models.use_file(other)
    second = bench.ask("Hello!")
    assert bench.stored(second).conversation.model == str(other)
    assert loaded(models) == str(other)
    start = bench.heard.mark()
    bench.service.open(first)
    assert bench.heard.tree(first, start).conversation.model == DEMO
    bench.service.list_chats()
    assert loaded(models) == str(other)
    start = bench.heard.mark()
    bench.ask("What can you do?", first)
    assert loaded(models) == demo
    assert any(isinstance(e, AnswerWaiting) and e.waiting is Waiting.LOADING for e in bench.heard.events[start:])
    assert models.chosen() == str(other)  # for new chats


def test_the_user_switches_within_a_chat(bench: Bench, models: ModelService, demo_gguf: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(demo_gguf, tmp_path / "other.gguf"))
    chat = bench.ask("Hello!")
    bench.service.set_model(chat, str(other))
    bench.ask("What can you do?", chat)
    assert loaded(models) == str(other)
    assert bench.stored(chat).conversation.model == str(other)


def test_a_model_that_is_gone_fails_the_answer_with_its_name_and_the_chat_can_go_on(
    bench: Bench, models: ModelService, tmp_path: Path
) -> None:
    chat = bench.ask("Hello!")
    bench.service.set_model(chat, str(tmp_path / "gone.gguf"))
    start = bench.heard.mark()
    bench.service.send(chat, "Hello again!")
    ended = bench.heard.ended(chat, start)
    assert ended.message.state is MessageState.FAILED
    assert "gone.gguf" in ended.message.error
    bench.service.set_model(chat, "")
    start = bench.heard.mark()
    bench.service.regenerate(chat, ended.message.id)
    assert bench.heard.ended(chat, start).message.state is MessageState.COMPLETE
    assert bench.stored(chat).conversation.model == DEMO
