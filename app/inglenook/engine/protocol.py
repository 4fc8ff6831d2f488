"""What crosses the pipe between a client and the engine process.

Frozen dataclasses, and a first message that every version understands. Client to engine: `greeting()`, then
`Command`s. Engine to client: `greeting()`, then `Report`s. The greeting is JSON, so that two versions of the program
can tell that they are two. The rest is pickled: both ends are the same program of the same user, and each has proved
that it knows the user's key.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from typing import Any

from inglenook.core.errors import ErrorInfo
from inglenook.core.events import EngineEvent, Tokens
from inglenook.core.i18n import N_
from inglenook.core.inference import Counts, EngineStatus, GenerateRequest, ModelSpec
from inglenook.core.prompt import Segment

VERSION = 6  # raise it when a message changes
_NAME = "inglenook engine"
BROKEN = N_("The engine's library could not be started. Install Inglenook again; the engine's log says more.")


@dataclass(frozen=True, slots=True)
class Run:
    """Queue a generation; `Happened` reports with its `id` follow, the last one `Finished`."""

    id: int
    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class Load:
    """Queue loading a model; reports as for `Run`."""

    id: int
    model: ModelSpec


@dataclass(frozen=True, slots=True)
class Ahead:
    """Evaluate a prompt that is likely to come, when there is nothing else to do; reports as for `Run`.

    With `keep` the state is then written to disk for the conversation of that id.
    """

    id: int
    model: ModelSpec
    segments: tuple[Segment, ...]
    keep: str = ""


@dataclass(frozen=True, slots=True)
class Count:
    """Count the tokens of each of `texts`, between those of a running generation; one `Answer` with `Counts` follows.

    Of a model that is not loaded only the vocabulary is.
    """

    id: int
    model: ModelSpec
    texts: tuple[tuple[Segment, ...], ...]


@dataclass(frozen=True, slots=True)
class Bench:
    """Time llama_decode alone on `prefill` tokens at once or `decode` one by one; one `Answer` in tokens a second."""

    id: int
    model: ModelSpec
    prefill: int
    decode: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """End this client's generation, load, work ahead or benchmark `id` soon."""

    id: int


@dataclass(frozen=True, slots=True)
class Inject:
    """Put `segments` in place of the next token of this client's generation `id`; see `Generation.inject`.

    There is no answer: what was put in is told as if it had been sampled.
    """

    id: int
    segments: tuple[Segment, ...]
    after: int


@dataclass(frozen=True, slots=True)
class Leave:
    """The client goes. The engine ends `idle_seconds` after its last one."""

    idle_seconds: float


@dataclass(frozen=True, slots=True)
class Spare:
    """From now on this client's jobs are to spare the battery, or no longer."""

    wanted: bool


Command = Run | Load | Ahead | Count | Bench | Cancel | Inject | Spare | Leave


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of job `id`."""

    id: int
    event: EngineEvent


@dataclass(frozen=True, slots=True)
class Answer:
    """The one result of `Count` or `Bench`."""

    id: int
    value: float | Counts = 0.0
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """The engine's state, sent to each client at its start and whenever it changes."""

    status: EngineStatus


@dataclass(frozen=True, slots=True)
class Beat:
    """The engine's work goes on; sent each second while there is some. See `engine.pulse`."""


Report = Happened | Answer | Changed | Beat


def greeting(**details: Any) -> bytes:
    """The first message of either side."""
    return json.dumps({"name": _NAME, "version": VERSION, **details}).encode()


def read_greeting(data: bytes) -> dict[str, Any]:
    """Its contents. Raises ValueError if it is none."""
    found = json.loads(data)
    if not isinstance(found, dict) or found.get("name") != _NAME or not isinstance(found.get("version"), int):
        raise ValueError("not a greeting of the engine")
    return found


def pack(message: Command | Report) -> bytes:
    """For the pipe. Tokens, the only frequent message, go as a plain tuple: a fifth of a dataclass's pickling time."""
    if isinstance(message, Happened) and isinstance(message.event, Tokens):
        return pickle.dumps((message.id, message.event.ids, message.event.pieces), pickle.HIGHEST_PROTOCOL)
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def unpack(data: bytes) -> Command | Report:
    """The message that `pack` was given."""
    message = pickle.loads(data)  # noqa: S301 - from our own process, see above
    if isinstance(message, tuple):
        return Happened(message[0], Tokens(message[1], message[2]))
    return message  # type: ignore[no-any-return] # pickle
