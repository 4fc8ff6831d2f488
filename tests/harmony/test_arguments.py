from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inglenook.harmony.arguments import MOST, Arguments, BadArguments, read_arguments

GOOD = {
    "an object": ('{"place": "Oslo", "days": [1, 2]}', {"place": "Oslo", "days": [1, 2]}),
    "nothing at all": ("", {}),
    "blanks": (" \n", {}),
    "with blanks around": (' {"a": 1}\n', {"a": 1}),
    "escapes": (r'{"a": "\ud83d\ude00 \n \""}', {"a": '😀 \n "'}),
    "half a surrogate pair": (r'{"a": "\ud83d x"}', {"a": "\ufffd x"}),
}

REPAIRED = {
    "trailing comma": ('{"a": 1, "b": [1, 2,],}', {"a": 1, "b": [1, 2]}),
    "single quotes": ("{'a': 'it\\'s \"so\"'}", {"a": 'it\'s "so"'}),
    "python's words": ("{'a': True, 'b': None, 'c': False}", {"a": True, "b": None, "c": False}),
    "a line's end in a string": ('{"a": "x\ny\tz"}', {"a": "x\ny\tz"}),
    "missing closing brace": ('{"a": {"b": "c"}', {"a": {"b": "c"}}),
    "missing closing brackets": ('{"a": [{"b": "c"', {"a": [{"b": "c"}]}),
    "trailing bracket": ('{"a": 1}]', {"a": 1}),
    "trailing brace": ('{"a": 1}}', {"a": 1}),
    "code fence": ('```json\n{"a": 1}\n```', {"a": 1}),
    "code fence on one line": ('```{"a": 1}```', {"a": 1}),
    "code fence and a comma": ("```\n{'a': 1,}\n```\n", {"a": 1}),
    "encoded twice": ('"{\\"a\\": 1}"', {"a": 1}),
    "brackets in strings": ('{"a": "}]{", "b": 1,}', {"a": "}]{", "b": 1}),
}

# Each could be made into something, and nobody knows whether into what was meant.
REFUSED = {
    "a raw patch": "*** Begin Patch\n*** Update File: a\n]",
    "a string cut off": '{"command": "rm -rf /tmp',
    "a number that may be cut off": '{"amount": 1',
    "cut off after a comma": '{"a": 1, ',
    "cut off after a colon": '{"a":',
    "cut off within a key": '{"a": 1, "b',
    "cut off after a key": '{"a": 1, "b"',
    "a word cut off": '{"a": tr',
    "two objects": '{"a": 1} {"b": 2}',
    "words after it": '{"a": 1} as asked',
    "words before it": 'Sure: {"a": 1}',
    "keys without quotes": "{a: 1}",
    "a comma too few": '{"a": 1 "b": 2}',
    "two numbers": '{"a": 1 2, }',
    "a comma too many": '{"a": 1,, "b": 2}',
    "only a comma": "{,}",
    "brackets crossed": '{"a": [1}]',
    "unknown escapes": "{'a': 'C:\\dir'}",
    "not a number": '{"a": NaN}',
    "an array": "[1]",
    "a string": '"a"',
    "null": "null",
    "an integer without end": '{"a": ' + "1" * 10_000 + "}",
    "a tower of brackets": '{"a":' + "[" * 100_000,
    "a tower that is closed": '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
    "too long": '{"a": "' + "x" * MOST + '"}',
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name):
    text, values = GOOD[name]
    assert read_arguments(text) == Arguments(values, repaired=False)


@pytest.mark.parametrize("name", REPAIRED)
def test_repaired(name):
    text, values = REPAIRED[name]
    assert read_arguments(text) == Arguments(values, repaired=True)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_an_answer_for_the_model(name):
    found = read_arguments(REFUSED[name])
    assert isinstance(found, BadArguments)
    assert list(json.loads(found.answer)) == ["error"]  # Ollama #11781: under the right key
    assert len(found.answer) < 400


def test_the_answer_says_where():
    assert "column 6" in read_arguments('{"a":?}').answer


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("ab'\"\\\n {}[],:é", max_size=6),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text("ab'\"\\ {", max_size=4), v, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.text("ab'\"\\ {", max_size=4), values, max_size=3)


@settings(deadline=None)
@given(value=objects)
def test_python_notation_is_read_as_what_it_says(value):
    """But for escapes that JSON does not have, `repr` is a dialect that models write."""
    assert read_arguments(json.dumps(value)) == Arguments(value)
    written = repr(value)
    found = read_arguments(written)
    assert isinstance(found, Arguments)
    assert found.values == value


@settings(deadline=None)
@given(value=objects, where=st.floats(0, 1))
def test_what_is_cut_off_has_no_value_that_was_not_said(value, where):
    """A repaired beginning holds only whole values of the object, in their places."""
    text = json.dumps(value)
    found = read_arguments(text[: int(where * len(text))])
    if isinstance(found, Arguments):
        assert _is_part(found.values, value)


def test_that_check_can_fail():
    assert _is_part({"a": [1]}, {"a": [1, 2], "b": 3})
    assert not _is_part({"a": "x"}, {"a": "xy"})
    assert not _is_part({"c": 1}, {"a": 1})


def _is_part(part, whole) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _is_part(value, whole[key]) for key, value in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(_is_part(a, b) for a, b in zip(part, whole, strict=False))
    return part == whole


@settings(deadline=None)
@given(text=st.text("{}[]\"'\\,: \n`jsonTrue1.é\ud800", max_size=30))
def test_any_text_is_read_or_answered(text):
    found = read_arguments(text)
    if isinstance(found, BadArguments):
        json.loads(found.answer)
    else:
        json.dumps(found.values, ensure_ascii=False)
