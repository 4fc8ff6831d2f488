"""The loop of a turn: calls of real tools in the order that the scripts of the replayed model give."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.chat.replay import Chosen, Gate, Replay, answer, calling, encoded
from tests.chat.support import Bench, MakeBench

from inglenook.chat import calls
from inglenook.chat.events import AnswerEnded, AnswerWaiting, ApprovalAsked, TreeChanged, Waiting
from inglenook.chat.turn import Limits
from inglenook.core.conversation import MessageState
from inglenook.core.errors import UserError
from inglenook.core.messages import Role, TextPart, ToolCallPart, ToolResultPart
from inglenook.core.prompt import Ids, Special, Text
from inglenook.core.tools import Tool, ToolError
from inglenook.harmony import specials

PLACE = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}


class Notebook:
    """Tools that remember what they were called with."""

    def __init__(self) -> None:
        self.weather_of: list[Any] = []
        self.notes: list[str] = []
        self.begun = threading.Event()
        self.ended = threading.Event()
        self.heard_of_the_stop = False
        self.tools = (
            Tool("get_weather", "Gets the weather.", PLACE, self._weather, needs_approval=False),
            Tool("add_note", "Keeps a note.", {"type": "object", "properties": {"text": {}}}, self._note),
            Tool("wait", "Waits for ever.", None, self._wait, needs_approval=False),
            Tool("ignore", "Does not listen.", None, self._ignore, needs_approval=False),
            Tool("hold", "Takes its time.", None, self._ignore),
            Tool("long", "Says much.", None, lambda *_: "y" * 50_000, needs_approval=False),
            Tool("fail", "Fails.", None, self._fail, needs_approval=False),
        )

    def _weather(self, arguments: Mapping[str, Any], cancelled: Callable[[], bool]) -> str:
        self.weather_of.append(arguments["location"])
        return '{"temperature": 23}'

    def _note(self, arguments: Mapping[str, Any], cancelled: Callable[[], bool]) -> str:
        self.notes.append(arguments["text"])
        return "ok"

    def _wait(self, arguments: Mapping[str, Any], cancelled: Callable[[], bool]) -> str:
        self.begun.set()
        while not cancelled():
            threading.Event().wait(0.005)
        self.heard_of_the_stop = True
        return "stopped"

    def _ignore(self, arguments: Mapping[str, Any], cancelled: Callable[[], bool]) -> str:
        self.begun.set()
        self.ended.wait()
        return "late"

    def _fail(self, arguments: Mapping[str, Any], cancelled: Callable[[], bool]) -> str:
        match arguments.get("how"):
            case "tool":
                raise ToolError("There is no such place.")
            case "user":
                raise UserError("The disk is full. Free {what}.", what="some of it")
            case _:
                raise ZeroDivisionError("ours")


@pytest.fixture
def book() -> Notebook:
    return Notebook()


@pytest.fixture
def bench(make_bench: MakeBench, replay: Replay, chosen: Chosen, book: Notebook) -> Bench:
    return make_bench(replay, chosen, book.tools)


def prompt_text(replay: Replay, request: int = -1) -> str:
    ids = [t for s in replay.requests[request].segments for t in encoded(s)]
    return "".join(chr(t) if t < 256 else "|" for t in ids)


def results(bench: Bench, chat: str) -> list[str]:
    path = bench.stored(chat).path()
    return [p.content for m in path for p in m.message.parts if isinstance(p, ToolResultPart)]


def test_call_result_answer(bench: Bench, replay: Replay, book: Notebook) -> None:
    script = calling("functions.get_weather", '{"location": "Lisbon"}')
    replay.will_say(*script)
    replay.will_say(*answer("It is 23 degrees.", "Now I know."))
    chat = bench.ask("Weather in Lisbon?")
    end = bench.heard.ended(chat)
    assert end.error is None
    assert (end.message.state, end.message.error) == (MessageState.COMPLETE, "")
    assert end.message.message.text == "It is 23 degrees."
    assert book.weather_of == ["Lisbon"]
    assert len(bench.heard.of(AnswerEnded)) == 1, "one end for the whole turn"
    path = bench.stored(chat).path()
    assert [m.message.role for m in path] == [Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT]
    assert {m.state for m in path} == {MessageState.COMPLETE}
    assert path[-1] == end.message
    call = path[1].message.parts[-1]
    assert call == ToolCallPart("functions.get_weather", '{"location": "Lisbon"}', f"{path[1].id}-1")
    assert path[2].message.parts == (ToolResultPart(call.name, '{"temperature": 23}', call.call_id),)
    assert path[1].stats is not None
    assert path[1].effort == path[3].effort == end.message.effort
    first, second = replay.requests
    assert "type get_weather = (_: {" in prompt_text(replay, 0)
    assert len(second.segments) > len(first.segments)
    begun = tuple(t for s in first.segments for t in encoded(s))
    again = tuple(t for s in second.segments for t in encoded(s))
    written = tuple(t for item in script for t in encoded(Special(item) if item in specials_of(script) else Text(item)))
    assert again[: len(begun) + len(written)] == begun + written, "the very ids that were sampled"
    assert any(isinstance(s, Ids) for s in second.segments)
    assert 'functions.get_weather to=assistant|commentary|{"temperature": 23}|' in prompt_text(replay)


def specials_of(script: list[str]) -> set[str]:
    return {item for item in script if item.startswith("<|")}


def test_the_path_is_shown_as_it_grows(bench: Bench, replay: Replay, book: Notebook) -> None:
    gate = Gate()
    replay.will_say(*calling("functions.get_weather", '{"location": "Lisbon"}'))
    replay.will_say(specials.CHANNEL, "final", specials.MESSAGE, "It is", gate, " warm.", specials.RETURN)
    chat = bench.service.new_chat()
    bench.service.send(chat, "Weather?")
    gate.reached.wait()
    tree = bench.heard.wait(TreeChanged, lambda e: len(e.tree.path()) == 4).tree
    assert tree.path()[-1].state is MessageState.STREAMING
    start = bench.heard.mark()
    bench.service.open(chat)
    assert bench.heard.tree(chat, start).path()[-1].message.text == "It is"
    gate.open.set()
    end = bench.heard.ended(chat)
    assert [text for channel, text in bench.heard.parts(end.message.id)] == ["It is warm."]


def test_several_rounds_and_a_follow_up(bench: Bench, replay: Replay, book: Notebook) -> None:
    for place in ("Lisbon", "Bergen", "Oslo"):
        replay.will_say(*calling("functions.get_weather", json.dumps({"location": place})))
    replay.will_say(*answer("Done."))
    chat = bench.ask("Weather in three places?")
    assert book.weather_of == ["Lisbon", "Bergen", "Oslo"]
    assert len(bench.stored(chat).path()) == 8
    replay.will_say(*answer("You are welcome."))
    bench.ask("Thanks", chat)
    assert prompt_text(replay).count("to=functions.get_weather") == 3
    assert "Look it up." not in prompt_text(replay), "reasoning goes with its turn"


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("functions.get_wether", "{}", "There is no tool named 'functions.get_wether'. Available: functions.add_note"),
        ("functions.get_weather", '{"location": ', "they are not valid JSON"),
        ("functions.get_weather", '["Lisbon"]', "not an object"),
        ("functions.get_weather", "{}", 'the property "location" is missing'),
        ("functions.get_weather", '{"location": 7}', "at /location: must be a string, not 7"),
        ("functions.fail", '{"how": "tool"}', "There is no such place."),
        ("functions.fail", '{"how": "user"}', "The disk is full. Free some of it."),
    ],
)
def test_what_goes_wrong_is_a_result_that_the_model_can_read(
    bench: Bench, replay: Replay, book: Notebook, name: str, arguments: str, told: str
) -> None:
    replay.will_say(*calling(name, arguments))
    replay.will_say(*answer("Sorry."))
    chat = bench.ask("Q")
    assert bench.heard.ended(chat).message.state is MessageState.COMPLETE
    assert told in json.loads(results(bench, chat)[0])["error"]
    assert json.loads(results(bench, chat)[0])["error"][:20] in prompt_text(replay)
    assert book.weather_of == []


def test_a_bug_in_a_tool_is_reported_and_the_turn_goes_on(
    bench: Bench, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: bugs.append(args.exc_value))
    replay.will_say(*calling("functions.fail", '{"how": "bug"}'))
    replay.will_say(*answer("Sorry."))
    chat = bench.ask("Q")
    assert bench.heard.ended(chat).message.message.text == "Sorry."
    assert [type(bug) for bug in bugs] == [ZeroDivisionError]
    assert "ZeroDivisionError" in results(bench, chat)[0]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("get_weather", '{"location": "Lisbon"}'),
        ("functions.get_weatherjson", '{"location": "Lisbon"}'),
        ("functions.get_weather", "{'location': 'Lisbon',}"),
    ],
)
def test_names_and_arguments_are_repaired(
    bench: Bench, replay: Replay, book: Notebook, name: str, arguments: str
) -> None:
    replay.will_say(*calling(name, arguments))
    replay.will_say(*answer("23"))
    chat = bench.ask("Q")
    assert book.weather_of == ["Lisbon"]
    assert bench.stored(chat).path()[1].message.parts[-1].name == "functions.get_weather"


def test_two_calls_in_one_message_are_both_answered(bench: Bench, replay: Replay, book: Notebook) -> None:
    one, two = (calling("functions.get_weather", json.dumps({"location": p}), "r") for p in ("Lisbon", "Oslo"))
    replay.will_say(*one[:-1], specials.END, specials.START, "assistant", *two)
    replay.will_say(*answer("Both."))
    chat = bench.ask("Q")
    assert book.weather_of == ["Lisbon", "Oslo"]
    assert len(bench.stored(chat).path()) == 4
    assert len(results(bench, chat)) == 2


def test_a_call_that_the_answer_did_not_wait_for_is_not_run(bench: Bench, replay: Replay, book: Notebook) -> None:
    call = calling("functions.get_weather", '{"location": "Lisbon"}')
    replay.will_say(*call[:-1], specials.END, specials.START, "assistant", *answer("It is sunny."))
    chat = bench.ask("Q")
    assert bench.heard.ended(chat).message.message.text == "It is sunny."
    assert book.weather_of == []
    assert len(bench.stored(chat).path()) == 2


def test_a_very_long_result_is_cut_and_says_so(bench: Bench, replay: Replay) -> None:
    replay.n_ctx = 20_000
    replay.will_say(*calling("functions.long", ""))
    replay.will_say(*answer("Much."))
    chat = bench.ask("Q")
    assert results(bench, chat)[0].endswith("[Cut here: these are the first 20000 of 50000 characters.]")
    end = bench.heard.ended(chat)
    assert end.message.state is MessageState.FAILED, "a letter is a token in this vocabulary"
    assert end.error is not None
    assert "filled the context window" in end.error.text()


def test_stop_while_a_tool_runs(bench: Bench, replay: Replay, book: Notebook) -> None:
    replay.will_say(*calling("functions.wait", "{}"))
    chat = bench.service.new_chat()
    bench.service.send(chat, "Q")
    book.begun.wait()
    bench.service.stop(chat)
    end = bench.heard.ended(chat)
    assert end.message.state is MessageState.STOPPED
    assert end.message.message.role is Role.TOOL
    assert book.heard_of_the_stop
    assert results(bench, chat) == ["stopped"], "what it said in time is kept"
    replay.will_say(*answer("Yes."))
    start = bench.heard.mark()
    bench.service.continue_answer(chat, end.message.id)
    assert bench.heard.ended(chat, start).message.message.text == "Yes."
    assert len(bench.stored(chat).path()) == 4


def test_a_tool_that_does_not_listen_is_left_behind(
    bench: Bench, replay: Replay, book: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "GRACE_SECONDS", 0.01)
    replay.will_say(*calling("functions.ignore", "{}"))
    chat = bench.service.new_chat()
    bench.service.send(chat, "Q")
    book.begun.wait()
    bench.service.stop(chat)
    assert bench.heard.ended(chat).message.state is MessageState.STOPPED
    book.ended.set()
    assert results(bench, chat) == []
    replay.will_say(*answer("Yes."))
    bench.ask("Still there?", chat)
    told = "functions.ignore to=assistant|commentary|" + calls.error("This call was stopped before it had a result.")
    assert told in prompt_text(replay), "or the model would wait for it"


class TestApproval:
    """Of a tool that asks first."""

    def asked(self, bench: Bench, replay: Replay) -> tuple[str, ApprovalAsked]:
        replay.will_say(*calling("functions.add_note", '{"text": "buy milk"}'))
        chat = bench.service.new_chat()
        bench.service.send(chat, "Note: buy milk")
        return chat, bench.heard.wait(ApprovalAsked)

    def test_given(self, bench: Bench, replay: Replay, book: Notebook) -> None:
        chat, asked = self.asked(bench, replay)
        assert (asked.name, asked.arguments) == ("functions.add_note", '{"text": "buy milk"}')
        assert book.notes == []
        path = bench.stored(chat).path()
        assert path[-1].id == asked.message_id
        assert path[-2].message.parts[-1].call_id == asked.call_id
        replay.will_say(*answer("Noted."))
        bench.service.answer_call(chat, "another", allowed=True)
        bench.service.answer_call("elsewhere", asked.call_id, allowed=True)
        start = bench.heard.mark()
        bench.service.open(chat)
        assert bench.heard.wait(ApprovalAsked, start=start) == asked, "told again to whoever opens the chat"
        assert book.notes == [], "neither of those was about it"
        bench.service.answer_call(chat, asked.call_id, allowed=True)
        assert bench.heard.ended(chat).message.message.text == "Noted."
        assert book.notes == ["buy milk"]

    def test_refused(self, bench: Bench, replay: Replay, book: Notebook) -> None:
        chat, asked = self.asked(bench, replay)
        replay.will_say(*answer("Then not."))
        bench.service.answer_call(chat, asked.call_id, allowed=False)
        assert bench.heard.ended(chat).message.message.text == "Then not."
        assert book.notes == []
        assert "did not allow" in results(bench, chat)[0]

    def test_given_for_the_chat(self, bench: Bench, replay: Replay, book: Notebook) -> None:
        """The same tool is not asked about again in this conversation, and is in another."""
        chat, asked = self.asked(bench, replay)
        replay.will_say(*calling("functions.add_note", '{"text": "buy bread"}'))
        replay.will_say(*answer("Noted."))
        bench.service.answer_call(chat, asked.call_id, allowed=True, in_chat=True)
        bench.heard.ended(chat)
        assert book.notes == ["buy milk", "buy bread"]
        start = bench.heard.mark()
        replay.will_say(*calling("functions.add_note", '{"text": "buy tea"}'))
        replay.will_say(*answer("Noted."))
        bench.ask("And tea", chat)
        assert book.notes == ["buy milk", "buy bread", "buy tea"]
        assert not [e for e in bench.heard.events[start:] if isinstance(e, ApprovalAsked)]
        replay.will_say(*calling("functions.add_note", '{"text": "x"}'))
        other = bench.service.new_chat()
        start = bench.heard.mark()
        bench.service.send(other, "Q")
        assert bench.heard.wait(ApprovalAsked, start=start).conversation_id == other
        bench.service.stop(other)
        bench.heard.ended(other)
        assert "x" not in book.notes

    def test_a_refusal_for_the_chat_is_of_that_call_alone(self, bench: Bench, replay: Replay, book: Notebook) -> None:
        chat, asked = self.asked(bench, replay)
        replay.will_say(*calling("functions.add_note", '{"text": "buy milk"}'))
        bench.service.answer_call(chat, asked.call_id, allowed=False, in_chat=True)
        again = bench.heard.wait(ApprovalAsked, lambda e: e.call_id != asked.call_id)
        replay.will_say(*answer("Noted."))
        bench.service.answer_call(chat, again.call_id, allowed=True)
        bench.heard.ended(chat)
        assert book.notes == ["buy milk"]

    def test_what_is_shown_is_what_would_run(self, bench: Bench, replay: Replay, book: Notebook) -> None:
        """The arguments as the tool gets them, not as the model spelled them."""
        replay.will_say(*calling("add_note", "{'text': 'a', \"text\": \"b\"}"))
        replay.will_say(*answer("Noted."))
        chat = bench.service.new_chat()
        bench.service.send(chat, "Q")
        asked = bench.heard.wait(ApprovalAsked)
        assert (asked.name, asked.arguments) == ("functions.add_note", '{"text": "b"}')
        bench.service.answer_call(chat, asked.call_id, allowed=True)
        bench.heard.ended(chat)
        assert book.notes == ["b"]

    def test_what_was_answered_is_not_asked_again_of_who_opens_the_chat(
        self, bench: Bench, replay: Replay, book: Notebook
    ) -> None:
        replay.will_say(*calling("functions.hold", "{}"))
        chat = bench.service.new_chat()
        bench.service.send(chat, "Q")
        asked = bench.heard.wait(ApprovalAsked)
        bench.service.answer_call(chat, asked.call_id, allowed=True)
        bench.heard.wait(AnswerWaiting, lambda e: e.waiting is Waiting.TOOL)
        start = bench.heard.mark()
        bench.service.open(chat)
        bench.heard.tree(chat, start)
        replay.will_say(*answer("Done."))
        book.ended.set()
        assert bench.heard.ended(chat).message.message.text == "Done."
        assert not [e for e in bench.heard.events[start:] if isinstance(e, ApprovalAsked)]

    def test_stopped_meanwhile(self, bench: Bench, replay: Replay, book: Notebook) -> None:
        chat, asked = self.asked(bench, replay)
        bench.service.stop(chat)
        assert bench.heard.ended(chat).message.state is MessageState.STOPPED
        bench.service.answer_call(chat, asked.call_id, allowed=True)
        replay.will_say(*answer("Hello."))
        bench.ask("Hello?", chat)
        assert book.notes == []

    def test_closed_meanwhile(self, bench: Bench, replay: Replay, book: Notebook) -> None:
        chat, _ = self.asked(bench, replay)
        bench.service.close()
        assert bench.stored(chat).path()[-1].state is MessageState.INTERRUPTED
        assert book.notes == []

    @pytest.mark.parametrize("goes_on", [True, False])
    def test_after_a_restart_it_is_asked_again_or_left(
        self,
        make_bench: MakeBench,
        bench: Bench,
        replay: Replay,
        chosen: Chosen,
        book: Notebook,
        goes_on: bool,
    ) -> None:
        chat, asked = self.asked(bench, replay)
        bench.service.close()
        bench.store.close()
        again = make_bench(replay, chosen, book.tools)
        replay.will_say(*answer("Noted."))
        if goes_on:
            again.service.continue_answer(chat, asked.message_id)
            assert again.heard.wait(ApprovalAsked) == asked
            assert book.notes == []
            again.service.answer_call(chat, asked.call_id, allowed=True)
            assert again.heard.ended(chat).message.message.text == "Noted."
            assert book.notes == ["buy milk"]
        else:
            again.ask("Hello?", chat)
            assert book.notes == []
            assert "This call was stopped before it had a result." in prompt_text(replay), "a refusal, to the model"


def test_a_wrong_call_is_told_what_is_wrong_and_the_next_one_is_made(
    bench: Bench, replay: Replay, book: Notebook
) -> None:
    for _ in range(Limits().wrong_calls - 1):
        replay.will_say(*calling("functions.get_weather", '{"location": ["Lisbon"]}'))
    replay.will_say(*calling("functions.get_weather", '{"location": "Lisbon"}'))
    replay.will_say(*answer("23."))
    chat = bench.ask("Q")
    assert bench.heard.ended(chat).message.message.text == "23."
    assert book.weather_of == ["Lisbon"]
    assert 'at /location: must be a string, not ["Lisbon"]' in json.loads(results(bench, chat)[0])["error"]


def test_wrong_calls_in_a_row_end_the_turn_and_it_can_be_continued(
    bench: Bench, replay: Replay, book: Notebook
) -> None:
    most = Limits().wrong_calls
    for _ in range(most):
        replay.will_say(*calling("functions.get_weather", "{}"))
    chat = bench.ask("Q")
    end = bench.heard.ended(chat)
    assert (end.message.state, end.error) == (MessageState.LENGTH, None)
    assert f"wrongly {most} times in a row" in end.message.error
    assert len(results(bench, chat)) == most
    replay.will_say(*answer("I give up."))
    start = bench.heard.mark()
    bench.service.continue_answer(chat, end.message.id)
    assert bench.heard.ended(chat, start).message.message.text == "I give up."
    assert book.weather_of == []


def test_too_many_calls_end_the_turn_and_it_can_be_continued(
    make_bench: MakeBench, replay: Replay, chosen: Chosen, book: Notebook
) -> None:
    bench = make_bench(replay, chosen, book.tools, Limits(calls=2))
    for place in "abc":
        replay.will_say(*calling("functions.get_weather", json.dumps({"location": place})))
    chat = bench.ask("Q")
    end = bench.heard.ended(chat)
    assert (end.message.state, end.error) == (MessageState.LENGTH, None)
    assert "called tools 2 times" in end.message.error
    assert book.weather_of == ["a", "b"]
    replay.will_say(*answer("At last."))
    start = bench.heard.mark()
    bench.service.continue_answer(chat, end.message.id)
    assert bench.heard.ended(chat, start).message.message.text == "At last."
    assert book.weather_of == ["a", "b", "c"]
    assert {m.state for m in bench.stored(chat).path()} == {MessageState.COMPLETE}


def test_the_tokens_of_a_turn_are_limited(
    make_bench: MakeBench, replay: Replay, chosen: Chosen, book: Notebook
) -> None:
    script = calling("functions.get_weather", '{"location": "Lisbon"}')
    size = sum(1 if item.startswith("<|") else len(item) for item in script)
    bench = make_bench(replay, chosen, book.tools, Limits(tokens=size + 100))
    replay.will_say(*script)
    replay.will_say(*answer("x"))
    bench.ask("Q")
    assert [r.max_tokens for r in replay.requests] == [size + 100, 100]
    bench.service.close()
    bench = make_bench(replay, chosen, book.tools, Limits(tokens=size))
    replay.will_say(*script)
    chat = bench.ask("Q")
    assert bench.heard.ended(chat).message.state is MessageState.LENGTH
    assert bench.stored(chat).path()[-1].message.parts == ()


def test_regenerate_keeps_results_and_calls_again_where_those_are_chosen(
    bench: Bench, replay: Replay, book: Notebook
) -> None:
    replay.will_say(*calling("functions.get_weather", '{"location": "Lisbon"}'))
    replay.will_say(*answer("23."))
    chat = bench.ask("Q")
    told, last = bench.stored(chat).path()[-2:]
    start = bench.heard.mark()
    replay.will_say(*answer("Twenty-three."))
    bench.service.regenerate(chat, last.id)
    again = bench.heard.ended(chat, start).message
    assert again.parent_id == told.id
    assert book.weather_of == ["Lisbon"], "not called again"
    start = bench.heard.mark()
    replay.will_say(*answer("23!"))
    bench.service.regenerate(chat, told.id)
    bench.heard.ended(chat, start)
    assert book.weather_of == ["Lisbon", "Lisbon"]
    tree = bench.stored(chat)
    assert len(tree.siblings(told.id)) == 2
    assert tree.path()[-1].message.text == "23!"


def test_a_question_sent_while_tools_are_called_comes_after_the_answer(
    bench: Bench, replay: Replay, book: Notebook
) -> None:
    gate = Gate()
    call = calling("functions.get_weather", '{"location": "Lisbon"}')
    replay.will_say(*call[:-1], gate, call[-1])
    replay.will_say(*answer("one"))
    replay.will_say(*answer("two"))
    chat = bench.service.new_chat()
    bench.service.send(chat, "a")
    gate.reached.wait()
    bench.service.send(chat, "b")
    bench.heard.wait(AnswerWaiting, lambda e: e.waiting is Waiting.QUEUED)
    gate.open.set()
    bench.heard.wait(AnswerEnded, lambda e: e.message.message.text == "two")
    path = bench.stored(chat).path()
    assert [m.message.text for m in path if m.message.role is not Role.TOOL] == ["a", "", "one", "b", "two"]
    assert prompt_text(replay).index("one") < prompt_text(replay).rindex("b")
    assert isinstance(path[-1].message.parts[-1], TextPart)
