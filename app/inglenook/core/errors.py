"""The two kinds of error.

`UserError` is about the user's world (a missing file, a full disk): it is shown, and says what to do next. Anything
else is our bug and is never swallowed. A message is a template and its arguments, so that the edges (window, command
line) can translate it, and so that it crosses a process boundary as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inglenook.core.i18n import tr


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as a value: `template` is the English text and message id, with `str.format` fields from `arguments`."""

    template: str
    arguments: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        """In the user's language."""
        return tr(self.template, **dict(self.arguments))


class UserError(Exception):
    """Something in the user's world is not as it should be; the text says what to do.

    Mark the template with `N_` so that it is found by the translators' tools:
    `raise UserError(N_("The file {path} does not exist. Choose another one."), path=path)`.
    """

    def __init__(self, template: str, **arguments: Any) -> None:
        self.info = ErrorInfo(template, tuple((k, str(v)) for k, v in arguments.items()))
        super().__init__(template)

    @classmethod
    def of(cls, info: ErrorInfo) -> UserError:
        """The error that `info` describes (from another process or thread)."""
        return cls(info.template, **dict(info.arguments))

    def __str__(self) -> str:
        return self.info.text()

    def __reduce__(self) -> tuple[Any, tuple[ErrorInfo]]:
        return UserError.of, (self.info,)
