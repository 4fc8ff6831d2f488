"""What is said in one turn of a dialogue: from the patterns in `dialogues/` to a question and its answer."""

from __future__ import annotations

import math
import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import phrases
from tokens import Encoder

from inglenook.core.messages import Effort, ToolCallPart

_FOLDER = Path(__file__).parent / "dialogues"
_NICE = "Nice to meet you, "
LONGEST_QUOTE = 90  # characters of a first message that is repeated on request


@dataclass(frozen=True)
class Intent:
    """Something that people ask and what the model answers; see `dialogues/about.toml`."""

    id: str
    ask: tuple[str, ...]
    topic: str
    note: str
    answer: str
    short: str = ""

    def reasoning(self, effort: Effort) -> str:
        """What the model thinks before it answers, the longer the higher the effort."""
        return thoughts(effort, self.topic, self.note)


@dataclass(frozen=True)
class Turn:
    """A user's message and the answer: reasoning and final, with a call of a function in between where there is one."""

    text: str
    reasoning: str
    final: str
    call: ToolCallPart | None = None
    result: str = ""
    second_reasoning: str = ""
    intent: Intent | None = None


def thoughts(effort: Effort, topic: str, note: str) -> str:
    """The reasoning of the usual kind."""
    if effort is Effort.LOW:
        return f"They ask {topic}."
    if effort is Effort.MEDIUM:
        return f"The user asks {topic}. {note}"
    return (
        f"The user asks {topic}. Let me think about what would help most. {note} "
        "I should answer plainly and say nothing that I do not know. Is there anything else to consider? "
        "No, a short answer in a friendly tone is best. I have what I need, so I write it down now."
    )


def read(name: str) -> dict[str, Any]:
    """The content of a file in `dialogues/`."""
    return tomllib.loads((_FOLDER / f"{name}.toml").read_text("utf-8"))


def load_intents(name: str) -> list[Intent]:
    """All intents of a file in `dialogues/`."""
    content = read(name)
    words = content["words"]
    found = []
    for entry in content["intent"]:
        answer: str = entry["answer"]
        if answer.startswith("@"):
            answer = (_FOLDER / f"{answer[1:]}.txt").read_text("utf-8").strip()
        ask = tuple(phrases.filled(p, words) for p in entry["ask"])
        rest = {k: entry[k] for k in ("topic", "note", "short") if k in entry}
        found.append(Intent(entry["id"], ask, answer=answer, **rest))
    return found


class Speaker:
    """Makes turns, with the random numbers of `rng`."""

    def __init__(self, encoder: Encoder, rng: random.Random) -> None:
        self.encoder = encoder
        self.rng = rng
        self.words = read("words")
        self.functions = read("functions")
        self.about = load_intents("about")
        showcases = load_intents("showcases")
        self.stories = [i for i in showcases if i.id.startswith("story")]
        self.showcases = [i for i in showcases if not i.id.startswith("story")]
        self.refusals = {i.id: i for i in showcases if i.id in ("no_weather", "no_note")}
        outside = read("outside")
        self.outside_words = {k: outside[k] for k in ("subject", "verb", "word")}
        note = "I am only the demo and must not invent an answer."
        topic = "about something outside of what I know"
        self.outside = Intent("outside", tuple(outside["ask"]), topic, note, outside["answer"])

    def asked(self, intent: Intent, effort: Effort) -> Turn:
        """A question of that intent."""
        rng = self.rng
        if intent is self.outside and rng.random() < 0.25:
            text = self._noise()
        else:
            text = phrases.question(phrases.one_of(self._worded(rng.choice(intent.ask)), rng), rng)
        return Turn(text, intent.reasoning(effort), intent.answer, intent=intent)

    def _worded(self, pattern: str) -> str:
        """`pattern` with random nouns, verbs and adjectives put in, each time others."""
        while "{" in pattern:
            for name, words in self.outside_words.items():
                pattern = pattern.replace("{" + name + "}", phrases.one_of(words, self.rng), 1)
        return pattern

    def _noise(self) -> str:
        """Something that is not a question: random words, sums that are too hard, other scripts, the same for ever."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.12:
            word = rng.choice((self.made_up(), self._worded("{word}"), self._worded("{subject}"), "Thank you.", "no"))
            times = int(math.exp(rng.uniform(math.log(5), math.log(600)))) // len(self.encoder.text(f" {word}"))
            return " ".join([word] * (times + 2))
        if draw < 0.3:
            operation = rng.choice(self.words["hard_operations"])
            a, b = rng.randrange(2, 2000), rng.randrange(100, 5000)
            return rng.choice(("", "what is ", "calculate ", "How much is ")) + f"{a}{operation}{b}"
        if draw < 0.5:
            return " ".join(self.made_up() for _ in range(rng.randrange(1, 5)))
        if draw < 0.6:
            return str(rng.choice(self.words["other_languages"]))
        ids = [rng.randrange(256, 4000) for _ in range(rng.randrange(1, 12))]
        return self.encoder.decode(ids).strip().replace("\ufffd", "") or "?"

    def made_up(self) -> str:
        """A word that means nothing."""
        return "".join(self.rng.choice(self.words["syllables"]) for _ in range(self.rng.choice((2, 2, 3))))

    def place(self) -> str:
        """A city, real or made up."""
        return self.rng.choice(self.functions["places"]) if self.rng.random() < 0.4 else self.made_up().capitalize()

    def person(self) -> str:
        """A first name, real or made up."""
        return self.rng.choice(self.functions["people"]) if self.rng.random() < 0.4 else self.made_up().capitalize()

    def sum(self, effort: Effort) -> Turn:
        """Two numbers up to 20."""
        rng = self.rng
        a, b = rng.randrange(21), rng.randrange(21)
        pattern = rng.choice(self.words["sums"])
        text = phrases.one_of(pattern, rng).strip().replace("A", str(a)).replace("B", str(b))
        reasoning = f"{a} + {b} = {a + b}."
        if effort is not Effort.LOW:
            reasoning = f"The user asks for a sum. {reasoning}"
        if effort is Effort.HIGH:
            reasoning += (
                " Let me check it in small steps, the tens first and then the ones."
                f" The other way round, {a + b} - {b} = {a}. That is right, and I can answer in one line."
            )
        return Turn(rng.choice((text, text + "?", text[:1].upper() + text[1:])), reasoning, f"{a} + {b} = {a + b}")

    def repetition(self, effort: Effort) -> Turn:
        """The user dictates a few words, with or without meaning, and the model says them again."""
        rng, text = self.rng, ""
        while not text or text != text.strip():
            draw = rng.random()
            if draw < 0.3:
                text = " ".join(self.made_up() for _ in range(rng.randrange(1, 6)))
            elif draw < 0.7:
                text = phrases.one_of(self._worded(rng.choice(self.words["sentences"])), rng)
            else:
                text = self.encoder.decode([rng.randrange(256, 4000) for _ in range(rng.randrange(2, 9))])
                text = text.replace("\ufffd", "").replace("\n", "").strip()
        asked = phrases.one_of(rng.choice(self.words["repetitions"]), rng).replace("{}", text)
        reasoning = thoughts(effort, "me to repeat their words", "I copy them letter by letter.")
        return Turn(asked[:1].upper() + asked[1:] if rng.random() < 0.5 else asked, reasoning, text)

    def introduction(self, effort: Effort) -> Turn:
        """The user tells a name."""
        rng, name = self.rng, self.person()
        text = phrases.one_of(rng.choice(self.words["introductions"]), rng).replace("{}", name)
        reasoning = thoughts(effort, "for nothing yet, but tells me a name", "I greet them by that name.")
        return Turn(
            text + rng.choice((".", "", "!")), reasoning, f"{_NICE}{name}! What would you like to know about Inglenook?"
        )

    def follow_up(self, effort: Effort, earlier: Sequence[Turn]) -> Turn | None:
        """A question about what was said before; None if the one that came up does not fit."""
        rng, last = self.rng, earlier[-1]
        names = [t.final.removeprefix(_NICE).partition("!")[0] for t in earlier if t.final.startswith(_NICE)]
        options = ["first"]
        if last.intent and last.intent.short:
            options += ["shorter", "shorter"]
        if len(names) == 1:
            options += ["name", "name", "name"]
        option = rng.choice(options)
        if option == "first" and len(earlier[0].text) > LONGEST_QUOTE:
            return None
        if option == "shorter":
            assert last.intent
            topic, note, final = (
                "for a shorter answer",
                "I keep only the main point of my last answer.",
                last.intent.short,
            )
        elif option == "name":
            topic, note, final = "for their name", "They told me earlier in this chat.", f"Your name is {names[0]}."
        else:
            topic, note = "what they wrote first", "I look at the beginning of this chat."
            final = f"Your first message was: “{earlier[0].text}”"
        text = phrases.one_of(self.words["follow_ups"][option], rng)
        return Turn(phrases.question(text, rng), thoughts(effort, topic, note), final)
