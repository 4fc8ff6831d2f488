"""What the model says, from the ids of its tokens: a state machine that takes anything and never raises.

The channels are told apart by control tokens, by id, never by text. What real models get wrong (headers with free text,
doubled, cut, glued or missing; control tokens within content; no markup at all) is repaired so that format text is
not shown and no answer is lost; the rules are at `Parser`. Time is linear in the tokens.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from inglenook.core.events import Channel, HarmonyEvent, PartDelta, PartEnded, PartStarted
from inglenook.core.messages import Part, PreamblePart, ReasoningPart, TextPart, ToolCallPart
from inglenook.harmony import specials as s
from inglenook.harmony.arguments import BadArguments, read_arguments
from inglenook.harmony.header import Ending, Header, Mark, Target
from inglenook.harmony.names import Names

_NOTHING: tuple[HarmonyEvent, ...] = ()
_ENDINGS = {s.END: Ending.END, s.CALL: Ending.CALL}
_Utf8 = codecs.getincrementaldecoder("utf-8")


class Parser:
    """Turns one generation's tokens into events and parts. It begins after the prompt's `<|start|>assistant`.

    Good streams give what they say. Otherwise:
    - the recipient decides that a message is a call, on whatever channel; its name is the known one that it means, if
      there is one (see `harmony.names`), else as it was written; a channel is known by its first or last
      letters in the header; text under an unknown channel is reasoning;
    - text without any markup is the final answer; so is `assistant` without a channel;
    - a header that does not end is content from where it stopped making sense, after `header.LONGEST` bytes at most;
    - `<|start|>` or `<|channel|>` within content begins a new header; other control tokens there are dropped;
    - text after the end of a message is dropped, as are messages of other roles;
    - if `<|return|>` ends a turn in its reasoning, that is repeated as the final answer; so is what was taken for a
      call because a tool's name stood for the channel, where it has no arguments; so is text after the end of a
      message if nothing else is left for an answer: silence is worse.
    """

    def __init__(self, specials: Mapping[str, int], recipients: Iterable[str] = ()) -> None:
        """`specials`: ids of the vocabulary's control tokens by name (`ModelInfo.specials`).

        `recipients`: the tools there are, as a call names them (`functions.weather`, `python`).
        """
        known = frozenset(recipients)
        self._known = Names(known) if known else None
        self._names = {token_id: name for name, token_id in specials.items()}
        self._decoder = _Utf8("replace")
        self._decode = self._decoder.decode
        self._told: list[tuple[Target, list[str]]] = []
        self._header: Header | None = Header(Mark.ROLE, initial=True, names=self._known)
        self._target = Target(None)  # of the content that is being read
        self._chunks: list[str] | None = None  # of the open part
        self._fed = False  # whether the content has any bytes
        self._over = False  # whether empty content met an end token
        self._answered = False  # by a final answer that is not empty, or a call
        self._returned = False  # whether <|return|> ended the stream in what was no answer
        self._malformed = 0
        self._stopped_by: str | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """What was said so far. Seconds of reasoning are left 0: the caller has the clock."""
        made: list[Part] = []
        for target, chunks in self._told:
            chunks[:] = ["".join(chunks)]
            made.append(_part(target, chunks[0]))
        return tuple(made)

    @property
    def stopped_by(self) -> str | None:
        """The name of the stop token that ended the stream; None if none did."""
        return self._stopped_by

    @property
    def malformed(self) -> int:
        """How often something had to be repaired or dropped."""
        return self._malformed

    @property
    def answered(self) -> bool:
        """Whether there is a final answer that is not empty, or a call. Before `finish`: what that repeats is none."""
        return self._answered

    @property
    def is_whole(self) -> bool:
        """Whether no bytes wait for the rest of their character."""
        return not self._decoder.getstate()[0]

    @property
    def is_inside(self) -> bool:
        """Whether the last part is being written."""
        return self._chunks is not None

    @property
    def is_good(self) -> bool:
        """Whether all was well-formed so far, and the model could go on from here as if nothing had come after.

        That is within a part, between two messages, and after the word `assistant` of a header.
        """
        if self._malformed:
            return False
        if self._header is None:
            return self._chunks is not None and self._fed and not self._over and self.is_whole
        between = self._header.is_gap and not self._header.has_text and self._stopped_by is None
        return between or self._header.is_only_assistant

    def resume(self, parts: Sequence[Part], *, inside: bool) -> None:
        """Goes on with an answer of which `parts` were told, instead of beginning one.

        `inside`: the next token is of the last part's text; else the last message was ended.
        """
        self._told = [(target, [text]) for target, text in map(_target, parts)]
        ended = parts[:-1] if inside else parts
        self._answered = any(_is_answer(*_target(part)) for part in ended)
        if inside:
            self._target, self._chunks = self._told[-1]
            self._header, self._fed = None, True
        elif parts:
            self._header = Header(Mark.GAP, names=self._known)

    def feed(self, token_id: int, piece: bytes) -> Sequence[HarmonyEvent]:
        """Takes one token, with its bytes (not looked at for a control token)."""
        name = self._names.get(token_id)
        if name is None:
            if self._chunks is not None and not self._over:  # the path of nearly all tokens
                self._fed = True
                if text := self._decode(piece):
                    self._chunks.append(text)
                    return (PartDelta(len(self._told) - 1, text),)
                self._malformed += not piece  # an id that the vocabulary does not have
                return _NOTHING
            return self._text(piece)
        events: list[HarmonyEvent] = []
        if self._header is None:
            self._control_in_content(name, events)
        else:
            self._control_in_header(self._header, name, events)
        return events

    def finish(self) -> Sequence[HarmonyEvent]:
        """The stream is over, by a stop token or cut off. Feeding more begins at a new header."""
        events: list[HarmonyEvent] = []
        if self._header is not None:
            if found := self._header.without_message(Ending.CUT):
                self._recover(*found, events)
            self._header = None
        self._close(events)
        self._header = Header(Mark.GAP, names=self._known)
        if self._returned and not self._answered:
            self._malformed += 1
            thought = "".join(self._told[-1][1])
            self._begin(Target(Channel.FINAL), events)
            self._content(thought.encode(), events)
            self._close(events)
            self._header = Header(Mark.GAP, names=self._known)
            self._stopped_by = s.RETURN
        return events

    def _text(self, piece: bytes) -> Sequence[HarmonyEvent]:
        events: list[HarmonyEvent] = []
        self._malformed += not piece
        if self._header is None:
            self._malformed += self._over
            self._over = False
            self._content(piece, events)
            return events
        if self._header.is_gap and not self._header.has_text and piece:
            self._malformed += 1
        self._header.add(piece)
        if self._header.is_too_long:
            if found := self._header.without_message(Ending.LONG):
                self._recover(*found, events)
            else:
                self._malformed += 1
                self._header = Header(Mark.GAP, names=self._known)
        return events

    def _control_in_content(self, name: str, events: list[HarmonyEvent]) -> None:
        if name == s.END or name in s.STOPS:
            if name != s.END:
                self._stopped_by = name
            if not self._fed and self._target.channel is not Channel.TOOL_CALL:
                self._malformed += self._over
                self._over = True  # text may follow: then the end token was a stray one
            else:
                self._returned = name == s.RETURN and (self._target.channel is Channel.REASONING or self._is_no_call())
                self._close(events)
                self._header = Header(Mark.GAP, names=self._known)
        elif name in (s.START, s.CHANNEL):
            self._malformed += not self._over
            cut = None if self._over else self._target.channel
            unanswered = cut is Channel.FINAL and not self._fed
            self._close(events)
            mark = Mark.ROLE if name == s.START else Mark.CHANNEL
            self._header = Header(mark, cut=cut, unanswered=unanswered, names=self._known)
        elif name == s.CONSTRAIN and self._is_blank_answer():
            self._malformed += 1  # the header goes on after a <|message|> too much
            self._close(events)
            self._header = Header(Mark.CHANNEL, names=self._known)
            self._header.add(s.FINAL.encode())
            self._header.begin(Mark.TYPE)
        else:
            self._malformed += 1

    def _is_no_call(self) -> bool:
        """Whether what was taken for a call is an answer: its name was guessed, and it has no arguments."""
        is_said = self._target.guessed and self._chunks is not None and bool(self._chunks)
        return is_said and isinstance(read_arguments("".join(self._chunks or ())), BadArguments)

    def _is_blank_answer(self) -> bool:
        """Whether a final answer has begun, of at most two tokens, and they are blank."""
        if self._target.channel is not Channel.FINAL or self._over or self._chunks is None or len(self._chunks) > 2:
            return False
        return not self._fed or (bool(self._chunks) and not "".join(self._chunks).strip())

    def _control_in_header(self, header: Header, name: str, events: list[HarmonyEvent]) -> None:
        if name == s.MESSAGE:
            self._message(header, events)
        elif name == s.START:
            found = header.without_message(Ending.NEXT) if not header.is_gap else None
            if found:
                self._recover(*found, events)
                self._close(events)
            if found or header.is_gap:
                self._header = Header(Mark.ROLE, names=self._known)
            else:
                header.begin(Mark.ROLE)
        elif name == s.CHANNEL:
            if header.has_body and (found := header.without_message(Ending.NEXT)):
                self._recover(*found, events)
                self._close(events)
                self._header = Header(Mark.CHANNEL, names=self._known)
            else:
                header.begin(Mark.CHANNEL)
        elif name == s.CONSTRAIN:
            header.begin(Mark.TYPE)
        elif name == s.END or name in s.STOPS:
            self._end_in_header(header, name, events)
        else:
            self._malformed += 1

    def _message(self, header: Header, events: list[HarmonyEvent]) -> None:
        if header.is_gap and not header.has_text:
            self._malformed += 1
            return
        target = header.at_message()
        self._malformed += not header.is_canonical()
        if target is not None:
            self._begin(target, events)
        elif not header.has_body:
            header.begin(Mark.BODY)

    def _end_in_header(self, header: Header, name: str, events: list[HarmonyEvent]) -> None:
        self._malformed += 1
        found = header.without_message(_ENDINGS.get(name, Ending.STOP), answer=name == s.RETURN and not self._answered)
        call = header.call_without_arguments() if name == s.CALL and not found else None
        if found:
            self._recover(*found, events)
        elif call:
            self._begin(call, events)
        if found or call:
            self._returned = name == s.RETURN and self._target.channel is Channel.REASONING
            self._close(events)
            self._header = Header(Mark.GAP, names=self._known)
        elif header.is_gap:
            self._header = Header(Mark.GAP, names=self._known)
        else:
            header.begin(Mark.GAP)
        if name != s.END:
            self._stopped_by = name

    def _recover(self, target: Target, content: bytes, events: list[HarmonyEvent]) -> None:
        """A header turned out to be content."""
        self._malformed += 1
        self._begin(target, events)
        self._content(content, events)

    def _begin(self, target: Target, events: list[HarmonyEvent]) -> None:
        """Content begins. Calls and answers are told even if they stay empty, reasoning and preambles are not."""
        self._header = None
        self._target = target
        if self._known is not None and target.channel is Channel.TOOL_CALL:
            name = self._known.match(target.name) or target.name
            self._malformed += name != target.name
            self._target = replace(target, name=name)
        self._fed = self._over = False
        if self._target.channel in (Channel.FINAL, Channel.TOOL_CALL):
            self._open(events)

    def _open(self, events: list[HarmonyEvent]) -> list[str]:
        assert self._target.channel is not None
        self._stopped_by = None
        self._returned = False
        self._chunks = []
        self._told.append((self._target, self._chunks))
        events.append(PartStarted(len(self._told) - 1, self._target.channel, self._target.name))
        return self._chunks

    def _content(self, piece: bytes, events: list[HarmonyEvent], *, final: bool = False) -> None:
        if self._target.channel is None:
            return
        self._fed = self._fed or bool(piece)
        if text := self._decode(piece, final):
            chunks = self._open(events) if self._chunks is None else self._chunks
            chunks.append(text)
            events.append(PartDelta(len(self._told) - 1, text))

    def _close(self, events: list[HarmonyEvent]) -> None:
        """Content ends; a character of which bytes are missing becomes U+FFFD."""
        self._content(b"", events, final=True)
        self._decoder.reset()
        if self._chunks is not None:
            events.append(PartEnded(len(self._told) - 1))
            is_call = not (self._returned and self._target.guessed)
            self._answered |= is_call and _is_answer(self._target, "".join(self._chunks))
        self._chunks = None
        self._target = Target(None)
        self._over = False


def _part(target: Target, text: str) -> Part:
    match target.channel:
        case Channel.FINAL:
            return TextPart(text)
        case Channel.PREAMBLE:
            return PreamblePart(text)
        case Channel.TOOL_CALL:
            return ToolCallPart(target.name, text)
        case _:
            return ReasoningPart(text)


def _target(part: Part) -> tuple[Target, str]:
    """The reverse of `_part`; of a tool's result, which no answer has, it is nothing."""
    match part:
        case TextPart(text):
            return Target(Channel.FINAL), text
        case PreamblePart(text):
            return Target(Channel.PREAMBLE), text
        case ToolCallPart(name, arguments):
            return Target(Channel.TOOL_CALL, name), arguments
        case ReasoningPart(text):
            return Target(Channel.REASONING), text
        case _:
            return Target(None), ""


def _is_answer(target: Target, text: str) -> bool:
    return target.channel is Channel.TOOL_CALL or (target.channel is Channel.FINAL and bool(text))
