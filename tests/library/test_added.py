"""The list of models from addresses, as failing disks and people with editors leave it."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.library.hub import COMMIT, LoopbackHub
from tests.library.test_shelf import Program

from inglenook.library.added import Added
from inglenook.library.catalogue import APACHE_2, GPT_OSS_20B, CatalogueFile, Entry, Format
from inglenook.library.shelf_events import ShelfFailed


def made(name: str) -> Entry:
    files = (CatalogueFile(f"{name}.gguf", 3, "0" * 64),)
    return Entry(f"a/b/{name}.gguf", f"{name} {{]", 'a "note" \\', "a/b", COMMIT, APACHE_2, Format.GGUF, files)


FIRST, LAST = made("first"), made("läst")
GOOD: dict[str, Any] = dataclasses.asdict(made("bad"))
FILE: dict[str, Any] = GOOD["files"][0]
DEEP = 50_000
BAD: dict[str, bytes] = {
    name: value if isinstance(value, bytes) else json.dumps(value).encode()
    for name, value in {
        "nothing": None,
        "number": 7,
        "text": "models",
        "list": [1, [2]],
        "empty": {},
        "no text": GOOD | {"title": 7},
        "no texts": GOOD | {"note": ["x"]},
        "no key": GOOD | {"key": None},
        "the key of another": GOOD | {"key": GPT_OSS_20B.key},
        "nearly the repository": GOOD | {"key": "a/bc"},
        "NUL in a name": GOOD | {"files": [FILE | {"name": "x\0.gguf"}]},
        "NUL in a repository": GOOD | {"repository": "a/\0", "key": "a/\0"},
        "half a character": GOOD | {"title": "\ud800"},
        "way out": GOOD | {"files": [FILE | {"name": "../../x.gguf"}]},
        "absolute": GOOD | {"files": [FILE | {"name": "/x.gguf"}]},
        "no repository": GOOD | {"repository": "..", "key": ".."},
        "no revision": GOOD | {"revision": "../../main"},
        "no format": GOOD | {"format": "exe"},
        "format of another type": GOOD | {"format": {}},
        "no files": GOOD | {"files": []},
        "files of another type": GOOD | {"files": {"name": "x"}},
        "file of another type": GOOD | {"files": ["x.gguf"]},
        "size of another type": GOOD | {"files": [FILE | {"size": "3"}]},
        "yes for a size": GOOD | {"files": [FILE | {"size": True}]},
        "less than nothing": GOOD | {"files": [FILE | {"size": -1}]},
        "more than any disk": GOOD | {"files": [FILE | {"size": 1 << 80}]},
        "no hash": GOOD | {"files": [FILE | {"digest": "zz"}]},
        "a hash of another type": GOOD | {"files": [FILE | {"digest": [1]}]},
        "half a layer": GOOD | {"layers": 0.5},
        "endless layers": b'{"layers": Infinity}',
        "a number of many digits": b"9" * 10_000,
        "levels of lists": b"[" * DEEP + b"]" * DEEP,
        "levels of objects": b'{"files": ' * DEEP + b"1" + b"}" * DEEP,
        "no UTF-8": json.dumps(GOOD).replace("bad", "b@d").encode().replace(b"@", b"\xff"),
        "no JSON": b'{"key": nonsense}',
    }.items()
}


def listed(*models: bytes) -> bytes:
    return b'{"models": [' + b", ".join(models) + b"]}"


def json_of(entry: Entry) -> bytes:
    return json.dumps(dataclasses.asdict(entry), ensure_ascii=False).encode()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_one_is_left_out_and_the_others_are_kept(tmp_path: Path, name: str) -> None:
    file = tmp_path / ".added.json"
    file.write_bytes(listed(json_of(FIRST), BAD[name], json_of(LAST)))
    added = Added(tmp_path)
    assert added.read() == [FIRST, LAST]
    added.add(made("new"))
    assert added.read() == [FIRST, LAST, made("new")]


def test_all_bad_ones_together_do_not_end_the_listing(tmp_path: Path, hub: LoopbackHub) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / ".added.json").write_bytes(listed(json_of(FIRST), *BAD.values(), json_of(LAST)))
    program = Program(tmp_path, hub, (GPT_OSS_20B,), [])
    status = program.looked()
    assert [offer.entry for offer in status.offers] == [FIRST, LAST, GPT_OSS_20B]
    assert status.recommended.entry == GPT_OSS_20B
    assert not [event for event in program.heard if isinstance(event, ShelfFailed)]
    program.shelf.close()


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"7", b"null", b'{"models": 7}', b'{"models": {}}', b"\0", b"\xff\xfe", b"[" * DEEP, b'"' * 9]
)
def test_what_is_no_list_counts_as_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / ".added.json").write_bytes(text)
    added = Added(tmp_path)
    assert added.read() == []
    added.add(FIRST)
    assert added.read() == [FIRST]


def test_of_two_of_one_key_the_first_counts(tmp_path: Path) -> None:
    other = dataclasses.replace(FIRST, title="other")
    (tmp_path / ".added.json").write_bytes(listed(json_of(FIRST), json_of(other)))
    assert Added(tmp_path).read() == [FIRST]


def test_what_breaks_off_keeps_what_is_whole(tmp_path: Path) -> None:
    text = listed(json_of(FIRST), json_of(LAST))
    (tmp_path / ".added.json").write_bytes(text[:-30])
    assert Added(tmp_path).read() == [FIRST]


def test_damage_at_any_place_raises_nothing(tmp_path: Path) -> None:
    chance = random.Random(5)
    text = listed(json_of(FIRST), json_of(LAST))
    for _ in range(2000):
        damaged = bytearray(text)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(text))] = chance.randrange(256)
        (tmp_path / ".added.json").write_bytes(damaged)
        for entry in Added(tmp_path).read():
            assert entry.key.startswith("a/")
