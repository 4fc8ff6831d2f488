"""What a message's header says, however badly it is written: which channel, which recipient, or where content began.

About one header in 25 is malformed at temperature 1. A header is read as a list of fields, each begun by a control
token; what is wanted is looked for in all of them. If `<|message|>` never comes, the text is content from where the
header made sense.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from inglenook.core.events import Channel
from inglenook.harmony.names import Names
from inglenook.harmony.specials import ANALYSIS, COMMENTARY, FINAL


class Mark(Enum):
    """What a field of the header follows."""

    ROLE = auto()  # <|start|>, or the prompt's `<|start|>assistant`
    CHANNEL = auto()
    TYPE = auto()  # <|constrain|>
    BODY = auto()  # a <|message|> before which no channel was found
    GAP = auto()  # the end of a message, or an end token within the header


class Ending(Enum):
    """Why a header ended without `<|message|>`."""

    CUT = auto()  # the stream is over, maybe within a good header
    LONG = auto()  # this cannot be a header
    NEXT = auto()  # another header begins
    END = auto()  # <|end|>
    CALL = auto()  # <|call|>
    STOP = auto()  # <|return|>, or the end of the text


@dataclass(frozen=True, slots=True)
class Target:
    """Where content goes; channel None: nowhere, it is not the assistant's. `name` is a call's recipient.

    `guessed`: it stood in the place of a channel, without `to=`.
    """

    channel: Channel | None
    name: str = ""
    guessed: bool = False


LONGEST = 200
"""Bytes of a header after which it is taken for content; a name of 64 characters and its format words fit twice."""
_MOST_FIELDS = 12
_ENOUGH = 3  # letters from which a channel is known

_CHANNELS = {
    ANALYSIS.encode(): Channel.REASONING,
    COMMENTARY.encode(): Channel.PREAMBLE,
    FINAL.encode(): Channel.FINAL,
}
_ANY_CHANNEL = b"|".join(_CHANNELS)
_WORDS = (b"assistant", *_CHANNELS)
_NOT_TOOLS = {b"assistant", b"user", b"system", b"developer", b"all"}
_TO = re.compile(rb"(?<![A-Za-z0-9_])(?:assistant|" + _ANY_CHANNEL + rb")?to=([A-Za-z0-9_.\-]+)")
_STRANGER = re.compile(rb"\s*(?:user|system|developer|tool|functions)(?![a-z])")
_CANONICAL_ROLE = re.compile(rb"assistant(?: to=[A-Za-z0-9_.\-]+)?")
_CANONICAL_CHANNEL = re.compile(rb"(?:" + _ANY_CHANNEL + rb")(?: to=[A-Za-z0-9_.\-]+)?(?: ?(?:json|code))? ?")

# What of a field is header where no <|message|> follows; the rest of it is content. Words that are not after
# <|channel|> count only where they are glued to what follows, as in the text of lost control tokens
# (`assistantfinalHello`): an answer may well begin with "final" or "assistant".
_CHANNEL_WORDS = re.compile(
    rb"(?:\s*(?P<channel>" + _ANY_CHANNEL + rb"))?(?:\s*to=(?P<to>[A-Za-z0-9_.\-]+))?"
    rb"(?:\s*(?:json|code)(?=\s*[{\[]|\s*$))?"
)
_ROLE_WORDS = re.compile(
    rb"(?:\s*(?P<role>assistant)(?=\s*$|\s*to=|[A-Z]|" + _ANY_CHANNEL + rb"))?(?:\s*to=(?P<to>[A-Za-z0-9_.\-]+))?"
    rb"(?P<channel>(?:" + _ANY_CHANNEL + rb")(?=[^a-z\s]|$))?"
)
_TYPE_WORDS = re.compile(rb"\s*(?:json|code)(?=\s*[{\[]|\s*$)")
_FINAL_TYPE = re.compile(rb"\s*(?:json|code)")
_FINAL_WORD = re.compile(rb"\s*" + FINAL.encode())
_BARE_NAME = re.compile(rb"\s*(?:analysis|commentary)?\s*(?P<name>[A-Za-z0-9_.\-]+)(?:\s+(?:json|code))?\s*")
_BEGUN = re.compile(rb"\s*(?:t|to|to=\S*|j|js|jso|json|c|co|cod|code)?\s*")


class Header:
    """The header that is being read.

    `initial`: of the first message; `cut`: the channel whose content it broke off; `unanswered`: that was a final
    answer before its first word; `names`: the tools there are.
    """

    def __init__(
        self,
        mark: Mark,
        *,
        initial: bool = False,
        cut: Channel | None = None,
        unanswered: bool = False,
        names: Names | None = None,
    ) -> None:
        self._fields: list[tuple[Mark, bytearray]] = [(mark, bytearray())]
        self._unanswered = unanswered
        self._names = names
        self._initial = initial
        self._cut = Channel.REASONING if cut is Channel.TOOL_CALL else cut
        self._size = 0

    @property
    def is_gap(self) -> bool:
        """Whether nothing has begun since the last message ended."""
        return len(self._fields) == 1 and self._fields[0][0] is Mark.GAP

    @property
    def is_only_assistant(self) -> bool:
        """Whether the role was read, or is to be read by the prompt, and nothing else."""
        mark, text = self._fields[0]
        return len(self._fields) == 1 and mark is Mark.ROLE and bytes(text) == (b"" if self._initial else b"assistant")

    @property
    def has_text(self) -> bool:
        """Whether there is any text."""
        return self._size > 0

    @property
    def is_too_long(self) -> bool:
        """Whether this cannot be a header."""
        return self._size > LONGEST and not self.is_gap

    @property
    def has_body(self) -> bool:
        """Whether a `<|message|>` came before any channel."""
        return any(mark is Mark.BODY for mark, _ in self._fields)

    def begin(self, mark: Mark) -> None:
        """A control token begins another field."""
        last, text = self._fields[-1]
        if last is Mark.BODY and not text.strip() and mark is not Mark.GAP:
            self._fields.pop()
        if self.is_gap and self._size > LONGEST:
            text.clear()
            self._size = 0
        if len(self._fields) >= _MOST_FIELDS:  # keeps a flood of control tokens linear
            del self._fields[1:-1]
        self._fields.append((mark, bytearray()))

    def add(self, piece: bytes) -> None:
        """Text of the last field."""
        self._fields[-1][1].extend(piece)
        self._size += len(piece)

    def is_canonical(self) -> bool:
        """Whether this is a header as the format has it."""
        marks = [mark for mark, _ in self._fields]
        if marks not in ([Mark.ROLE, Mark.CHANNEL], [Mark.ROLE, Mark.CHANNEL, Mark.TYPE]):
            return False
        role = b"assistant" * self._initial + self._fields[0][1]
        channel, last = self._fields[1][1], self._fields[-1][1]
        if not (_CANONICAL_ROLE.fullmatch(role) and _CANONICAL_CHANNEL.fullmatch(channel) and last):
            return False
        return not (b"to=" in role and b"to=" in channel)

    def at_message(self) -> Target | None:
        """Where the content goes that `<|message|>` begins; None if no field says so."""
        words = [(mark, text) for mark, text in reversed(self._fields) if mark is not Mark.BODY]
        name = next((n for _, text in words if (n := _last_name(text))), b"")
        if not name and (bare := self._name_without_to()):
            return Target(Channel.TOOL_CALL, bare.decode(), guessed=True)
        if name and name not in _NOT_TOOLS:
            return Target(Channel.TOOL_CALL, name.decode())
        role = next((bytes(text).strip() for mark, text in words if mark in (Mark.ROLE, Mark.GAP)), b"")
        if name == b"assistant" and role and not role.startswith((b"assistant", b"to=")):
            return Target(None)  # a tool's result, made up
        channel = next((c for f in reversed(self._fields) if (c := _channel_anywhere(*f))), None)
        if channel is None:  # a control token may have come between its letters
            channel = _channel_anywhere(Mark.CHANNEL, bytearray().join(text for _, text in reversed(words)))
        if channel is not None:
            return Target(channel)
        unnamed = all(mark is not Mark.CHANNEL for mark, _ in self._fields)
        return Target(None) if unnamed and _STRANGER.match(role) else None

    def without_message(self, ending: Ending, *, answer: bool = False) -> tuple[Target, bytes] | None:
        """Where the content goes, and its bytes, if the header was none; None if there is no content in it.

        `answer`: the turn ends without one, so text that would be dropped is taken for it.
        """
        if (text := self._answer_text(ending)) is not None:
            return (Target(Channel.FINAL), text) if text.strip() else None
        channel, name, role, content = self._split()
        marks = {mark for mark, _ in self._fields}
        if name == b"" or name in _NOT_TOOLS:
            target = self._untold(channel, role, marks, answer=answer)
        else:
            target = Target(Channel.TOOL_CALL, name.decode())
        if target is None or not content.strip():
            return None
        if Mark.BODY in marks:
            return None if content.strip() in _WORDS and not answer else (target, bytes(content))
        if not channel and Mark.CHANNEL in marks and any(word.startswith(content.strip()) for word in _CHANNELS):
            return None
        if ending is Ending.CUT and self._may_be_begun(target, channel, content, marks):
            return None
        return target, bytes(content)

    def call_without_arguments(self) -> Target | None:
        """The call that `<|call|>` ends within its header."""
        target = self.at_message()
        return target if target is not None and target.channel is Channel.TOOL_CALL else None

    def _split(self) -> tuple[bytes, bytes, bytes, bytearray]:
        """Channel and recipient (b"" where unknown), the word assistant, and the text after all that is header."""
        channel = name = role = b""
        content = bytearray()
        for mark, text in self._fields:
            if mark is Mark.BODY:
                content = bytearray(text)
                continue
            if (mark is Mark.CHANNEL and not channel) or (mark is Mark.TYPE and not content.strip()):
                content.clear()
            if mark is Mark.TYPE:
                found = _TYPE_WORDS.match(text)
            elif channel or content:
                found = None
            else:
                found = (_CHANNEL_WORDS if mark is Mark.CHANNEL else _ROLE_WORDS).match(text)
            if found is not None and mark is not Mark.TYPE:
                channel, name = found["channel"] or channel, found["to"] or name
                role = found.groupdict().get("role") or role
            content += text[found.end() :] if found else text
        return channel, name, role, content

    def _answer_text(self, ending: Ending) -> bytes | None:
        """All text as an answer, if one wrong token within or before `<|message|>` is the likeliest cause; else None.

        The answer may begin with words of the format (`json`, `to=you`), and is shown whole: to hide it, or to run it
        as a call, would be worse than such a word too much.
        """
        texts = [bytes(text) for _, text in self._fields]
        marks = [mark for mark, _ in self._fields]
        if self._unanswered and ending in (Ending.LONG, Ending.STOP) and Mark.BODY not in marks:
            return b"".join(texts)  # the control token that began this header is the wrong one
        if ending in (Ending.CUT, Ending.CALL) or Mark.BODY in marks or Mark.CHANNEL not in marks:
            return None
        at = marks.index(Mark.CHANNEL)
        found = _FINAL_WORD.match(texts[at])
        if found is None:
            return None
        texts[at] = texts[at][found.end() :]
        if marks[at + 1 : at + 2] == [Mark.TYPE] and texts[at] == b" ":  # the format has a blank before <|constrain|>
            texts[at] = b""
            if typed := _FINAL_TYPE.match(texts[at + 1]):
                texts[at + 1] = texts[at + 1][typed.end() :]
        return b"".join(texts[at:])

    def _name_without_to(self) -> bytes:
        """The known tool that the header names in the place of a recipient, without `to=` before it."""
        if self._names is None:
            return b""
        for mark, text in reversed(self._fields):
            found = _BARE_NAME.fullmatch(text) if mark is Mark.CHANNEL else None
            if found and (name := self._names.match(found["name"].decode())):
                return name.encode()
        return b""

    def _untold(self, channel: bytes, role: bytes, marks: set[Mark], *, answer: bool) -> Target | None:
        if channel:
            return Target(_CHANNELS[channel])
        if Mark.CHANNEL in marks:
            return Target(self._cut or Channel.REASONING)
        if self._initial or Mark.BODY in marks or role or (answer and self.is_gap):
            return Target(Channel.FINAL)
        return Target(self._cut) if self._cut else None

    def _may_be_begun(self, target: Target, channel: bytes, content: bytearray, marks: set[Mark]) -> bool:
        """Whether `content` may be the beginning of a header's words, of which the rest is missing."""
        if target.channel is Channel.TOOL_CALL:
            return not content.lstrip().startswith((b"{", b"["))
        if channel:
            return _BEGUN.fullmatch(content) is not None
        if Mark.CHANNEL in marks:
            return True
        return any(word.startswith(content.strip()) for word in _WORDS) or bool(_BEGUN.fullmatch(content))


def _last_name(text: bytearray) -> bytes:
    names: list[bytes] = _TO.findall(text[: 2 * LONGEST])
    return bytes(names[-1]) if names else b""


def _channel_anywhere(mark: Mark, text: bytearray) -> Channel | None:
    """The channel named by a field: at its beginning, else at its end, else by some of its letters.

    After a `<|message|>` only all of it counts.
    """
    written = bytes(text[: 2 * LONGEST]).strip()
    if mark in (Mark.ROLE, Mark.GAP):
        written = written.removeprefix(b"assistant").lstrip()
    if mark is Mark.BODY:
        return _CHANNELS.get(written) if len(text) <= LONGEST else None
    for word, channel in _CHANNELS.items():
        if written.startswith(word):
            return channel
    for word, channel in _CHANNELS.items():
        part = mark is Mark.CHANNEL and len(written) >= _ENOUGH and (word.startswith(written) or word.endswith(written))
        if text.endswith(word) or part:
            return channel
    return None
