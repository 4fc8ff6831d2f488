"""How messages become columns: parts and figures as JSON, token ids as bytes."""

from __future__ import annotations

import dataclasses
import json
import sys
from array import array
from collections.abc import Iterable
from typing import Any

from inglenook.core.events import GenerationStats
from inglenook.core.messages import Part, PreamblePart, ReasoningPart, TextPart, ToolCallPart, ToolResultPart

_KINDS: dict[str, type[Part]] = {
    "text": TextPart,
    "reasoning": ReasoningPart,
    "preamble": PreamblePart,
    "tool_call": ToolCallPart,
    "tool_result": ToolResultPart,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def storable(text: str) -> str:
    """`text` without lone surrogates, which UTF-8 cannot hold (a broken paste): each becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def encode_parts(parts: Iterable[Part]) -> str:
    """A JSON list with one object for each part: its `kind` and its fields."""
    objects = [{"kind": _NAMES[type(part)], **_fields(part)} for part in parts]
    return storable(json.dumps(objects, ensure_ascii=False, separators=(",", ":")))


def decode_parts(text: str) -> tuple[Part, ...]:
    """The reverse of `encode_parts`."""
    return tuple(_KINDS[o.pop("kind")](**o) for o in json.loads(text))


def encode_tokens(ids: Iterable[int]) -> bytes:
    """Four bytes for each id, little-endian."""
    return _little_endian(array("i", ids)).tobytes()


def decode_tokens(data: bytes) -> tuple[int, ...]:
    """The reverse of `encode_tokens`."""
    ids = array("i")
    ids.frombytes(data)
    return tuple(_little_endian(ids))


def encode_stats(stats: GenerationStats | None) -> str | None:
    """A JSON object, or None."""
    return None if stats is None else json.dumps(_fields(stats), separators=(",", ":"))


def decode_stats(text: str | None) -> GenerationStats | None:
    """The reverse of `encode_stats`."""
    return None if text is None else GenerationStats(**json.loads(text))


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


def _little_endian(ids: array[int]) -> array[int]:
    if sys.byteorder == "big":
        ids.byteswap()
    return ids
