from __future__ import annotations

import sys

import openai_harmony as oh
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.harmony.streams import CONTROL, check, finals, parse, said

from inglenook.core.events import Channel, PartDelta, PartEnded, PartStarted
from inglenook.core.messages import PreamblePart, ReasoningPart, TextPart, ToolCallPart
from inglenook.harmony.header import LONGEST
from inglenook.harmony.parse import Parser

WEATHER = ToolCallPart("functions.weather", '{"place": "Oslo"}')
ARGUMENTS = WEATHER.arguments

GOOD = {
    "analysis and final": (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
        (ReasoningPart("Hm."), TextPart("Yes.")),
    ),
    "call as the model writes it": (
        f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{ARGUMENTS}<|call|>",
        (WEATHER,),
    ),
    "call as the library renders it": (
        f" to=functions.weather<|channel|>commentary <|constrain|>json<|message|>{ARGUMENTS}<|call|>",
        (WEATHER,),
    ),
    "call in a later message": (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        f"<|start|>assistant to=functions.weather<|channel|>commentary json<|message|>{ARGUMENTS}<|call|>",
        (ReasoningPart("Hm."), PreamblePart("I look."), WEATHER),
    ),
    "call of a builtin tool": (
        "<|channel|>analysis to=python code<|message|>print(1)<|call|>",
        (ToolCallPart("python", "print(1)"),),
    ),
    "call without arguments": (
        "<|channel|>commentary to=functions.now<|message|><|call|>",
        (ToolCallPart("functions.now", ""),),
    ),
    "final in a format": (
        '<|channel|>final <|constrain|>json<|message|>{"a": 1}<|return|>',
        (TextPart('{"a": 1}'),),
    ),
    "empty reasoning": (
        "<|channel|>analysis<|message|><|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
        (TextPart("Yes."),),
    ),
    "empty answer": ("<|channel|>final<|message|><|return|>", (TextPart(""),)),
    "characters of several tokens": (
        "<|channel|>final<|message|>𒀀 🧩 \u200d日本語 e\u0301\u0000<|return|>",
        (TextPart("𒀀 🧩 \u200d日本語 e\u0301\u0000"),),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_streams_need_no_repair(name, vocabulary):
    stream, parts = GOOD[name]
    parser = parse(vocabulary, vocabulary.ids(stream))
    assert parser.parts == parts
    assert parser.malformed == 0
    assert parser.stopped_by == stream[stream.rindex("<|") :]


# Section 4 of the facts, and what openai-harmony's parser gets wrong or raises on. Each: stream, parts.
MALFORMED = {
    # malformed headers: known prefix, else analysis; in step again at the next <|start|>
    "unknown channel is reasoning": (
        "<|channel|>??<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
        (ReasoningPart("Hm."), TextPart("Yes.")),
    ),
    "known prefix": ("<|channel|>commentary?<|message|>I look.<|end|>", (PreamblePart("I look."),)),
    "free text in the header": (
        "<|channel|>analysis so let me think<|message|>Hm.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
        (ReasoningPart("Hm."), TextPart("Yes.")),
    ),
    "free text before the channel": ("We see.<|channel|>final<|message|>Yes.<|return|>", (TextPart("Yes."),)),
    "doubled channel": ("<|channel|>analysis<|channel|>final<|message|>Yes.<|return|>", (TextPart("Yes."),)),
    "doubled start": (
        "<|start|>assistant<|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
        (TextPart("Yes."),),
    ),
    "channel glued to the role": (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistantfinal<|message|>Yes.<|return|>",
        (ReasoningPart("Hm."), TextPart("Yes.")),
    ),
    "empty channel": ("<|channel|><|message|>Hm.<|end|>", (ReasoningPart("Hm."),)),
    "two recipients": (
        f" to=functions.other<|channel|>commentary to=functions.weather<|message|>{ARGUMENTS}<|call|>",
        (WEATHER,),
    ),
    "type on the final channel": ("<|channel|>final <|constrain|>json<|message|>{}<|return|>", (TextPart("{}"),)),
    "no message token": (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>finalYes.<|return|>",
        (ReasoningPart("Hm."), TextPart("Yes.")),
    ),
    "no message token in a call": (
        f"<|channel|>commentary to=functions.weather <|constrain|>json{ARGUMENTS}<|call|>",
        (WEATHER,),
    ),
    "a header that never ends": (
        "<|channel|>final" + "word " * LONGEST + "<|return|>",
        (TextPart("word " * LONGEST),),
    ),
    "commentary to the assistant itself": (
        "<|channel|>commentary to=assistant<|message|>I look.<|end|>",
        (PreamblePart("I look."),),
    ),
    # no markup
    "bare text is final": ("Hello there.<|return|>", (TextPart("Hello there."),)),
    "bare text, cut off": ("Hello there", (TextPart("Hello there"),)),
    "long bare text": ("Hello. " * LONGEST, (TextPart("Hello. " * LONGEST),)),
    "the assistant without a channel": (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|message|>Yes.<|return|>",
        (ReasoningPart("Hm."), TextPart("Yes.")),
    ),
    "control tokens lost in detokenising": ("assistantfinalHello.<|return|>", (TextPart("Hello."),)),
    # after the end
    "extra return": ("<|channel|>final<|message|>Yes.<|end|><|return|>", (TextPart("Yes."),)),
    "text after the end": ("<|channel|>final<|message|>Yes.<|end|> And more<|return|>", (TextPart("Yes."),)),
    "channel after the end": (
        "<|channel|>analysis<|message|>Hm.<|end|><|channel|>final<|message|>Yes.<|return|>",
        (ReasoningPart("Hm."), TextPart("Yes.")),
    ),
    "an answer only after the end": (
        "<|channel|>analysis<|message|>Hm.<|end|>Yes.<|return|>",
        (ReasoningPart("Hm."), TextPart("Yes.")),
    ),
    # calls
    "call on the analysis channel": (
        f"<|channel|>analysis to=functions.weather<|message|>{ARGUMENTS}<|call|>",
        (WEATHER,),
    ),
    "call on the final channel": (f"<|channel|>final to=functions.weather<|message|>{ARGUMENTS}<|call|>", (WEATHER,)),
    "call ended by return": (
        f"<|channel|>commentary to=functions.weather<|message|>{ARGUMENTS}<|return|>",
        (WEATHER,),
    ),
    "recipient glued to the channel": (
        f"<|channel|>commentaryto=functions.weather<|message|>{ARGUMENTS}<|call|>",
        (WEATHER,),
    ),
    "marker in the name": (
        f" to=functions.weather<|channel|>commentary<|channel|>commentary<|message|>{ARGUMENTS}<|call|>",
        (WEATHER,),
    ),
    "arguments that are not JSON": (
        "<|channel|>commentary to=functions.patch<|message|>*** Begin Patch\n]<|call|>",
        (ToolCallPart("functions.patch", "*** Begin Patch\n]"),),
    ),
    "arguments cut off": (
        '<|channel|>commentary to=functions.weather<|message|>{"pla',
        (ToolCallPart("functions.weather", '{"pla'),),
    ),
    # commentary
    "preamble without tools": (
        "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
        (PreamblePart("I look."), TextPart("Yes.")),
    ),
    "a turn that ends with its preamble": (
        "<|channel|>commentary<|message|>I look.<|return|>",
        (PreamblePart("I look."),),
    ),
    # other roles, made up by the model
    "a user's message": (
        "<|channel|>final<|message|>Yes.<|end|><|start|>user<|message|>No.<|end|>",
        (TextPart("Yes."),),
    ),
    "a tool's result": (
        "<|channel|>final<|message|>Yes.<|end|>"
        "<|start|>functions.weather to=assistant<|channel|>commentary<|message|>Sun.<|end|>",
        (TextPart("Yes."),),
    ),
    # control tokens in content
    "channel in content": (
        "<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>Yes.<|return|>",
        (ReasoningPart("Hm."), TextPart("Yes.")),
    ),
    "start in content": (
        "<|channel|>analysis<|message|>Hm.<|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
        (ReasoningPart("Hm."), TextPart("Yes.")),
    ),
    "stray start in an answer": (
        "<|channel|>final<|message|>Yes, <|start|>of course.<|return|>",
        (TextPart("Yes, "), TextPart("of course.")),
    ),
    "message and constrain in content": (
        "<|channel|>final<|message|>Ye<|message|>s<|constrain|>.<|reserved_200013|><|return|>",
        (TextPart("Yes."),),
    ),
    "end before the first word": (
        "<|channel|>final<|message|><|end|>Yes.<|return|>",
        (TextPart("Yes."),),
    ),
    "end of text in a header": ("<|channel|>analysis<|endoftext|>", ()),
    # silence is no pass
    "an answer that is a word of the format": ("<|channel|>finalcode<|return|>", (TextPart("code"),)),
    "the same after a header without channel": (
        "<|channel|><|message|>final<|return|>",
        (ReasoningPart("final"), TextPart("final")),
    ),
    "return after the reasoning": (
        "<|channel|>analysis<|message|>Yes.<|return|>",
        (ReasoningPart("Yes."), TextPart("Yes.")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name, vocabulary):
    stream, parts = MALFORMED[name]
    assert parse(vocabulary, vocabulary.ids(stream)).parts == parts


@pytest.mark.parametrize("name", [n for n in MALFORMED if n not in {
    "type on the final channel", "call on the analysis channel", "call on the final channel", "call ended by return",
    "arguments that are not JSON", "arguments cut off",
    "commentary to the assistant itself", "preamble without tools", "a turn that ends with its preamble",
    "bare text, cut off", "end before the first word",
}])  # fmt: skip
def test_repairs_are_counted(name, vocabulary):
    assert parse(vocabulary, vocabulary.ids(MALFORMED[name][0])).malformed > 0


@pytest.mark.parametrize(
    ("stream", "parts"),
    [
        (
            "<|channel|>Weather<|message|>It rains.<|return|>",
            (ToolCallPart("functions.weather", "It rains."), TextPart("It rains.")),
        ),
        (f"<|channel|>weather<|message|>{ARGUMENTS}<|return|>", (WEATHER,)),
        (
            "<|channel|>weather<|message|>It rains.<|call|>",
            (ToolCallPart("functions.weather", "It rains."),),
        ),
    ],
)
def test_a_tools_name_for_a_channel_is_a_call_if_it_ends_as_one_or_has_arguments(stream, parts, vocabulary):
    parser = Parser(vocabulary.specials, ["functions.weather"])
    for i in vocabulary.ids(stream):
        parser.feed(i, vocabulary.piece(i))
    parser.finish()
    assert parser.parts == parts
    assert parser.malformed > 0


def test_the_library_raises_where_we_repair(vocabulary, encoding):
    """The reason for our parser: openai-harmony's fails the turn on a quarter of these, and is wrong on others."""
    raised = 0
    for stream, _ in MALFORMED.values():
        parser = oh.StreamableParser(encoding, oh.Role.ASSISTANT, strict=False)
        try:
            for token in vocabulary.ids(stream):
                parser.process(token)
            parser.process_eos()
        except oh.HarmonyError:
            raised += 1
    assert raised >= 10


class TestEvents:
    def test_of_a_good_stream(self, vocabulary):
        parser = Parser(vocabulary.specials)
        stream = GOOD["call in a later message"][0]
        events = [e for i in vocabulary.ids(stream) for e in parser.feed(i, vocabulary.piece(i))]
        starts = [e for e in events if isinstance(e, PartStarted)]
        assert starts == [
            PartStarted(0, Channel.REASONING),
            PartStarted(1, Channel.PREAMBLE),
            PartStarted(2, Channel.TOOL_CALL, "functions.weather"),
        ]
        assert events[-1] == PartEnded(2)
        assert parser.finish() == []
        assert parser.stopped_by == "<|call|>"

    def test_each_token_of_content_is_told_at_once(self, vocabulary):
        parser = Parser(vocabulary.specials)
        for i in vocabulary.ids("<|channel|>final<|message|>"):
            parser.feed(i, vocabulary.piece(i))
        for i in vocabulary.text("one two three"):
            assert parser.feed(i, vocabulary.piece(i)) == (PartDelta(0, vocabulary.piece(i).decode()),)

    def test_characters_wait_for_their_last_byte(self, vocabulary):
        parser = Parser(vocabulary.specials)
        for i in vocabulary.ids("<|channel|>final<|message|>"):
            parser.feed(i, vocabulary.piece(i))
        deltas = [parser.feed(0, bytes([byte])) for byte in "é🧩".encode()]
        assert deltas == [(), (PartDelta(0, "é"),), (), (), (), (PartDelta(0, "🧩"),)]

    @pytest.mark.parametrize(
        ("pieces", "text"),
        [
            ((b"a\xff", b"b"), "a\ufffdb"),
            ((b"a\xf0\x9f", b"b"), "a\ufffdb"),
            ((b"a\xf0\x9f",), "a\ufffd"),
            ((b"\xed\xa0\x80",), "\ufffd\ufffd\ufffd"),
        ],
    )
    def test_bytes_that_are_no_characters_are_replaced(self, vocabulary, pieces, text):
        parser = Parser(vocabulary.specials)
        events = []
        for i in vocabulary.ids("<|channel|>final<|message|>"):
            events += parser.feed(i, vocabulary.piece(i))
        for piece in pieces:
            events += parser.feed(0, piece)
        events += parser.finish()
        check(parser, events)
        assert finals(parser) == text

    def test_markup_spelled_in_ordinary_tokens_is_text(self, vocabulary):
        text = "Write <|end|> and <|start|>assistant<|channel|>final<|message|> like this."
        ids = [
            *vocabulary.ids("<|channel|>final<|message|>"),
            *vocabulary.text(text),
            vocabulary.specials["<|return|>"],
        ]
        assert parse(vocabulary, ids).parts == (TextPart(text),)

    def test_parts_can_be_read_at_any_time(self, vocabulary):
        parser = Parser(vocabulary.specials)
        seen = []
        for i in vocabulary.ids(GOOD["analysis and final"][0]):
            parser.feed(i, vocabulary.piece(i))
            seen.append(parser.parts)
        assert (ReasoningPart("Hm"),) in seen
        assert seen[-1] == GOOD["analysis and final"][1]

    def test_a_vocabulary_without_control_tokens(self):
        parser = Parser({})
        events = [*parser.feed(1, b"Hello"), *parser.finish()]
        check(parser, events)
        assert parser.parts == (TextPart("Hello"),)


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(lambda t: t.strip() != "")
fuzz = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def spoken(draw):
    """Parts of an answer as the model may give it: reasoning and preambles, then an answer or a call."""
    before = draw(st.lists(words.map(ReasoningPart) | words.map(PreamblePart), max_size=3))
    names = st.from_regex(r"(functions\.)?[a-z_]{1,20}", fullmatch=True).filter(
        lambda n: n not in {"assistant", "user"}
    )
    last = draw(words.map(TextPart) | st.builds(ToolCallPart, names, st.text('{}[]":a1 é', max_size=20)))
    return (*before, last)


def rendered(encoding, parts) -> list[int]:
    """The parts as the library writes them, from after the first `<|start|>assistant`."""
    channels = {TextPart: "final", ReasoningPart: "analysis", PreamblePart: "commentary", ToolCallPart: "commentary"}
    out: list[int] = []
    for part in parts:
        message = oh.Message.from_role_and_content(oh.Role.ASSISTANT, said(part)).with_channel(channels[type(part)])
        if isinstance(part, ToolCallPart):
            message = message.with_recipient(part.name).with_content_type("<|constrain|>json")
        out += encoding.render(message)
    return out[2:]


@fuzz
@given(parts=spoken())
def test_what_the_library_renders_is_read_back(encoding, vocabulary, parts):
    ids = rendered(encoding, parts)
    parser = parse(vocabulary, ids)
    assert parser.parts == parts
    assert parser.malformed == 0


@fuzz
@given(parts=spoken(), cut=st.floats(0, 1))
def test_a_stream_cut_anywhere_shows_a_beginning_of_what_was_said(encoding, vocabulary, parts, cut):
    ids = rendered(encoding, parts)
    got = parse(vocabulary, ids[: int(cut * len(ids))]).parts
    assert len(got) <= len(parts)
    for a, b in zip(got, parts, strict=False):
        assert type(a) is type(b)
        assert said(b).startswith(said(a).rstrip("\ufffd"))
    assert got[:-1] == parts[: max(0, len(got) - 1)]


@fuzz
@given(data=st.data())
def test_any_ids_give_well_formed_events_and_no_markup(vocabulary, likely, data):
    ids = data.draw(st.lists(st.sampled_from(likely) | st.integers(0, 201_200), max_size=60))
    parser = parse(vocabulary, ids)
    spelled = b"".join(vocabulary.piece(i) for i in ids if i not in vocabulary.names).decode("utf-8", "replace")
    for part in parser.parts:
        for name in CONTROL:
            assert name not in said(part) or name in spelled


def test_the_check_of_events_can_fail(vocabulary):
    parser = Parser(vocabulary.specials)
    events = [e for i in vocabulary.ids("<|channel|>final<|message|>Yes.<|return|>") for e in parser.feed(i, b"Yes.")]
    check(parser, events)
    with pytest.raises(AssertionError):
        check(parser, events[:-1])
    with pytest.raises(AssertionError):
        check(parser, [e for e in events if not isinstance(e, PartDelta)])


@pytest.mark.parametrize("name", CONTROL)
def test_a_flood_of_one_control_token_leaves_a_bounded_header(name, vocabulary):
    parser = Parser(vocabulary.specials)
    events = [e for _ in range(5_000) for e in parser.feed(vocabulary.specials[name], b"")]
    check(parser, [*events, *parser.finish()])
    assert parser.parts == ()


class Calls:
    """Counts function calls, ours and Python's own: work that can be measured without a clock."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, frame, event, argument) -> None:
        self.count += event in ("call", "c_call")


def work(vocabulary, ids) -> int:
    """Function calls for a stream."""
    pieces = [(i, vocabulary.piece(i)) for i in ids]
    parser, calls, before = Parser(vocabulary.specials, ["functions.x"]), Calls(), sys.getprofile()
    sys.setprofile(calls)
    try:
        for token_id, piece in pieces:
            parser.feed(token_id, piece)
        parser.finish()
    finally:
        sys.setprofile(before)
    return calls.count


@pytest.mark.parametrize(
    "unit",
    [
        *CONTROL,
        "word ",
        "<|channel|><|message|>",
        "<|start|>x<|constrain|>json",
        "<|channel|>final<|message|><|channel|>final x",
        "<|channel|>final<|message|> <|constrain|>json",
        "<|end|> word",
        "<|channel|>commentary to=xjson<|message|>{<|call|>",
    ],
)
def test_work_is_linear_in_the_tokens(unit, vocabulary):
    stream = vocabulary.ids(unit)
    few, many = (work(vocabulary, stream * n) for n in (100, 1000))
    assert many <= 10.5 * few + 100
    assert many <= 400 * 1000 * len(stream)


def test_that_count_sees_work_that_is_not():
    def quadratic(n: int) -> int:
        calls, before = Calls(), sys.getprofile()
        sys.setprofile(calls)
        try:
            for i in range(n):
                [abs(j) for j in range(i)]
        finally:
            sys.setprofile(before)
        return calls.count

    assert quadratic(300) > 10.5 * quadratic(30) + 100
