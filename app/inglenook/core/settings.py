"""Settings: each is declared once, with type, default, title, help; file and dialog are made from the declarations."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from inglenook.core.i18n import N_
from inglenook.core.locks import try_lock

log = logging.getLogger(__name__)

T = TypeVar("T", str, bool, int, float)

_LOCK_SECONDS = 5.0
_LOOK_SECONDS = 1.0


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
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{self.key}: {value!r} is no number")
        if self.choices and value not in [v for v, _ in self.choices]:
            raise ValueError(f"{self.key}: {value!r} is not one of the choices")
        if (self.minimum is not None and value < self.minimum) or (self.maximum is not None and value > self.maximum):
            raise ValueError(f"{self.key}: {value!r} is out of range")
        return value


APPEARANCE = N_("Appearance")
ANSWERS = N_("Answers")
MODEL = N_("Model")
NETWORK = N_("Network")

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
_THOUGHT_HELP = N_("Tokens of reasoning after which the model is made to answer. 0 is no limit.")
THOUGHT_LOW, THOUGHT_MEDIUM, THOUGHT_HIGH = (
    Setting(key, ANSWERS, title, 0, _THOUGHT_HELP, minimum=0, maximum=65536, step=256)
    for key, title in (
        ("thought_tokens_low", N_("Longest reasoning at low effort")),
        ("thought_tokens_medium", N_("Longest reasoning at medium effort")),
        ("thought_tokens_high", N_("Longest reasoning at high effort")),
    )
)
THOUGHT_TOKENS = {"low": THOUGHT_LOW, "medium": THOUGHT_MEDIUM, "high": THOUGHT_HIGH}
"""By effort."""
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
SLEEP = Setting(
    "sleep_minutes", MODEL, N_("Free the memory after"), 15,
    N_("Minutes without use after which the model leaves the memory. It comes back with the next message. 0 keeps it."),
    minimum=0, maximum=240, step=5,
)  # fmt: skip
AHEAD = Setting(
    "work_ahead", MODEL, N_("Read ahead"), "mains",
    N_("While you read and type, the model reads what is there, so that its answer begins sooner."),
    choices=(("mains", N_("Not on battery")), ("always", N_("Always")), ("never", N_("Never"))),
)  # fmt: skip
BATTERY_THREADS = Setting(
    "battery_threads", MODEL, N_("Threads on battery"), "half",
    N_("With half of them the battery lasts longer and the fan is quieter; answers come a little more slowly."),
    choices=(("half", N_("Half")), ("all", N_("All"))),
)  # fmt: skip
KEEP_STATES = Setting(
    "keep_states", MODEL, N_("Keep what was read"), True,
    N_("Long chats go on at once after a restart. Takes at most 4 GB of the disk, readable by you alone."),
)  # fmt: skip
KEEP_AWAKE = Setting(
    "keep_awake", MODEL, N_("Keep the computer awake"), False,
    N_("It does not go to sleep by itself while a model is fetched or prepared, or a long answer is written."),
)  # fmt: skip
GPU = Setting("use_gpu", MODEL, N_("Use the graphics processor"), True, N_("Off runs the model on the CPU alone."))
# Chosen in the model menu, not in the dialog: the path of a GGUF file, or "" for the demo model.
MODEL_FILE = Setting("model_file", MODEL, N_("Model file"), "")
ALLOW_NETWORK = Setting(
    "allow_network", NETWORK, N_("Allow downloads"), True,
    N_("Off forbids every connection to the network. Inglenook only ever makes one for something that you started."),
)  # fmt: skip
HUB_ADDRESS = Setting(
    "hub_address", NETWORK, N_("Mirror"), "",
    N_("Where models come from, instead of https://huggingface.co. Files are checked in any case."),
)  # fmt: skip
# Not the token, which is in the system's keyring; only whether one is there.
HAS_TOKEN = Setting("has_token", NETWORK, N_("Access token"), False)

ALL: tuple[Setting[Any], ...] = (
    THEME,
    TEXT_SIZE,
    EFFORT,
    INSTRUCTIONS,
    THOUGHT_LOW,
    THOUGHT_MEDIUM,
    THOUGHT_HIGH,
    TEMPERATURE,
    TOP_P,
    CONTEXT,
    GPU,
    SLEEP,
    AHEAD,
    BATTERY_THREADS,
    KEEP_STATES,
    KEEP_AWAKE,
    ALLOW_NETWORK,
    HUB_ADDRESS,
)


class Settings:
    """The values, kept in a JSON file that is replaced atomically. Unknown keys in the file are kept as they are.

    A thread of its own writes, so that the caller (a window) never waits for the disk. Other windows and commands write
    the file too: before each write it is read again, under a lock, and only what was changed here is changed there. So
    of two choices the later one holds.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._listeners: list[Callable[[Setting[Any]], None]] = []
        self._write_listeners: list[Callable[[OSError | None], None]] = []
        self._values: dict[str, Any] = {}
        self._elsewhere_listeners: list[Callable[[Setting[Any]], None]] = []
        self._changed = threading.Condition()
        self._unwritten: set[str] = set()  # keys
        self._unsaved: set[str] = set()  # keys that could not be written; the next write takes them along
        self._look = False  # at what others have written
        self._next_look = 0.0  # time.monotonic() of the earliest next one of `look_now_and_then`
        self._looked_at = 0  # the file's time of change then
        self._writer: threading.Thread | None = None
        self._failure: OSError | None = None
        with contextlib.suppress(OSError):
            self._values = _read(file) or {}

    @property
    def file(self) -> Path:
        """Where they are kept."""
        return self._file

    def get(self, setting: Setting[T]) -> T:
        """The value, or the default where the file has none or an invalid one."""
        try:
            return setting.check(self._values[setting.key])
        except (KeyError, ValueError):
            return setting.default

    def set(self, setting: Setting[T], value: T) -> None:
        """Checks and keeps `value`, tells the listeners, and has it written. ValueError if it is not valid."""
        value = setting.check(value)
        with self._changed:
            if self._values.get(setting.key, setting.default) == value:
                return
            self._values[setting.key] = value
            self._unwritten.add(setting.key)
            self._wake()
        for listener in tuple(self._listeners):
            listener(setting)

    def subscribe(self, listener: Callable[[Setting[Any]], None]) -> None:
        """Calls `listener` with the setting after each change, on the thread that changed it."""
        self._listeners.append(listener)

    def subscribe_elsewhere(self, listener: Callable[[Setting[Any]], None]) -> None:
        """Calls `listener` with each setting that another window or command changed, on the writing thread."""
        self._elsewhere_listeners.append(listener)

    def look(self) -> None:
        """Takes over, soon, what other windows and commands have written."""
        with self._changed:
            self._look = True
            self._wake()

    def look_now_and_then(self) -> None:
        """`look`, where the file has changed, but once a second at most: to be called often."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            with contextlib.suppress(OSError):
                changed = self._file.stat().st_mtime_ns
                if changed != self._looked_at:
                    self._looked_at = changed
                    self.look()

    def subscribe_writes(self, listener: Callable[[OSError | None], None]) -> Callable[[], None]:
        """Calls `listener` after each write with its failure or None, on the writing thread; returns what ends it."""
        self._write_listeners.append(listener)
        return lambda: self._write_listeners.remove(listener)

    def flush(self) -> None:
        """Returns when all is written; raises the OSError of the last write if it failed."""
        with self._changed:
            while self._writer is not None:
                self._changed.wait()
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _wake(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_changes, name="settings")
            self._writer.start()

    def _write_changes(self) -> None:
        """The writer: lives as long as there is something to write. The program waits for it before it exits."""
        while True:
            with self._changed:
                if not self._unwritten and not self._look:
                    self._writer = None
                    self._changed.notify_all()
                    return
                keys, self._unwritten, self._look = self._unwritten, set(), False
                if keys:
                    keys, self._unsaved = keys | self._unsaved, set()
            if not keys:
                with contextlib.suppress(OSError):
                    self._take_over(_read(self._file))
                continue
            self._failure = None
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with _locked(self._file.with_suffix(".lock")):
                    self._take_over(_read(self._file), keys)
                    with self._changed:
                        values = json.dumps(self._values, ensure_ascii=False, indent=2)
                    self._write(values)
            except OSError as error:
                with self._changed:
                    self._unsaved |= keys
                self._failure = error
                log.warning("the settings could not be written: %s", error)
            for listener in tuple(self._write_listeners):
                listener(self._failure)

    def _take_over(self, found: dict[str, Any] | None, keys: Collection[str] = ()) -> None:
        """Values of the file that others have written take the place of ours, but for `keys` and what is not written.

        A file that is damaged or gone has none.
        """
        if found is None:
            return
        with self._changed:
            kept = self._unwritten | self._unsaved | frozenset(keys)
            before = self._values
            ours = {key: value for key, value in before.items() if key in kept}
            self._values = {**found, **ours}
            changed = [
                setting
                for setting in (*ALL, MODEL_FILE)
                if before.get(setting.key, setting.default) != self._values.get(setting.key, setting.default)
            ]
        for setting in changed:
            for listener in tuple(self._elsewhere_listeners):
                listener(setting)

    def _write(self, text: str) -> None:
        temporary = self._file.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(self._file)


def _read(file: Path) -> dict[str, Any] | None:
    """What the file says; None if it is not there, or damaged. OSError."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Between programs, each for the time of one small write.

    A folder whose files cannot be locked, or a program that was stopped in the middle, holds nobody up for long.
    """
    descriptor, until = os.open(file, os.O_RDWR | os.O_CREAT, 0o600), time.monotonic() + _LOCK_SECONDS
    try:
        with contextlib.suppress(OSError):
            while not try_lock(descriptor) and time.monotonic() < until:
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)
