"""What is put into a running answer from outside, in place of the next sampled token."""

from __future__ import annotations

from typing import Final

from inglenook.core.prompt import Segment, Special, Text
from inglenook.harmony import specials as s

ANSWER_NOW: Final[tuple[Segment, ...]] = (
    Special(s.END),
    Special(s.START),
    Text("assistant"),
    Special(s.CHANNEL),
    Text(s.FINAL),
    Special(s.MESSAGE),
)
"""Within the text of a message: ends it and begins the final answer, as the model itself writes it."""
