"""What of a conversation the model is sent: all of it, or as many of the last turns as its context holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.core.messages import Role
from inglenook.core.prompt import Ids, Prompt, Segment, Special, Text
from inglenook.harmony.render import render

Count = Callable[[Sequence[Segment]], int]


def answer_room(n_ctx: int) -> int:
    """Tokens of the context that are kept free for the answer."""
    return min(1024, n_ctx // 4)


def fit(
    prompt: Prompt, n_ctx: int, vocabulary: str, count: Count, written: tuple[int, ...] = ()
) -> tuple[Segment, ...]:
    """Segments of `prompt`, without the fewest oldest turns that have to go so that an answer has room.

    A turn is a user's message and all that follows it up to the next. `written` are the ids of the answer so far.
    `count` (tokens of segments) is asked only if the prompt could be too long. Raises `UserError` if the last turn
    alone is too long.
    """
    limit = n_ctx - answer_room(n_ctx)
    begun = (Ids(written),) if written else ()
    segments = render(prompt, vocabulary) + begun
    if most_tokens(segments) <= limit or count(segments) <= limit:
        return segments
    starts = [i for i, message in enumerate(prompt.messages) if message.role is Role.USER][1:]

    def without(dropped: int) -> tuple[Segment, ...]:
        return render(replace(prompt, messages=prompt.messages[starts[dropped] :]), vocabulary) + begun

    low, high = 0, len(starts)  # the least number of turns to drop, less one, is found in low..high
    while low < high:
        middle = (low + high) // 2
        if count(without(middle)) <= limit:
            high = middle
        else:
            low = middle + 1
    if low < len(starts):
        return without(low)
    shortest = without(len(starts) - 1) if starts else segments
    if written or (prompt.messages and prompt.messages[-1].role is Role.TOOL):
        raise UserError(
            N_(
                "This answer has filled the context window: with its question it takes {tokens} tokens, and {limit} "
                "fit if there is to be room for more. Start a new chat, or choose a larger context window in the "
                "settings (now {n_ctx})."
            ),
            tokens=count(shortest),
            limit=limit,
            n_ctx=n_ctx,
        )
    raise UserError(
        N_(
            "This message is too long: it takes {tokens} tokens with the instructions, and {limit} fit beside an "
            "answer. Shorten it, or choose a larger context window in the settings (now {n_ctx})."
        ),
        tokens=count(shortest),
        limit=limit,
        n_ctx=n_ctx,
    )


def most_tokens(segments: Sequence[Segment]) -> int:
    """An upper bound of the tokens in `segments`, known without asking the engine: a token has at least one byte."""
    total = 0
    for segment in segments:
        match segment:
            case Special():
                total += 1
            case Text(text):
                total += len(text.encode())
            case Ids(ids):
                total += len(ids)
    return total
