"""One gettext catalogue serves rooms with and without Qt."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from inglenook.core import i18n


def write_mo(file: Path, entries: dict[str, str]) -> None:
    """A gettext catalogue, as its manual describes the format."""
    pairs = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **entries}.items())
    at = 28 + 16 * len(pairs)
    tables, data = [b"", b""], b""
    for column in (0, 1):
        for pair in pairs:
            text = pair[column].encode()
            tables[column] += struct.pack("<II", len(text), at + len(data))
            data += text + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    file.parent.mkdir(parents=True)
    file.write_bytes(head + tables[0] + tables[1] + data)


@pytest.fixture
def german(tmp_path: Path) -> Iterator[None]:
    write_mo(tmp_path / "de" / "LC_MESSAGES" / "inglenook.mo", {"{n} tokens": "{n} Token"})
    i18n.install(tmp_path, ["de"])
    yield
    i18n.install(tmp_path, ["none"])


def test_a_catalogue_translates_and_fills_fields(german: None) -> None:
    assert i18n.tr("{n} tokens", n=3) == "3 Token"
    assert i18n.tr("not in it") == "not in it"


def test_without_a_catalogue_texts_stay() -> None:
    assert i18n.tr("{n} tokens", n=3) == "3 tokens"
    assert i18n.tr("") == ""
