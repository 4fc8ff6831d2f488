"""Where an answer that was cut off can be taken up again: from its ids alone, for their bytes were not kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inglenook.core.messages import Part, ToolCallPart, ToolResultPart
from inglenook.harmony import specials as s


@dataclass(frozen=True, slots=True)
class Point:
    """The model goes on after `ids`, which say `parts`; `inside`: within the text of the last one."""

    ids: tuple[int, ...] = ()
    parts: tuple[Part, ...] = ()
    inside: bool = False


def resume_point(ids: Sequence[int], parts: Sequence[Part], specials: Mapping[str, int]) -> Point | None:
    """The last such point of an answer whose sampled `ids` were parsed to `parts`.

    A header that was begun is left out: the model writes it again. None if the stream is malformed, so that one cannot
    tell which ids say what.
    """
    contents = _contents(ids, {token_id: name for name, token_id in specials.items()})
    if contents is None:
        return None
    said = tuple(part for part in parts if _text(part))
    spans = [(begin, end) for begin, end, _ in contents if end > begin]
    if len(spans) != len(said):
        return None
    is_open = bool(contents) and not contents[-1][2]
    if is_open and contents[-1][0] < contents[-1][1]:
        return Point(tuple(ids), said, inside=True)
    ended = [end for _, end, is_closed in contents if is_closed]
    return Point(tuple(ids[: ended[-1] + 1]), said) if ended else Point()


def _contents(ids: Sequence[int], names: Mapping[int, str]) -> list[tuple[int, int, bool]] | None:
    """Where the messages' texts begin and end, and whether `<|end|>` ends them; None where another token does."""
    found: list[tuple[int, int, bool]] = []
    begin: int | None = None if any(token_id in names for token_id in ids) else 0  # without any markup: all is text
    for i, token_id in enumerate(ids):
        name = names.get(token_id)
        if name == s.MESSAGE and begin is None:
            begin = i + 1
        elif name is not None and begin is not None:
            if name != s.END:
                return None
            found.append((begin, i, True))
            begin = None
    if begin is not None and ids:
        found.append((begin, len(ids), False))
    return found


def _text(part: Part) -> str:
    match part:
        case ToolCallPart(_, text) | ToolResultPart(_, text):
            return text
        case _:
            return part.text
