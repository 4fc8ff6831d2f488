"""What can befall an engine while a chat uses it, and what must be true after: for the tests and the soak."""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from tests.chat.support import Bench
from tests.engine.conftest import engines, wait_until

from inglenook.chat.events import AnswerDelta, AnswerEnded, AnswerRetried, AnswerWaiting, Waiting
from inglenook.core.conversation import MessageState, StoredMessage
from inglenook.core.inference import EngineState
from inglenook.core.messages import Part, ToolCallPart, ToolResultPart
from inglenook.engine import launch, supervise, transport
from inglenook.engine.client import EngineClient

FAULTS = ("kill", "abort", "hang", *(["memory"] if sys.platform == "linux" else []))
MOMENTS = ("load", "prefill", "decode", "between")
STORY = "Tell me a long story"
THANKS = "Thank you. " * 200  # long to read, and the demo has an answer to it
_IMPATIENT = 1.5  # seconds, instead of many, that an engine may be silent once it has been stopped


def cases(count: int) -> list[tuple[str, str]]:
    """Every fault at every moment in turn."""
    return [(FAULTS[i % len(FAULTS)], MOMENTS[(i + i // 4) % 4]) for i in range(count)]


@dataclass
class Faults:
    """Strikes the engine of `bench` again and again. `folder` is what its engine's folders are in."""

    bench: Bench
    engine: EngineClient
    folder: Path
    dice: random.Random
    seen: Counter[str] = field(default_factory=Counter)

    def strike(self, fault: str, moment: str) -> None:
        """One fault, and all that must be true after it."""
        chat = self.bench.service.new_chat()
        start = self.bench.heard.mark()
        if moment == "load":
            self.engine.unload()
            wait_until(lambda: not engines(self.folder))
        else:
            self._answer_of("Hello!")
        question = THANKS if moment == "prefill" else STORY
        if moment != "between":
            start = self.bench.heard.mark()
            self.bench.service.send(chat, question)
            self._until(moment, chat, start)
        time.sleep(self.dice.uniform(0.0, 0.2 if moment == "load" else 0.03))
        victim = self._engine()
        with fell(fault, victim, self.engine):
            if moment == "between":
                start = self.bench.heard.mark()
                self.bench.service.send(chat, question)
            end = self.bench.heard.ended(chat, start)
        self._is_stored(chat, end)
        self.seen[f"{fault} at {moment}: {end.message.state.value}"] += 1
        late = end.message.state is MessageState.COMPLETE
        after = self._goes_on(chat, end.message)
        if late and after.state is MessageState.FAILED:  # it came too late, and struck the next
            self.seen["struck the answer after"] += 1
            after = self._goes_on(chat, after)
        assert after.state is MessageState.COMPLETE, after
        assert self.engine.status().state is EngineState.READY
        self._no_other_engine(fault, victim)

    def _until(self, moment: str, chat: str, start: int) -> None:
        heard = self.bench.heard
        if moment == "load":
            wait_until(lambda: bool(engines(self.folder)), 60)
        elif moment == "prefill":
            heard.wait(
                (AnswerWaiting, AnswerEnded),
                lambda e: e.conversation_id == chat and (isinstance(e, AnswerEnded) or e.waiting is Waiting.READING),
                start,
            )
        else:
            wanted = self.dice.randrange(1, 300)

            def enough(event: AnswerDelta | AnswerEnded) -> bool:
                shown = sum(len(e.text) for e in heard.of(AnswerDelta) if e.conversation_id == chat)
                return event.conversation_id == chat and (isinstance(event, AnswerEnded) or shown >= wanted)

            heard.wait((AnswerDelta, AnswerEnded), enough, start)

    def _engine(self) -> psutil.Process:
        found = engines(self.folder)
        assert len(found) == 1, found
        return found[0]

    def _answer_of(self, question: str) -> None:
        end = self.bench.heard.ended(self.bench.ask(question))
        assert end.message.state is MessageState.COMPLETE, end

    def _is_stored(self, chat: str, end: AnswerEnded) -> None:
        """What was shown is in the file, and marked."""
        message = end.message
        assert self.bench.stored(chat).get(message.id) == message
        assert _text(message.message.parts) == self._shown(message.id)
        if message.state is MessageState.FAILED:
            assert end.error is not None
            assert message.error == end.error.text() != ""
        else:  # it came too late, or before anything was asked of the engine
            assert message.state is MessageState.COMPLETE
            assert end.error is None

    def _shown(self, message_id: str) -> str:
        shown = ""
        for event in self.bench.heard.events:
            if isinstance(event, AnswerDelta) and event.message_id == message_id:
                shown += event.text
            elif isinstance(event, AnswerRetried) and event.message_id == message_id:
                shown = _text(event.parts)
        return shown

    def _goes_on(self, chat: str, message: StoredMessage) -> StoredMessage:
        """One click: the answer is continued where it failed, or given anew."""
        start = self.bench.heard.mark()
        failed = message.state is MessageState.FAILED
        if failed and self.dice.random() < 0.5:
            self.bench.service.continue_answer(chat, message.id)
            after = self.bench.heard.ended(chat, start).message
            assert after.id == message.id
            assert after.message.reasoning.startswith(message.message.reasoning)
            assert after.message.text.startswith(message.message.text)
            self.seen["continued"] += 1
        else:
            self.bench.service.regenerate(chat, message.id)
            after = self.bench.heard.ended(chat, start).message
            assert after.id != message.id
            assert self.bench.stored(chat).get(message.id) == message
            self.seen["regenerated"] += 1
        assert self.bench.stored(chat).get(after.id) == after
        return after

    def _no_other_engine(self, fault: str, victim: psutil.Process) -> None:
        """The one that was struck is gone, unless it had no need of more memory."""
        alive = self._engine().pid
        assert alive == self.engine.status().pid
        if fault != "memory":
            assert alive != victim.pid
        elif alive == victim.pid:
            self.seen["needed no more memory"] += 1


def _text(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if not isinstance(part, ToolCallPart | ToolResultPart))


@contextlib.contextmanager
def fell(fault: str, process: psutil.Process, client: EngineClient) -> Iterator[None]:
    """`fault` befalls the engine; after the block the world is as before, but for what the engine did."""
    with pytest.MonkeyPatch.context() as patch:
        if fault == "kill":
            process.send_signal(signal.SIGKILL)
        elif fault == "abort":
            process.send_signal(signal.SIGABRT)  # as a GGML_ASSERT does
        elif fault == "hang":
            process.send_signal(signal.SIGSTOP)
            _be_impatient(client, patch)
        else:  # what it has it keeps, more is refused
            process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms, psutil.RLIM_INFINITY))
        yield
    if fault == "memory":
        with contextlib.suppress(psutil.Error):  # others gave some back
            process.rlimit(psutil.RLIMIT_AS, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))


def _be_impatient(client: EngineClient, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(supervise, "SILENCE", _IMPATIENT)
    patch.setattr(transport, "PATIENCE", _IMPATIENT)
    patch.setattr(launch, "START_SECONDS", _IMPATIENT)
    client._supervisor.cancel(0)  # so that its thread, which waits, knows


def open_files() -> int:
    """Of this process: what is lost with each engine would show."""
    return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
