from __future__ import annotations

import json

import pytest
from tests.harmony.streams import parse

from inglenook.core.messages import PreamblePart, ReasoningPart, TextPart, ToolCallPart
from inglenook.core.prompt import Builtin, ToolSpec
from inglenook.harmony.names import Names
from inglenook.harmony.tools import recipients

KNOWN = recipients(
    [ToolSpec("shell", ""), ToolSpec("get_weather", ""), ToolSpec("to_json", ""), ToolSpec("tool", "")],
    [Builtin("python", "Runs code."), Builtin("browser", "Browses.", (ToolSpec("search", ""), ToolSpec("open", "")))],
)


def test_recipients_of_declared_tools():
    assert KNOWN == ("functions.shell", "functions.get_weather", "functions.to_json", "functions.tool", "python",
                     "browser.search", "browser.open")  # fmt: skip


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("functions.shell", "functions.shell"),
        ("python", "python"),
        ("shell", "functions.shell"),
        ("shelljson", "functions.shell"),
        ("functions.shelljson", "functions.shell"),
        ("functions.shell_json", "functions.shell"),
        ("functions.shellcommentary", "functions.shell"),
        ("functions.shell<|channel|>commentary", "functions.shell"),
        ("functions.functions.shell", "functions.shell"),
        ("functionsshell", "functions.shell"),
        ("tools.shell", "functions.shell"),
        ("functions.get-weather", "functions.get_weather"),
        ("Get_Weather", "functions.get_weather"),
        ("functions.to_json", "functions.to_json"),
        ("to_jsonjson", "functions.to_json"),
        ("functions.python", "python"),
        ("pythoncode", "python"),
        ("browser.search", "browser.search"),
        ("browser.searchjson", "browser.search"),
        ("functions.tool", "functions.tool"),
    ],
)
def test_meant(written, meant):
    assert Names(KNOWN).match(written) == meant


@pytest.mark.parametrize(
    "written", ["functions.shel", "search", "browser", "browser.find", "functions", "functions.", "json", "", "toolbox"]
)
def test_never_guessed(written):
    assert Names(KNOWN).match(written) is None


def test_of_two_tools_that_are_written_alike_none_is_meant():
    names = Names(["functions.get_weather", "functions.get-weather"])
    assert names.match("functions.get-weather") == "functions.get-weather"
    assert names.match("Get_Weather") is None


def test_an_unknown_name_is_answered():
    answer = json.loads(Names(KNOWN).unknown("functions.shel"))
    assert list(answer) == ["error"]
    assert "functions.shel" in answer["error"]
    assert "functions.shell" in answer["error"]
    assert "no tools" in json.loads(Names([]).unknown("x"))["error"]
    assert len(Names(f"functions.t{i}" for i in range(9999)).unknown("x")) < 2000


CALL = ToolCallPart("functions.shell", '{"cmd": 1}')
ARGUMENTS = CALL.arguments
CALLS = {
    "glued": f"<|channel|>commentary to=functions.shelljson<|message|>{ARGUMENTS}<|call|>",
    "missing namespace": f"<|channel|>commentary to=shell <|constrain|>json<|message|>{ARGUMENTS}<|call|>",
    "both": f"<|channel|>commentary to=shelljson<|message|>{ARGUMENTS}<|call|>",
    "on analysis": f"<|channel|>analysis to=shell<|message|>{ARGUMENTS}<|call|>",
    "on final": f"<|channel|>final to=shell<|message|>{ARGUMENTS}<|call|>",
    "in the role": f" to=shelljson<|channel|>commentary<|message|>{ARGUMENTS}<|call|>",
    "glued, without message token": f"<|channel|>commentary to=functions.shelljson{ARGUMENTS}<|call|>",
    "marker in the name": f" to=functions<|channel|>commentary to=functions.shell<|message|>{ARGUMENTS}<|call|>",
    "without to=": f"<|channel|>commentary functions.shell <|constrain|>json<|message|>{ARGUMENTS}<|call|>",
    "as the channel": f"<|channel|>functions.shell<|message|>{ARGUMENTS}<|call|>",
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_matched_against_the_known_names(name, vocabulary):
    parser = parse(vocabulary, vocabulary.ids(CALLS[name]), KNOWN)
    assert parser.parts == (CALL,)
    assert parser.malformed > 0


def test_a_name_put_right_is_counted(vocabulary):
    stream = f"<|channel|>commentary to=NAME <|constrain|>json<|message|>{ARGUMENTS}<|call|>"
    for name, count in (("functions.shell", 0), ("shell", 1), ("nobody", 0)):
        assert parse(vocabulary, vocabulary.ids(stream.replace("NAME", name)), KNOWN).malformed == count


def test_an_unknown_name_stays_as_it_was_written(vocabulary):
    stream = f"<|channel|>commentary to=functions.shel<|message|>{ARGUMENTS}<|call|>"
    assert parse(vocabulary, vocabulary.ids(stream), KNOWN).parts == (ToolCallPart("functions.shel", ARGUMENTS),)


@pytest.mark.parametrize("recipients", [(), KNOWN])
def test_words_in_a_header_are_no_calls(vocabulary, recipients):
    """Only a name that stands where a recipient does is one."""
    stream = (
        "<|channel|>analysis I use a tool or python<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary"
        "<|message|>I look.<|end|><|start|>assistant<|channel|>final<|message|>shell<|return|>"
    )
    parts = (ReasoningPart("Hm."), PreamblePart("I look."), TextPart("shell"))
    assert parse(vocabulary, vocabulary.ids(stream), recipients).parts == parts
