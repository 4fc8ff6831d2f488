"""Which of the known tools a call means, however its name was written.

Real models glue the content's type to the name (`functions.shelljson`, llama.cpp #15158), leave markers in it (vLLM
#32587), and forget or double the namespace (Ollama #11991). A name is never guessed: each spelling stands for one tool.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from inglenook.harmony.specials import ANALYSIS, COMMENTARY, FINAL, FUNCTIONS

_MOST_SHOWN = 50  # tools in an error message, so that it stays short
_NAMESPACE = re.compile(rf"(?:{FUNCTIONS}[.:_]?|(?:function|tools?)[.:])+", re.IGNORECASE)
_GLUED = re.compile(rf"[._\-]?(?:json|code|{ANALYSIS}|{COMMENTARY}|{FINAL})\Z")
_MOST_GLUED = 3  # words of the format after a name
_MARKER = re.compile(r"<\|[^|]*\|>")
_JOINTS = str.maketrans({"-": "_", ".": "_"})


class Names:
    """The recipients of calls that there are, such as `functions.weather` and `python`."""

    def __init__(self, recipients: Iterable[str]) -> None:
        self._known = frozenset(recipients)
        self._folded: dict[str, str | None] = {}  # None: two tools are written so
        for name in sorted(self._known):
            short = _fold(name.removeprefix(f"{FUNCTIONS}."))
            self._folded[short] = None if short in self._folded else name

    def match(self, name: str) -> str | None:
        """The known recipient that `name` means: itself, else the one it equals without what is only format."""
        if name in self._known:
            return name
        if (whole := f"{FUNCTIONS}.{name}") in self._known:
            return whole
        written = _MARKER.sub("", name)
        for _ in range(1 + _MOST_GLUED):  # a tool may be called `to_json`: one word less at a time
            for short in (written, _NAMESPACE.sub("", written, count=1)):
                if found := self._folded.get(_fold(short)):
                    return found
            written = _GLUED.sub("", written)
        return None

    def unknown(self, name: str) -> str:
        """What to answer a call of `name`, which is none of them: JSON for the tool's result."""
        shown = sorted(self._known)[:_MOST_SHOWN]
        hint = f"Available: {', '.join(shown)}." if shown else "There are no tools in this conversation."
        return json.dumps({"error": f"There is no tool named {name!r}. {hint}"}, ensure_ascii=False)


def _fold(name: str) -> str:
    return name.strip().casefold().translate(_JOINTS)
