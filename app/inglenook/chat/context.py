"""What of a conversation the model is sent: all of it, or as many of the last turns as its context holds.

When it is full, the oldest turns leave, and so many at once that the rest takes half of the room: the prompts of the
next turns then begin alike, and the engine's cache serves them. Which turns have left follows from the lengths of all
turns alone, as if it had been decided turn by turn; nothing needs to be kept. Pinned messages stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from inglenook.chat.history import History
from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.core.messages import Message, Role
from inglenook.core.prompt import Ids, Prompt, Segment, Special, Text
from inglenook.harmony.render import blocks, when_answered

Count = Callable[[Sequence[Sequence[Segment]], Sequence[str]], Sequence[int]]
"""Tokens of each text; the second argument has for each the id of the message that it is of, or ""."""


_OPENING = 10
"""More tokens than `<|start|>assistant`, which stands before what is sampled, has in any vocabulary."""


def answer_room(n_ctx: int) -> int:
    """Tokens of the context that are kept free for the answer."""
    return min(1024, n_ctx // 4)


@dataclass(frozen=True, slots=True)
class TurnSize:
    """Tokens of a turn that is over: of later prompts, at its longest (with its reasoning), and of what is pinned."""

    history: int
    peak: int
    pinned: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """The part of a history that is sent, and the tokens of it.

    `first` is the index of the first message after those that have left, but for pinned ones; 0 if none has. `fixed` is
    what stands before the messages, `last` the turn to be answered, `pinned` what stays of those that have left.
    """

    segments: tuple[Segment, ...]
    first: int
    fixed: int
    total: int
    last: int
    pinned: int
    limit: int


def first_kept(fixed: int, past: Sequence[TurnSize], last: int, limit: int) -> int:
    """How many of the `past` turns have left, if those and the last (of `last` tokens) are to take `limit` tokens.

    It never becomes less as a conversation goes on. Turns leave while what is left of those before takes more than half
    of the room, and more only if the turn itself needs it.
    """
    space = limit - fixed
    length = [0, *accumulate(turn.history for turn in past)]
    pinned = [0, *accumulate(turn.pinned for turn in past)]

    def before(i: int, first: int) -> int:
        return pinned[first] + length[i] - length[first]

    first = 0
    for i, size in enumerate([*(turn.peak for turn in past), last]):
        if before(i, first) + size > space:
            while first < i and (2 * before(i, first) > space or before(i, first) + size > space):
                first += 1
    return first


def choose(history: History, n_ctx: int, vocabulary: str, count: Count, written: tuple[int, ...] = ()) -> Chosen:
    """What is sent of `history` so that an answer has room; `written` are the ids of the answer so far.

    If the last turn alone (with what is pinned) is too long, the total is more than the limit.
    """
    prompt = history.prompt
    limit = n_ctx - answer_room(n_ctx)
    starts = _starts(prompt.messages)
    past = prompt.messages[: starts[-1]]
    all_blocks = blocks(prompt, vocabulary)
    begun = (Ids(written),) if written else ()
    told = [when_answered(message, prompt.builtins) for message in past]
    current = [*all_blocks[1 + len(past) : -1], (*all_blocks[-1], *begun)]
    lasting = [history.ids[i] if i < len(past) or m.role is Role.USER else "" for i, m in enumerate(prompt.messages)]
    fixed, opening, *lengths = count([all_blocks[0], all_blocks[-1], *told, *current], ["", "", *lasting, ""])
    sizes = [
        TurnSize(
            sum(lengths[start:end]),
            sum(max(n, _sampled(m, opening)) for n, m in zip(lengths[start:end], past[start:end], strict=True)),
            sum(n for n, i in zip(lengths[start:end], history.ids[start:end], strict=True) if i in history.pinned),
        )
        for start, end in pairwise(starts)
    ]
    last_size = sum(lengths[len(past) :])
    left = first_kept(fixed, sizes, last_size, limit)
    while True:
        first = starts[left]
        stays = [i for i in range(first) if history.ids[i] in history.pinned]
        messages = tuple(prompt.messages[i] for i in [*stays, *range(first, len(prompt.messages))])
        sent = blocks(replace(prompt, messages=messages), vocabulary)
        total = sum(count([*sent[:-1], (*sent[-1], *begun)], [""] * len(sent)))
        if total <= limit or left == len(starts) - 1:  # more than foreseen is reasoning that no answer has followed
            break
        left += 1
    segments = tuple(segment for block in sent for segment in block) + begun
    pinned = sum(size.pinned for size in sizes[:left])
    return Chosen(segments, first, fixed, total, last_size, pinned, limit)


def fit(
    history: History, n_ctx: int, vocabulary: str, count: Count, written: tuple[int, ...] = ()
) -> tuple[Segment, ...]:
    """Segments of what `choose` gives. `count` is asked only if the prompt could be too long.

    Raises `UserError` if the last turn alone is too long.
    """
    limit = n_ctx - answer_room(n_ctx)
    prompt = history.prompt
    begun = (Ids(written),) if written else ()
    everything = tuple(segment for block in blocks(prompt, vocabulary) for segment in block) + begun
    if most_tokens(everything) + sum(_sampled(message, _OPENING) for message in prompt.messages) <= limit:
        return everything
    chosen = choose(history, n_ctx, vocabulary, count, written)
    if chosen.total > limit:
        raise too_long(prompt, chosen, n_ctx, begun=bool(written))
    return chosen.segments


def _starts(messages: Sequence[Message]) -> list[int]:
    """Where turns begin: a turn is a user's message and all that follows it up to the next."""
    return [0, *(i for i, message in enumerate(messages) if i and message.role is Role.USER)]


def _sampled(message: Message, opening: int) -> int:
    """Tokens of a message as it was sampled."""
    return len(message.sampled.ids) + opening if message.sampled is not None else 0


def too_long(prompt: Prompt, chosen: Chosen, n_ctx: int, *, begun: bool = False) -> UserError:
    """What to say where `chosen` does not fit. `begun`: there is something of the answer."""
    if begun or (prompt.messages and prompt.messages[-1].role is Role.TOOL):
        return UserError(
            N_(
                "This answer has filled the context window: with its question it takes {tokens} tokens, and {limit} "
                "fit if there is to be room for more. Start a new chat, or choose a larger context window in the "
                "settings (now {n_ctx})."
            ),
            tokens=chosen.total,
            limit=chosen.limit,
            n_ctx=n_ctx,
        )
    fits = max(0, chosen.limit - chosen.fixed - chosen.pinned)
    if chosen.pinned:
        return UserError(
            N_(
                "This message is too long: it takes {tokens} tokens, and {fits} fit beside the instructions, the "
                "pinned messages ({pinned} tokens) and an answer. Shorten it, unpin messages, or choose a larger "
                "context window in the settings (now {n_ctx})."
            ),
            tokens=chosen.last,
            fits=fits,
            pinned=chosen.pinned,
            n_ctx=n_ctx,
        )
    return UserError(
        N_(
            "This message is too long: it takes {tokens} tokens, and {fits} fit beside the instructions and an answer. "
            "Shorten it, or choose a larger context window in the settings (now {n_ctx})."
        ),
        tokens=chosen.last,
        fits=fits,
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
                total += len(text.encode("utf-8", "surrogatepass"))
            case Ids(ids):
                total += len(ids)
    return total
