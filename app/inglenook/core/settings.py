"""Settings: each is declared once, with type, default, title, help; file and dialog are made from the declarations."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from inglenook.core.i18n import N_

T = TypeVar("T", str, bool, int, float)


@dataclass(frozen=True, slots=True, eq=False)
class Setting(Generic[T]):
    """One setting. `choices` pairs a value with its label; `minimum`, `maximum` and `step` bound a number.

    `title`, `help` and labels are message ids (see `core.i18n`).
    """

    key: str
    group: str
    title: str
    default: T
    help: str = ""
    choices: tuple[tuple[T, str], ...] = ()
    minimum: T | None = None
    maximum: T | None = None
    step: T | None = None
    multiline: bool = False

    def check(self, value: Any) -> T:
        """`value` if it is valid here, else ValueError."""
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise ValueError(f"{self.key}: {value!r} is not of type {kind.__name__}")
        if self.choices and value not in [v for v, _ in self.choices]:
            raise ValueError(f"{self.key}: {value!r} is not one of the choices")
        if (self.minimum is not None and value < self.minimum) or (self.maximum is not None and value > self.maximum):
            raise ValueError(f"{self.key}: {value!r} is out of range")
        return value


APPEARANCE = N_("Appearance")
ANSWERS = N_("Answers")
MODEL = N_("Model")

THEME = Setting(
    "theme", APPEARANCE, N_("Theme"), "system", N_("Light, dark, or as the system has it."),
    choices=(("system", N_("As the system")), ("light", N_("Light")), ("dark", N_("Dark"))),
)  # fmt: skip
TEXT_SIZE = Setting(
    "text_size",
    APPEARANCE,
    N_("Text size"),
    100,
    N_("Percent of the normal size."),
    minimum=75,
    maximum=200,
    step=5,
)
INSTRUCTIONS = Setting(
    "instructions", ANSWERS, N_("Instructions"), "",
    N_("What the model should always keep in mind. Applies to new chats."), multiline=True,
)  # fmt: skip
EFFORT = Setting(
    "effort", ANSWERS, N_("Reasoning effort"), "medium",
    N_("How long the model thinks before it answers. Low is fastest. Applies to new chats."),
    choices=(("low", N_("Low")), ("medium", N_("Medium")), ("high", N_("High"))),
)  # fmt: skip
TEMPERATURE = Setting(
    "temperature", ANSWERS, N_("Temperature"), 1.0,
    N_("0 always gives the likeliest answer; 1 is what OpenAI recommends."), minimum=0.0, maximum=2.0, step=0.1,
)  # fmt: skip
TOP_P = Setting(
    "top_p", ANSWERS, N_("Top-p"), 1.0,
    N_("Chooses only among the likeliest tokens that together have this probability; 1 is no limit."),
    minimum=0.05, maximum=1.0, step=0.05,
)  # fmt: skip
CONTEXT = Setting(
    "context_tokens", MODEL, N_("Context window"), 0,
    N_("How many tokens the model can see at once. 0 chooses by the memory of this computer."),
    minimum=0, maximum=131072, step=1024,
)  # fmt: skip
GPU = Setting("use_gpu", MODEL, N_("Use the graphics processor"), True, N_("Off runs the model on the CPU alone."))
# Chosen in the model menu, not in the dialog: the path of a GGUF file, or "" for the demo model.
MODEL_FILE = Setting("model_file", MODEL, N_("Model file"), "")

ALL: tuple[Setting[Any], ...] = (THEME, TEXT_SIZE, EFFORT, INSTRUCTIONS, TEMPERATURE, TOP_P, CONTEXT, GPU)


class Settings:
    """The values, kept in a JSON file that is replaced atomically. Unknown keys in the file are kept as they are."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._listeners: list[Callable[[Setting[Any]], None]] = []
        self._values: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            loaded = json.loads(file.read_text("utf-8"))
            if isinstance(loaded, dict):
                self._values = loaded

    def get(self, setting: Setting[T]) -> T:
        """The value, or the default where the file has none or an invalid one."""
        try:
            return setting.check(self._values[setting.key])
        except (KeyError, ValueError):
            return setting.default

    def set(self, setting: Setting[T], value: T) -> None:
        """Checks, keeps and tells the listeners; ValueError for an invalid value, OSError if it cannot be written."""
        value = setting.check(value)
        if self._values.get(setting.key, setting.default) == value:
            return
        self._values[setting.key] = value
        self._write()
        for listener in tuple(self._listeners):
            listener(setting)

    def subscribe(self, listener: Callable[[Setting[Any]], None]) -> None:
        """Calls `listener` with the setting after each change, on the thread that changed it."""
        self._listeners.append(listener)

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as f:
            json.dump(self._values, f, ensure_ascii=False, indent=2)
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(self._file)
