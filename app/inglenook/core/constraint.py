"""What a generation may say: the messages that it may consist of, and by which grammar their content is written.

The engine holds every token to it and knows nothing of channels or schemas; `harmony.structured` makes it of those.
"""

from __future__ import annotations

from dataclasses import dataclass

from inglenook.core.prompt import Segment


@dataclass(frozen=True, slots=True)
class Form:
    """A kind of message: it begins with `opening`, has content, and ends with the control token `closing`.

    `opening` holds `Special` and `Text`, and ends with a `Special`. `grammar` is in llama.cpp's GBNF and begins at its
    rule `root`, and `closing` is then a stop token; without one the content is free text. Neither has control tokens.
    """

    opening: tuple[Segment, ...]
    closing: str
    grammar: str = ""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A generation is one or more messages of these `forms`; one whose `closing` is a stop token is the last.

    `begin` comes before each `opening`, and has begun where the prompt ends: it starts with the control token that
    starts a message.
    """

    forms: tuple[Form, ...]
    begin: tuple[Segment, ...]
