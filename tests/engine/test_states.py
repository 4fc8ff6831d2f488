"""Saved states: what is given back is what a fresh evaluation gives, and nothing odd is ever used."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.test_ahead import FIRST, HISTORY, SECOND, ask, message
from tests.engine.test_engine import finished

from inglenook.core.events import StopReason
from inglenook.core.inference import ModelSpec
from inglenook.core.prompt import Special, Text
from inglenook.engine.client import EngineClient
from inglenook.engine.states import SHORTEST, States, name_of

STATE = bytes(range(256)) * 40
TOKENS = list(range(1000))


def states(folder: Path, model: str = "m", **limits: int) -> States:
    return States(folder, model, **{"spare": 0, **limits})


def save(found: States, conversation: str = "a", tokens: list[int] = TOKENS, state: bytes = STATE) -> bool:
    return found.save(conversation, tokens, memoryview(state))


def file_of(folder: Path, conversation: str = "a") -> Path:
    (found,) = folder.glob(f"*/{name_of(conversation)}.state")
    return found


# -- files --


def test_comes_back_as_it_was(tmp_path: Path):
    assert save(states(tmp_path))
    again = states(tmp_path)
    found = again.best([*TOKENS, 5], SHORTEST)
    assert found is not None
    assert found.tokens.tolist() == TOKENS
    assert again.read(found) == STATE


def test_only_what_a_prompt_begins_with(tmp_path: Path):
    found = states(tmp_path)
    save(found, "short", TOKENS[:400])
    save(found, "long", TOKENS[:800])
    save(found, "other", [*TOKENS[:799], 7])

    def length(prompt: list[int], at_least: int = SHORTEST) -> int:
        best = found.best(prompt, at_least)
        return len(best.tokens) if best else 0

    assert length(TOKENS) == 800
    assert length(TOKENS[:800]) == 800
    assert length(TOKENS[:799]) == 400
    assert length(TOKENS, 801) == 0
    assert length([9, *TOKENS]) == 0


def test_another_model_does_not_see_it(tmp_path: Path):
    save(states(tmp_path, "one"))
    assert states(tmp_path, "two").best(TOKENS, 1) is None


@pytest.mark.parametrize("at", [0, 20, 60, 2000, -1])
def test_a_changed_byte_is_noticed_and_the_file_removed(tmp_path: Path, at: int):
    save(states(tmp_path))
    path = file_of(tmp_path)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    found = states(tmp_path)
    best = found.best(TOKENS, SHORTEST)
    assert best is None or found.read(best) is None
    assert best is not None or not path.exists() or at > 60  # a changed token makes it another's beginning


@given(st.binary(max_size=300), st.integers(0, 200))
@settings(max_examples=200)
def test_any_file_is_borne(tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int):
    folder = tmp_path_factory.mktemp("states")
    save(states(folder), tokens=list(range(20)), state=b"state")
    path = file_of(folder)
    path.write_bytes(path.read_bytes()[:cut] + data)
    found = states(folder)
    best = found.best(list(range(30)), 1)
    assert best is None or found.read(best) in (None, b"state")


@pytest.mark.parametrize("tokens", ["Infinity", "1e400", "NaN", '"x"', "[" * 3000])
def test_an_odd_header_is_no_state(tmp_path: Path, tokens: str):
    save(states(tmp_path))
    path = file_of(tmp_path)
    text = f'{{"state": 1, "crc": 1, "tokens": {tokens}}}'.encode()
    path.write_bytes(b"inglenook state\n" + len(text).to_bytes(4, "little") + text)
    assert states(tmp_path).best(TOKENS, 1) is None
    assert not path.exists()


@pytest.mark.parametrize("count", ["Infinity", "1e400", "[]"])
def test_an_odd_count_of_the_day_is_none(tmp_path: Path, count: str):
    day = time.strftime("%Y-%m-%d")
    (tmp_path / "written.json").write_text(f'{{"day": "{day}", "bytes": {count}}}')
    assert save(states(tmp_path))


def test_one_that_does_not_fit_the_memory_stays_where_it_is(tmp_path: Path):
    found = states(tmp_path)
    save(found, "short", TOKENS[:400], STATE[:100])
    save(found, "long")
    assert found.best(TOKENS, 1, room=len(STATE)).tokens.tolist() == TOKENS
    assert len(found.best(TOKENS, 1, room=len(STATE) - 1).tokens) == 400
    assert found.best(TOKENS, 1, room=-5) is None
    assert file_of(tmp_path, "long").exists()


def test_a_file_that_went_away_is_no_error(tmp_path: Path):
    found = states(tmp_path)
    save(found)
    best = found.best(TOKENS, 1)
    assert best is not None
    best.path.unlink()
    assert found.read(best) is None


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
def test_only_the_user_can_read_it(tmp_path: Path):
    save(states(tmp_path))
    path = file_of(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_was_used_longest_ago_makes_room(tmp_path: Path):
    one = len(STATE) + 4 * len(TOKENS)
    found = states(tmp_path, budget=3 * one + 8000)
    other = states(tmp_path, "other", budget=3 * one + 8000)
    for number, name in enumerate("abc"):
        save(other if name == "b" else found, name)
        os.utime(file_of(tmp_path, name), (number + 1, number + 1))
    best = found.best(TOKENS, 1)
    assert best is not None
    os.utime(file_of(tmp_path, "a"))  # used again
    assert save(found, "d")
    assert [bool(list(tmp_path.glob(f"*/{name_of(n)}.state"))) for n in "abcd"] == [True, False, True, True]


def test_the_disk_is_never_filled(tmp_path: Path):
    found = states(tmp_path, spare=1 << 62)
    assert not save(found)
    assert not list(tmp_path.glob("*/*.state*"))


def test_a_day_has_its_limit(tmp_path: Path):
    found = states(tmp_path, daily=3 * len(STATE))
    assert save(found, "a")
    assert not save(found, "b")
    count = tmp_path / "written.json"
    count.write_text(json.dumps({**json.loads(count.read_text()), "day": "2020-01-01"}))
    assert save(found, "b")


def test_few_new_tokens_are_not_worth_a_file(tmp_path: Path):
    found = states(tmp_path)
    assert not found.wants("a", TOKENS[: SHORTEST - 1])
    assert found.wants("a", TOKENS[:600])
    save(found, "a", TOKENS[:600])
    assert not found.wants("a", TOKENS[:600])
    assert not found.wants("a", TOKENS[:700])
    assert found.wants("a", TOKENS[:750])
    assert found.wants("a", [5, *TOKENS])  # another branch
    assert found.wants("b", TOKENS[:600])


# -- the engine --


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., EngineClient]]:
    """Starts an engine with saved states; the one before must be closed."""
    clients: list[EngineClient] = []

    def make(saved: bool = True) -> EngineClient:
        number = len(clients)
        folder = tmp_path / "states" if saved else None
        clients.append(EngineClient(tmp_path / f"run{number}", tmp_path / "logs", states=folder))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def cached(client: EngineClient, spec: ModelSpec) -> int:
    return ask(client, spec, SECOND, 1)[1].stats.cached_tokens


def test_a_new_engine_goes_on_from_it(start: Callable[..., EngineClient], random_spec: ModelSpec, tmp_path: Path):
    first = start()
    ask(first, random_spec, FIRST, 600)
    assert finished(list(first.prefill(random_spec, HISTORY, "chat"))).reason is StopReason.STOP
    assert file_of(tmp_path / "states", "chat").stat().st_size > 1000
    expected, end = ask(first, random_spec, SECOND, 60)
    history = first.count(random_spec, HISTORY)
    assert end.stats.cached_tokens == history
    first.close()

    second = start()
    answer, end = ask(second, random_spec, SECOND, 60)
    assert (answer, end.stats.cached_tokens) == (expected, history)
    again, end = ask(second, random_spec, SECOND, 60)  # regenerate: back over the answer
    assert (again, end.stats.cached_tokens) == (expected, end.stats.prompt_tokens - 1)
    second.close()
    third = start(False)
    assert cached(third, random_spec) == 0  # the control


def test_another_conversation_in_between_costs_nothing(start: Callable[..., EngineClient], random_spec: ModelSpec):
    client = start()
    ask(client, random_spec, FIRST, 1)
    finished(list(client.prefill(random_spec, HISTORY, "chat")))
    ask(client, random_spec, message("user", "Something else. " * 40), 1)
    assert cached(client, random_spec) == client.count(random_spec, HISTORY)


def test_a_damaged_one_is_as_none(start: Callable[..., EngineClient], random_spec: ModelSpec, tmp_path: Path):
    first = start()
    expected, _ = ask(first, random_spec, SECOND, 30)
    ask(first, random_spec, FIRST, 1)
    finished(list(first.prefill(random_spec, HISTORY, "chat")))
    first.close()
    path = file_of(tmp_path / "states", "chat")
    data = bytearray(path.read_bytes())
    data[-100] ^= 255
    path.write_bytes(data)
    second = start()
    answer, end = ask(second, random_spec, SECOND, 30)
    assert (answer, end.stats.cached_tokens) == (expected, 0)
    assert not path.exists()


def test_forgotten_with_its_conversation(start: Callable[..., EngineClient], random_spec: ModelSpec, tmp_path: Path):
    client = start()
    ask(client, random_spec, FIRST, 1)
    for name in ("chat", "../../evil"):
        finished(list(client.prefill(random_spec, HISTORY, name)))
        assert file_of(tmp_path / "states", name)
        client.forget(name)
    assert not list((tmp_path / "states").glob("*/*"))
    assert not (tmp_path.parent / "evil").exists()


def test_a_cancelled_one_leaves_nothing(start: Callable[..., EngineClient], random_spec: ModelSpec, tmp_path: Path):
    client = start()
    ask(client, random_spec, FIRST, 1)
    ahead = client.prefill(random_spec, HISTORY + message("user", "word " * 700), "chat")
    ahead.cancel()
    assert finished(list(ahead)).reason is StopReason.CANCELLED
    assert not list((tmp_path / "states").glob("*/*"))


def test_the_prompt_alone_is_what_is_kept(start: Callable[..., EngineClient], random_spec: ModelSpec, tmp_path: Path):
    """Though a draft stands behind it in the cache."""
    first = start()
    ask(first, random_spec, FIRST, 1)
    draft = (*HISTORY, Special("<|start|>"), Text("user"), Special("<|message|>"), Text("And a ca"))
    finished(list(first.prefill(random_spec, draft)))
    finished(list(first.prefill(random_spec, HISTORY, "chat")))
    expected, end = ask(first, random_spec, SECOND, 30)
    first.close()
    second = start()
    answer, again = ask(second, random_spec, SECOND, 30)
    assert (answer, again.stats.cached_tokens) == (expected, end.stats.cached_tokens)
    assert again.stats.cached_tokens == second.count(random_spec, HISTORY)
