"""Turns in which the model calls one of three functions, and the declarations with which they are offered."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import phrases
from turns import Speaker, Turn, thoughts

from inglenook.core.messages import Effort, ToolCallPart
from inglenook.core.prompt import ToolSpec


class Caller:
    """Makes declarations and turns of the functions get_weather, get_time and add_note."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self.rng: random.Random = speaker.rng

    def tools(self) -> tuple[ToolSpec, ...]:
        """All three functions or some of them, described in one way or another."""
        described: Mapping[str, list[str]] = self._speaker.words["described"]

        def text(name: str, **more: Any) -> dict[str, Any]:
            remark = self.rng.choice(described[name])
            return {"type": "string", **({"description": remark} if remark else {}), **more}

        parameters: dict[str, tuple[dict[str, Any], list[str]]] = {
            "get_weather": (
                {"location": text("location"), "unit": text("unit", enum=["celsius", "fahrenheit"])},
                ["location"],
            ),
            "get_time": ({"timezone": text("timezone")}, ["timezone"]),
            "add_note": ({"text": text("text")}, ["text"] if self.rng.random() < 0.7 else []),
        }
        specs = []
        for name, (properties, required) in parameters.items():
            schema = {"type": "object", "properties": properties, "required": required}
            specs.append(ToolSpec(name, self.rng.choice(described[name]), schema))
        if self.rng.random() < 0.4:
            specs = self.rng.sample(specs, self.rng.choice((1, 2, 3)))
        return tuple(specs)

    def turn(self, effort: Effort, offered: Sequence[ToolSpec]) -> Turn:
        """A wish that a function can fulfil; if that one is not offered, the model says that it cannot know."""
        name = self.rng.choice(("get_weather", "get_time", "add_note"))
        turn = {"get_weather": self._weather, "get_time": self._time, "add_note": self._note}[name](effort)
        if any(tool.name == name for tool in offered):
            return turn
        refusal = self._speaker.refusals["no_note" if name == "add_note" else "no_weather"]
        return Turn(turn.text, refusal.reasoning(effort), refusal.answer)

    def _ask(self, kind: str, **words: str) -> str:
        text = phrases.one_of(self.rng.choice(self._speaker.functions[kind]), self.rng)
        if kind != "note":
            text = text[:1].upper() + text[1:] if self.rng.random() < 0.5 else text
        for name, word in words.items():
            text = text.replace("{" + name + "}", word)
        return text

    def _weather(self, effort: Effort) -> Turn:
        rng, place = self.rng, self._speaker.place()
        arguments = {"location": place}
        text = self._ask("weather", place=place)
        if rng.random() < 0.3:
            arguments["unit"] = rng.choice(("celsius", "fahrenheit"))
            text += rng.choice((" in {}", " in {}", " in degrees {}", ", in {}", " in {} please", " ({})")).format(
                arguments["unit"]
            )
        unit = arguments.get("unit") or rng.choice(("celsius", "celsius", "fahrenheit"))
        degrees, condition = rng.randrange(-20, 100), rng.choice(self._speaker.functions["conditions"])
        sign = "°C" if unit == "celsius" else "°F"
        final = f"It is {degrees} {sign} with {condition} in {place}."
        result = json.dumps(self._shuffled({"temperature": degrees, "unit": unit, "condition": condition}))
        draw = rng.random()
        if draw < 0.35:
            result = rng.choice((f"{degrees} {sign}, {condition}", f"{condition}, {degrees} {sign}"))
        elif draw < 0.42:
            result, final = self._failure()
        closing = rng.choice(("", "?", "?", "."))
        return self._called(effort, text + closing, "get_weather", arguments, result, final, f"the weather in {place}")

    def _time(self, effort: Effort) -> Turn:
        rng = self.rng
        zones: Mapping[str, str] = self._speaker.functions["timezones"]
        place, zone = rng.choice(list(zones.items()))
        if rng.random() < 0.3:
            place = zone
        clock = f"{rng.randrange(24):02}:{rng.randrange(60):02}"
        final = f"It is {clock} in {place}."
        result = rng.choice((clock, json.dumps({"time": clock}), json.dumps({"timezone": zone, "time": clock})))
        if rng.random() < 0.07:
            result, final = self._failure()
        text = self._ask("time", place=place) + rng.choice(("", "?", "?", "."))
        return self._called(effort, text, "get_time", {"timezone": zone}, result, final, f"the time in {place}")

    def _note(self, effort: Effort) -> Turn:
        rng = self.rng
        words = self._speaker.functions
        note = phrases.one_of(rng.choice(words["notes"]), rng)
        while "{" in note:
            thing = rng.choice(words["things"]) if rng.random() < 0.8 else self._speaker.made_up()
            note = note.replace("{thing}", thing, 1)
            note = note.replace("{person}", self._speaker.person(), 1).replace("{day}", rng.choice(words["days"]), 1)
            note = note.replace(
                "{hour}", rng.choice((str(rng.randrange(1, 13)), f"{rng.randrange(24)}:{rng.randrange(60):02}")), 1
            )
        result = rng.choice(
            ("ok", "saved", "done", '{"ok": true}', f'{{"id": {rng.randrange(100)}}}', '{"status": "saved"}')
        )
        final = f"Done. I noted: “{note}”"
        if rng.random() < 0.07:
            result, final = self._failure()
        return self._called(
            effort, self._ask("note", note=note), "add_note", {"text": note}, result, final, "me to keep a note"
        )

    def _failure(self) -> tuple[str, str]:
        problem = self.rng.choice([*self._speaker.words["failures"], f"code {self.rng.randrange(100, 600)}"])
        result = self.rng.choice((f"error: {problem}", json.dumps({"error": problem})))
        return result, f"That did not work. The function said: {problem}"

    def _shuffled(self, content: dict[str, Any]) -> dict[str, Any]:
        return dict(self.rng.sample(list(content.items()), len(content))) if self.rng.random() < 0.3 else content

    def _called(
        self, effort: Effort, text: str, name: str, arguments: Mapping[str, str], result: str, final: str, wish: str
    ) -> Turn:
        first = thoughts(effort, wish if name == "add_note" else f"for {wish}", f"The function {name} can do that.")
        second = thoughts(
            effort,
            "what the function said" if effort is Effort.LOW else "for its result",
            "The function has answered; I say it in words.",
        )
        call = ToolCallPart(f"functions.{name}", json.dumps(arguments, ensure_ascii=False))
        return Turn(text, first, final, call, result, second)
