"""Where the window was: a small JSON file beside the settings. Losing it loses nothing, so it never raises."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger(__name__)

SIDEBAR = 260  # device-independent pixels


@dataclass(frozen=True, slots=True)
class WindowState:
    """`geometry` is Qt's, in hexadecimal digits; '' is the default size and place."""

    geometry: str = ""
    sidebar: int = SIDEBAR
    sidebar_shown: bool = True


def load(file: Path) -> WindowState:
    """What `file` says; the defaults for what is missing or wrong."""
    try:
        kept = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return WindowState()
    if not isinstance(kept, dict):
        return WindowState()
    default = asdict(WindowState())
    return WindowState(
        **{key: kept[key] if type(kept.get(key)) is type(value) else value for key, value in default.items()}
    )


def save(file: Path, state: WindowState) -> None:
    """Replaces `file`; a failure is only logged."""
    try:
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(state)), "utf-8")
        temporary.replace(file)
    except OSError as error:
        log.warning("window state not saved: %s", error)
