"""Translation for rooms with and without Qt: gettext, one catalogue for window, command line and errors."""

from __future__ import annotations

import gettext
from pathlib import Path
from typing import Any

_translations: gettext.NullTranslations = gettext.NullTranslations()


def N_(text: str) -> str:  # noqa: N802 - the name that extraction tools look for
    """Marks a text for extraction and returns it as it is; `tr` translates it later."""
    return text


def tr(text: str, /, **arguments: Any) -> str:
    """`text` in the user's language, with its `{fields}` filled in."""
    translated = _translations.gettext(text) if text else ""
    return translated.format(**arguments) if arguments else translated


def install(folder: Path, languages: list[str] | None = None) -> None:
    """Takes the catalogue `inglenook.mo` for the system's (or the given) languages from `folder`, if there is one."""
    global _translations
    _translations = gettext.translation("inglenook", folder, languages, fallback=True)
