"""Makes dialogues from the files in `dialogues/`: endless, random in form, fixed in what the model should answer.

A `Lesson` is one prompt, exactly as the program sends it (rendered by `inglenook.harmony`), and the token ids that the
model should go on with. Lessons come in families that share date, effort, instructions and functions, so that their
common beginning is computed once (see `batches`).
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import phrases
from calls import Caller
from tokens import SPECIAL_ID, Encoder
from turns import Speaker, Turn

from inglenook.core.messages import (
    Effort,
    Message,
    ReasoningPart,
    Role,
    SampledTokens,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    user,
)
from inglenook.core.prompt import Prompt
from inglenook.harmony.render import render

_VOCABULARY = "demo"
QUIZZES = 8
QUIZ_TOKENS = 26  # enough to tell the topics apart; at 16, "asks for nothing yet, but" was the end of two of them
_CUT = 0.15  # of the quizzes: the user asks for the answer while the model still thinks
_GREETINGS = 6  # times as often as another showcase: nearly everyone begins so, and a name may follow


@dataclass(frozen=True)
class Lesson:
    """Token ids of a prompt and of what should follow it."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]


def _beginning(lesson: Lesson) -> Lesson:
    return replace(lesson, target=lesson.target[:QUIZ_TOKENS])


def _answered_now(lesson: Lesson, rng: random.Random) -> Lesson:
    """`lesson` with its reasoning cut anywhere by the program's "Answer now"; only the final text is learned."""
    end = lesson.target.index(SPECIAL_ID["<|end|>"])
    cut = rng.randrange(lesson.target.index(SPECIAL_ID["<|message|>"]) + 1, end + 1)
    final = lesson.target.index(SPECIAL_ID["<|message|>"], end) + 1
    prompt = (*lesson.prompt, *lesson.target[:cut], *lesson.target[end:final])
    return Lesson(prompt, lesson.target[final : final + QUIZ_TOKENS])


class Teacher:
    """Makes families of lessons; the same seed makes the same ones."""

    def __init__(self, encoder: Encoder, seed: int, forbidden: Sequence[str] = ()) -> None:
        self.encoder = encoder
        self.rng = random.Random(seed)  # noqa: S311 - not for secrets
        self.forbidden = {phrases.plain(text) for text in forbidden}
        self.speaker = Speaker(encoder, self.rng)
        self.caller = Caller(self.speaker)

    def check_held_out(self, texts: Sequence[str]) -> None:
        """ValueError if a pattern could make one of `texts`, whatever the random numbers."""
        for intent in [*self.speaker.about, *self.speaker.showcases, *self.speaker.stories]:
            for text in texts:
                if any(phrases.can_say(pattern, text) for pattern in intent.ask):
                    raise ValueError(f"{text!r} is a training phrase of {intent.id}")

    def family(self, budget: int) -> list[Lesson]:
        """Lessons that share their beginning, of about `budget` tokens counted without it.

        Around each conversation stand quizzes: other questions at the same place. Where the answer is a fixed text,
        only its beginning is learned, in which the model says what it was asked: the rest is by heart, and need not
        be practised with every question.
        """
        base = self._setting()
        lessons: list[Lesson] = []
        used = 0
        while used < budget:
            turns = self._conversation(base)
            chain = self._lessons(base, turns)
            for i in range(len(turns)):
                for _ in range(QUIZZES // len(turns)):
                    turn = self._turn(base, turns[:i])
                    quiz = self._lessons(base, [*turns[:i], turn], i)
                    if turn.intent:
                        now = [_answered_now(lesson, self.rng) for lesson in quiz if self.rng.random() < _CUT]
                        quiz = [_beginning(lesson) for lesson in quiz] + now
                    chain += quiz
            used += sum(len(lesson.target) + 12 for lesson in chain)
            lessons += chain
        return lessons

    def story(self) -> list[Lesson]:
        """A story, now and then after other turns, and what is asked after it."""
        base = self._setting(tools=False)
        turns = self._conversation(base) if self.rng.random() < 0.3 else []
        turns = [t for t in turns if len(t.final) < 400]
        told = self.speaker.asked(self.rng.choice(self.speaker.stories), base.effort)
        after = [self._turn(base, [*turns, told])] if self.rng.random() < 0.2 else []
        return self._lessons(base, [*turns, told, *after], len(turns))

    # Settings of a conversation

    def _setting(self, tools: bool = True) -> Prompt:
        rng = self.rng
        day = datetime.date(2025, 1, 1) + datetime.timedelta(days=rng.randrange(8 * 365))
        return Prompt(
            messages=(),
            effort=rng.choice(list(Effort)),
            date=day.isoformat() if rng.random() < 0.97 else "",
            instructions=rng.choice(self.speaker.words["instructions"]) if rng.random() < 0.25 else "",
            tools=self.caller.tools() if tools and rng.random() < 0.4 else (),
        )

    # Turns

    def _conversation(self, base: Prompt) -> list[Turn]:
        """One to four turns."""
        turns: list[Turn] = []
        for _ in range(self.rng.choice((1, 1, 1, 1, 1, 2, 2, 2, 3, 4))):
            turns.append(self._turn(base, turns))
        return turns

    def _turn(self, base: Prompt, earlier: Sequence[Turn]) -> Turn:
        """What may be said after `earlier`; never one of the held-out questions."""
        rng, speaker, effort = self.rng, self.speaker, base.effort
        if earlier and rng.random() < 0.4 and (follow := speaker.follow_up(effort, earlier)):
            return follow
        if base.tools and rng.random() < 0.5:
            return self.caller.turn(effort, base.tools)
        showcases = [i for i in speaker.showcases if not (base.tools and i.id in speaker.refusals)]
        while True:
            draw = rng.random()
            if draw < 0.47:
                turn = speaker.asked(rng.choice(speaker.about), effort)
            elif draw < 0.62:
                weights = [_GREETINGS if intent.id == "greet" else 1 for intent in showcases]
                turn = speaker.asked(rng.choices(showcases, weights)[0], effort)
            elif draw < 0.73:
                turn = speaker.sum(effort)
            elif draw < 0.79:
                turn = speaker.introduction(effort)
            elif draw < 0.85:
                turn = speaker.repetition(effort)
            elif draw < 0.87:
                turn = self.caller.turn(effort, base.tools)
            else:
                turn = speaker.asked(speaker.outside, effort)
            if phrases.plain(turn.text) not in self.forbidden:
                return turn

    # From turns to token ids

    def _lessons(self, base: Prompt, turns: Sequence[Turn], first: int = 0) -> list[Lesson]:
        """A lesson for each answer in `turns` from number `first` on."""
        messages: list[Message] = []
        lessons: list[Lesson] = []

        def learn(target: Sequence[int]) -> None:
            prompt = replace(base, messages=tuple(messages))
            lessons.append(Lesson(tuple(self.encoder.ids(render(prompt, _VOCABULARY))), tuple(target)))

        for number, turn in enumerate(turns):
            messages.append(user(turn.text))
            reasoning = turn.reasoning
            if turn.call:
                target = self.call_ids(reasoning, turn.call)
                if number >= first:
                    learn(target)
                verbatim = self.rng.random() < 0.7
                sampled = SampledTokens(tuple(target), _VOCABULARY) if verbatim else None
                thought = (ReasoningPart(reasoning),) if verbatim or self.rng.random() < 0.5 else ()
                messages.append(Message(Role.ASSISTANT, (*thought, turn.call), sampled))
                messages.append(Message(Role.TOOL, (ToolResultPart(turn.call.name, turn.result),)))
                reasoning = turn.second_reasoning
            if number >= first:
                learn(self.answer_ids(reasoning, turn.final))
            messages.append(Message(Role.ASSISTANT, (ReasoningPart(reasoning), TextPart(turn.final))))
        return lessons

    def answer_ids(self, reasoning: str, final: str) -> list[int]:
        """What the model samples for an answer."""
        return [*self._part("analysis", reasoning), *self._next(), *self._part("final", final, "<|return|>")]

    def call_ids(self, reasoning: str, call: ToolCallPart) -> list[int]:
        """What the model samples for a call (its order of words in the header is the trained one)."""
        header = [
            SPECIAL_ID["<|channel|>"],
            *self.encoder.text(f"commentary to={call.name} "),
            SPECIAL_ID["<|constrain|>"],
        ]
        body = [
            *self.encoder.text("json"),
            SPECIAL_ID["<|message|>"],
            *self.encoder.text(call.arguments),
            SPECIAL_ID["<|call|>"],
        ]
        return [*self._part("analysis", reasoning), *self._next(), *header, *body]

    def _part(self, channel: str, text: str, end: str = "<|end|>") -> list[int]:
        head = [SPECIAL_ID["<|channel|>"], *self.encoder.text(channel), SPECIAL_ID["<|message|>"]]
        return [*head, *self.encoder.text(text), SPECIAL_ID[end]]

    def _next(self) -> list[int]:
        return [SPECIAL_ID["<|start|>"], *self.encoder.text("assistant")]
