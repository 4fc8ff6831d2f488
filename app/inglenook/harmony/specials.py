"""The names of harmony's control tokens. Ids differ between vocabularies and are looked up by these names.

Source: the harmony response format (openai/harmony, docs/format.md) and the vocabulary o200k_harmony.
"""

from __future__ import annotations

import re
from typing import Final

START: Final = "<|start|>"  # begins a message; its header (role, recipient, channel) follows
CHANNEL: Final = "<|channel|>"  # in a header: the channel's name follows
CONSTRAIN: Final = "<|constrain|>"  # in a header: the content's type follows
MESSAGE: Final = "<|message|>"  # ends the header; the content follows
END: Final = "<|end|>"  # ends a message; another of the same speaker may follow
RETURN: Final = "<|return|>"  # ends the answer; becomes END in history
CALL: Final = "<|call|>"  # ends a call; the tool is to be run
END_OF_TEXT: Final = "<|endoftext|>"  # not harmony, but ends the text in every vocabulary of the family

STOPS: Final = (RETURN, CALL, END_OF_TEXT)
"""After these the model has ended its answer."""

ANALYSIS: Final = "analysis"
COMMENTARY: Final = "commentary"
FINAL: Final = "final"

FUNCTIONS: Final = "functions"
"""The namespace of the tools that the developer message declares."""

MAX_NAME: Final = 128
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.\-]+")


def safe_name(name: str) -> str:
    """`name` reduced to what may stand in a header: letters, digits, `_`, `.`, `-`; "unknown" if nothing is left.

    A header is read by position (`role to=recipient`): a space or another `to=` in a name would change who speaks.
    """
    return _NOT_IN_NAMES.sub("", name)[:MAX_NAME] or "unknown"
