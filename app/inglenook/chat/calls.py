"""One call of a tool: found, read, allowed, run; whatever goes wrong becomes a result that the model can read."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from inglenook.core.constraint import Constraint
from inglenook.core.errors import UserError
from inglenook.core.inference import Cancelled
from inglenook.core.messages import ToolCallPart
from inglenook.core.tools import Tool, ToolError
from inglenook.harmony.arguments import BadArguments, read_arguments
from inglenook.harmony.names import Names
from inglenook.harmony.structured import calls_constraint
from inglenook.harmony.tools import recipients
from inglenook.harmony.validate import faults

GRACE_SECONDS = 1.0
"""How long a tool may take to end after a stop before its thread is left behind."""


class Cancel:
    """A flag that whoever waits for something else notices, too."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._is_set = False

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set(self) -> None:
        """Sets it, for ever."""
        with self._condition:
            self._is_set = True
            self._condition.notify_all()

    def changed(self, change: Callable[[], None]) -> None:
        """Makes a change that `wait_for` may wait for."""
        with self._condition:
            change()
            self._condition.notify_all()

    def wait_for(self, condition: Callable[[], bool], grace_s: float = 0.0) -> None:
        """Returns when `condition()` is true. Raises `Cancelled` if the flag is set (and `grace_s` more has passed)."""
        with self._condition:
            self._condition.wait_for(lambda: condition() or self._is_set)
            if self._is_set and not (grace_s and self._condition.wait_for(condition, grace_s)):
                raise Cancelled


class Calls:
    """Answers the calls of one turn.

    `ask` is called with a call that needs the user's approval (its id, the tool's recipient, the arguments as JSON),
    and returns whether it is given. `runs` is called before a tool runs. `report_bug` is handed what a tool raises that
    it should not.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        ask: Callable[[str, str, str], bool],
        runs: Callable[[], None],
        cancel: Cancel,
        report_bug: Callable[[Exception], None],
    ) -> None:
        self.specs = tuple(tool.spec for tool in tools)
        self.recipients = recipients(self.specs)
        self._tools = dict(zip(self.recipients, tools, strict=True))
        self._names = Names(self.recipients)
        self._ask = ask
        self._runs = runs
        self._cancel = cancel
        self._report_bug = report_bug
        self.wrong = 0
        """How many calls in a row could not be made: no such tool, or not its arguments."""

    @cached_property
    def constraint(self) -> Constraint | None:
        """What a message of the model is held to, so that its calls have the arguments that their tools take."""
        return calls_constraint(self.specs) if self.specs else None

    def result(self, call: ToolCallPart, longest: int) -> str:
        """What the model is told of `call`, in `longest` characters or a little more. Raises `Cancelled`."""
        recipient = self._names.match(call.name) or ""
        tool = self._tools.get(recipient)
        self.wrong += 1
        if tool is None:
            return self._names.unknown(call.name)
        arguments = read_arguments(call.arguments)
        if isinstance(arguments, BadArguments):
            return arguments.answer
        if tool.parameters is not None and (wrong := faults(arguments.values, tool.parameters)):
            told = "; ".join(map(str, wrong))
            return error(f"The arguments are wrong: {told}. Call the tool again with them mended.")
        self.wrong = 0
        if tool.needs_approval:
            told = json.dumps(arguments.values, ensure_ascii=False)
            if not self._ask(call.call_id, recipient, told):
                return error("The user did not allow this call. Do not repeat it.")
        self._runs()
        return shortened(self._run(tool, arguments.values), longest)

    def _run(self, tool: Tool, arguments: Mapping[str, Any]) -> str:
        """Runs the tool on a thread of its own, so that a stop does not have to wait for it."""
        results: list[str] = []
        bugs: list[Exception] = []

        def work() -> None:
            try:
                found = tool.run(arguments, self._cancel.is_set)
            except (ToolError, UserError) as failure:
                found = error(str(failure))
            except Cancelled:
                found = error("The call was stopped.")
            except Exception as bug:
                bugs.append(bug)
                found = error(f"The tool is broken ({type(bug).__name__}).")
            self._cancel.changed(lambda: results.append(found))

        threading.Thread(target=work, name=f"tool-{tool.name}", daemon=True).start()
        try:
            self._cancel.wait_for(lambda: bool(results), GRACE_SECONDS)
        finally:
            for bug in tuple(bugs):
                self._report_bug(bug)
        return results[0]


def error(message: str) -> str:
    """A tool's result that says what went wrong."""
    return json.dumps({"error": message}, ensure_ascii=False)


def shortened(text: str, longest: int) -> str:
    """The beginning of a result that would fill the context, with a note of what is missing."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}\n[Cut here: these are the first {longest} of {len(text)} characters.]"
