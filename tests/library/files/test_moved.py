"""The list of models that were moved, as failing disks and people with editors leave it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inglenook.library.files.listed import models_here
from inglenook.library.files.moved import Kept, Moved

KEPT = Kept("m", ("/drive/m.gguf",), 3)
GOOD: dict[str, Any] = {"title": "m", "files": ["/drive/m.gguf"], "size": 3}


@pytest.mark.parametrize(
    "bad",
    [
        None, 7, "m", [], {}, GOOD | {"files": []}, GOOD | {"files": "m"}, GOOD | {"files": [7]},
        GOOD | {"files": [""]},
        GOOD | {"files": ["a\0b"]}, GOOD | {"files": ["\udfff\ud800"]}, GOOD | {"title": 7}, GOOD | {"size": "3"},
    ],
)  # fmt: skip
def test_a_bad_one_is_left_out_and_the_others_are_kept(tmp_path: Path, bad: object) -> None:
    now = {"old": "/drive/m.gguf", "bad": "a\0b", "worse": 7}
    (tmp_path / ".moved.json").write_text(json.dumps({"models": [GOOD, bad], "now": now}))
    moved = Moved(tmp_path)
    assert moved.models() == (KEPT,)
    assert [moved.now(name) for name in ("old", "bad", "worse")] == ["/drive/m.gguf", "bad", "worse"]
    assert [str(one.path) for one in models_here([], moved, ["old", "bad"])] == ["bad", "/drive/m.gguf"]


@pytest.mark.parametrize("text", ["", "[]", "null", "\0", '{"models": 7, "now": {}}', "[" * 50_000])
def test_what_is_no_list_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / ".moved.json").write_text(text)
    moved = Moved(tmp_path)
    assert moved.models() == ()
    moved.keep(KEPT)
    assert Moved(tmp_path).models() == (KEPT,)
