"""`inglenook chat`: the conversations in a terminal, or through pipes.

Answers go to standard output; all else (notices, progress, errors) to standard error, so that a pipe gets answers only.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from inglenook.chat.events import (
    AnswerDelta,
    AnswerEnded,
    AnswerPartEnded,
    AnswerPartStarted,
    AnswerWaiting,
    ChatEvent,
    ChatFailed,
    ChatsChanged,
    TreeChanged,
    Waiting,
)
from inglenook.cli.services import Services
from inglenook.cli.terminal import StatusLine, harmless, has_styles, one_line, write
from inglenook.core.conversation import Conversation, MessageState, Tree
from inglenook.core.errors import ErrorInfo
from inglenook.core.events import Channel
from inglenook.core.i18n import N_, tr
from inglenook.core.messages import Effort, Role
from inglenook.core.settings import MODEL_FILE

DIM, PLAIN = "\x1b[2m", "\x1b[0m"
LISTED = 20
"""How many conversations `/list` shows."""

_WAITING = {
    Waiting.QUEUED: N_("Waiting for another answer..."),
    Waiting.STARTING: N_("Starting the engine..."),
    Waiting.LOADING: N_("Loading the model: {percent}%"),
    Waiting.READING: N_("Reading: {percent}%"),
    Waiting.TOOL: N_("Running a tool..."),
}
_ENDS = {
    MessageState.STOPPED: N_("(stopped)"),
    MessageState.LENGTH: N_("(cut off: the context is full)"),
    MessageState.INTERRUPTED: N_("(interrupted)"),
}
_HELP = N_(
    "/new            begin a new chat\n"
    "/list           show the latest chats\n"
    "/open NUMBER    go on with one of them\n"
    "/effort LEVEL   low, medium or high: how long the model reasons\n"
    "/help           this\n"
    "{key} ends the reasoning: the answer comes at once. Ctrl-C stops an answer, Ctrl-D leaves."
)
if sys.platform == "win32":
    _NOW_KEY, _NOW_SIGNAL = "Ctrl-Break", signal.SIGBREAK
else:
    _NOW_KEY, _NOW_SIGNAL = "Ctrl-\\", signal.SIGQUIT
_METER_SECONDS = 0.25

Event = TypeVar("Event", bound=ChatEvent)


def demo_is_chosen(services: Services) -> bool:
    """Whether the user has chosen no other model than the demo."""
    return not services.settings.get(MODEL_FILE)


def run(services: Services, *, is_demo: bool) -> int:
    """Chats until the end of input. 1 if input came through a pipe and an answer failed, else 0."""
    interactive = sys.stdin.isatty()
    if interactive:
        with contextlib.suppress(ImportError):  # not on every system
            import readline  # noqa: F401 - editing and history for input()
        if is_demo:
            _notice(tr(N_("This is the demo model: a tiny network that shows how Inglenook works. It knows little.")))
        _notice(tr(N_("/help shows the commands, Ctrl-D leaves.")))
    services.models.start()  # ready, with luck, when the first message is typed
    chat = _Chat(services, interactive)
    try:
        while (line := _read(interactive)) is not None:
            if line.startswith("/"):
                chat.command(line)
            elif line.strip():
                chat.ask(line)
    finally:
        chat.leave()
    return int(chat.failed and not interactive)


def _read(interactive: bool) -> str | None:
    """The next line, or None at the end. Ctrl-C at the prompt only drops what was typed."""
    if not interactive:
        line = sys.stdin.readline()
        return line.rstrip("\r\n") if line else None
    while True:
        try:
            return input("> ")
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return None


def _notice(text: str) -> None:
    print(harmless(text), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _on_signal(number: signal.Signals, action: Callable[[], None]) -> Iterator[None]:
    """Within, the signal calls `action`, and no exception comes between an event and what is done about it."""
    before = signal.signal(number, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(number, before)


class _Chat:
    """One conversation at a time. Events come on other threads and wait in a queue for this one."""

    def __init__(self, services: Services, interactive: bool) -> None:
        self._service = services.chat
        self._interactive = interactive
        self._metered = self._thinks_since = 0.0
        self._events: queue.SimpleQueue[ChatEvent] = queue.SimpleQueue()
        self._unsubscribe: Callable[[], None] = self._service.subscribe(self._events.put)
        self._status = StatusLine(sys.stderr)
        self._dim = has_styles(sys.stdout)
        self._listed: tuple[Conversation, ...] = ()
        self._id = self._service.new_chat()
        self._at_line_start = True
        self.failed = False
        """Whether any answer or command failed."""

    def leave(self) -> None:
        """Hears nothing any more; the service stops what runs."""
        self._status.clear()
        self._unsubscribe()

    def command(self, line: str) -> None:
        """Does what a line with a slash says."""
        verb, _, argument = line[1:].strip().partition(" ")
        argument = argument.strip()
        if verb == "new":
            self._id = self._service.new_chat()
            _notice(tr(N_("A new chat.")))
        elif verb == "effort" and argument in list(Effort):
            self._service.set_effort(self._id, Effort(argument))
            _notice(tr(N_("Effort: {effort}"), effort=argument))
        elif verb == "list" and not argument:
            self._list()
        elif verb == "open" and argument.isdecimal():
            self._open(int(argument))
        else:
            _notice(tr(_HELP, key=_NOW_KEY))

    def ask(self, text: str) -> None:
        """Sends a message and shows the answer. Ctrl-C stops the answer, `_NOW_KEY` its reasoning."""
        self._drain()
        self._service.send(self._id, text)
        with contextlib.ExitStack() as keys:
            keys.enter_context(_on_signal(signal.SIGINT, lambda: self._service.stop(self._id)))
            if self._interactive:
                keys.enter_context(_on_signal(_NOW_SIGNAL, lambda: self._service.answer_now(self._id)))
            self._show_answer()

    def _show_answer(self) -> None:
        channels: dict[int, Channel] = {}
        while True:
            event = self._next()
            if isinstance(event, AnswerEnded) and event.conversation_id == self._id:
                self._end(event)
                return
            if isinstance(event, ChatFailed):
                self._error(event.error)
                return
            self._show(event, channels)

    def _next(self) -> ChatEvent:
        while True:
            # In slices: on Windows Ctrl-C does not interrupt a wait without end.
            with contextlib.suppress(queue.Empty):
                return self._events.get(timeout=0.2)

    def _drain(self) -> None:
        while not self._events.empty():
            self._events.get()

    def _wait(self, kind: type[Event]) -> Event | None:
        """The next event of that kind; None if there is an error instead (which is told) or the user is impatient."""
        try:
            while True:
                event = self._next()
                if isinstance(event, kind):
                    return event
                if isinstance(event, ChatFailed):
                    self._error(event.error)
                    return None
        except KeyboardInterrupt:
            return None

    def _show(self, event: ChatEvent, channels: dict[int, Channel]) -> None:
        match event:
            case AnswerWaiting(conversation, _, waiting, fraction) if conversation == self._id:
                self._status.show(tr(_WAITING[waiting], percent=f"{fraction * 100:.0f}"))
            case AnswerPartStarted(conversation, _, index, channel) if conversation == self._id:
                channels[index] = channel
                self._thinks_since = time.monotonic()
                self._status.show(tr(N_("Thinking...")))
                if channel is Channel.REASONING and self._dim:
                    self._status.clear()
                    write(sys.stdout, DIM)
            case AnswerDelta(conversation, _, index, text, tokens) if conversation == self._id:
                shown = (Channel.FINAL, Channel.PREAMBLE, *((Channel.REASONING,) if self._dim else ()))
                if channels.get(index) in shown:
                    self._write(text)
                elif channels.get(index) is Channel.REASONING:
                    self._meter(tokens)
            case AnswerPartEnded(conversation, _, index) if conversation == self._id:
                if channels.get(index) is Channel.REASONING and self._dim:
                    write(sys.stdout, PLAIN)
                self._finish_line()

    def _meter(self, tokens: int) -> None:
        now = time.monotonic()
        if now - self._metered >= _METER_SECONDS:
            self._metered = now
            words = N_("Thinking: {seconds} s, {tokens} tokens ({key} to answer now)")
            self._status.show(tr(words, seconds=int(now - self._thinks_since), tokens=tokens, key=_NOW_KEY))

    def _write(self, text: str) -> None:
        self._status.clear()
        text = harmless(text)
        write(sys.stdout, text)
        if text:
            self._at_line_start = text.endswith("\n")

    def _finish_line(self) -> None:
        if not self._at_line_start:
            self._write("\n")

    def _end(self, event: AnswerEnded) -> None:
        self._status.clear()
        if self._dim:
            write(sys.stdout, PLAIN)  # stopped within its reasoning
        self._finish_line()
        if event.error is not None:
            self._error(event.error)
        elif event.message.error:
            _notice(one_line(event.message.error))
        elif event.message.state in _ENDS:
            _notice(tr(_ENDS[event.message.state]))

    def _error(self, error: ErrorInfo) -> None:
        self.failed = True
        self._status.clear()
        _notice(one_line(error.text()))

    def _list(self) -> None:
        self._drain()
        self._service.list_chats()
        if (event := self._wait(ChatsChanged)) is None:
            return
        self._listed = event.conversations[:LISTED]
        if not self._listed:
            _notice(tr(N_("There are no chats yet.")))
        for number, conversation in enumerate(self._listed, 1):
            _notice(f"{number:3}  {one_line(conversation.title) or tr(N_('(no title)'))}")

    def _open(self, number: int) -> None:
        if not 1 <= number <= len(self._listed):
            _notice(tr(N_("There is no such number. /list shows them.")))
            return
        self._drain()
        self._service.open(self._listed[number - 1].id)
        if (event := self._wait(TreeChanged)) is not None:
            self._id = event.tree.conversation.id
            self._tell(event.tree)

    @staticmethod
    def _tell(tree: Tree) -> None:
        for stored in tree.path():
            mark = "> " if stored.message.role is Role.USER else ""
            _notice(f"{mark}{stored.message.text}")
